"""Arguments of the two Redis pools, and every verb as one or more calls.

A pool is no queue: nothing in it is ever finished, so no call waits and there is no line.
The methods here are for one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._core.arguments import MAX_ITEM_BYTES, T, uncopied, whole
from .._core.block import Damaged, reason_of
from .._core.log import warn
from ..exceptions import ItemTooLarge, QueueClosed, QueueCorrupt, SerializationError
from .check import check
from .connection import Link
from .options import LOCAL, checked_layout, checked_name, codec_of, native_base, replicas_of
from .poolscripts import POOL_ACK, POOL_ADD, POOL_DUE, POOL_REMOVE, POOL_TAKE
from .scripts import MOST, parts_of
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ACK_TTL, ACK_VALID_FOR = 600, 129_600  # s; aio-py-rq's
CHUNK = 100
R = TypeVar("R")


class PoolFace(Generic[T]):
    """One object on a pool's key."""

    __getstate__ = uncopied

    def __init__(
        self,
        name: str,
        redis: Any = LOCAL,
        serializer: Any = None,
        *,
        ack_ttl: int = ACK_TTL,
        ack_valid_for: int = ACK_VALID_FOR,
        chunk_size: int = CHUNK,
        synced_slaves_enabled: bool = False,
        synced_slaves_count: int = 0,
        synced_slaves_timeout: int = 100,
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self.name = checked_name(name)
        self.serializer = serializer
        self.ack_ttl = whole("ack_ttl", ack_ttl, 1)
        self.ack_valid_for = whole("ack_valid_for", ack_valid_for, 1)
        self.chunk_size = whole("chunk_size", chunk_size, 1)
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._codec = codec_of(serializer, unique=True, longest=longest)
        settings = Settings(redis)
        self._replicas = replicas_of(
            settings, synced_slaves_enabled, synced_slaves_count, synced_slaves_timeout
        )
        shared = checked_layout(None, serializer) == "shared"
        self._key = name if shared else f"{native_base(name)}-pool"
        self.path = f"{settings.label}/{name}"
        self._label = settings.label
        self._link = Link(settings)
        self._checked_once = self._closed = False
        self.skipped = 0  # items that this object set aside

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # -- verbs ----------------------------------------------------------------------

    def _encode(self, item: T) -> bytes:
        data = self._codec.encode(item)
        return data if isinstance(data, bytes) else data.encode()

    def _add(self, values: list[bytes]) -> None:
        for part in parts_of(values):
            self._run_script(POOL_ADD, part)

    def _take(self, most: int) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < most:
            wanted = min(most - len(taken), MOST)
            (found,) = self._link.script(POOL_TAKE, (self._key,), (self.ack_ttl, wanted))
            taken += found
            if len(found) < wanted:
                break
        return taken

    def _decoded(self, values: list[bytes]) -> list[T]:
        try:
            return [self._codec.decode(value) for value in values]
        except Damaged as error:
            raise QueueCorrupt(
                self.path, self._key, reason=str(error), advice="set_aside() gets past it"
            ) from error
        except (SerializationError, ItemTooLarge) as error:
            raise type(error)(f"{self.path}: {error}") from error.__cause__

    def _set_aside(self) -> bool:
        """Move the first item that cannot be loaded to a list of its own."""
        start, dead = 0, f"{self._key}-dead"
        while True:
            page = ("ZRANGE", self._key, start, start + MOST - 1)
            if not (values := self._link.ask(page, again=True)[0]):
                return False
            for value in values:
                try:
                    self._codec.decode(value)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may raise anything
                    moves = (("LPUSH", dead, value), ("ZREM", self._key, value))
                    self._replicas.check(self._link.transaction(moves, *self._replicas.behind))
                    self.skipped += 1
                    warn("%s: an item was moved to %s: %s", self.path, dead, reason_of(error))
                    return True
            start += len(values)

    def _give_back(self, values: list[bytes]) -> None:
        """Let items be due now that were taken."""
        self._if_taken(values, 0)

    def _ack(self, values: list[bytes]) -> int:
        return self._if_taken(values, self.ack_valid_for)

    def _if_taken(self, values: list[bytes], seconds: int) -> int:
        return sum(self._run_script(POOL_ACK, (seconds, *part)) for part in parts_of(values))

    def _remove(self, values: list[bytes]) -> int:
        return sum(self._run_script(POOL_REMOVE, part) for part in parts_of(values))

    def _run_script(self, script: tuple[str, str], arguments: Sequence[Any]) -> int:
        """Run a script that may be sent twice, and wait for replicas."""
        behind = self._replicas.behind
        return self._checked(
            self._link.script(script, (self._key,), arguments, *behind, again=True)
        )

    def _delete(self, values: list[bytes]) -> int:
        return sum(self._write(("ZREM", self._key, *part)) for part in parts_of(values))

    def _clear(self) -> int:
        removed = 0
        while some := self._write(("ZREMRANGEBYRANK", self._key, 0, MOST - 1)):
            removed += some
        return removed

    def _count(self) -> int:
        return self._ask("ZCARD", self._key)

    def _count_due(self) -> int:
        due: int = self._link.script(POOL_DUE, (self._key,), (), again=True)[0]
        return due

    def _holds(self, value: bytes) -> bool:
        return self._link.ask(("ZSCORE", self._key, value), again=True)[0] is not None

    def _ask(self, *command: Any) -> int:
        answer: int = self._link.ask(command, again=True)[0]
        return answer

    def _write(self, command: tuple[Any, ...]) -> int:
        """Send a command that may be sent twice, and wait for replicas."""
        return self._checked(self._link.ask(command, *self._replicas.behind, again=True))

    def _checked(self, answers: list[Any]) -> int:
        self._replicas.check(answers)
        done: int = answers[0]
        return done

    def _run(self, function: Callable[..., R], *arguments: Any) -> R:
        """Do something that may be interrupted (Ctrl-C): it is seen through first."""
        if self._closed:
            raise QueueClosed("the pool is closed; what is stored is there when it is opened again")
        try:
            if not self._checked_once:
                check(self._link, self._label, {self._key: "zset"})
                self._checked_once = True
            return function(*arguments)
        finally:
            interrupt, self._link.interrupt = self._link.interrupt, None
            if interrupt is not None:
                raise interrupt
