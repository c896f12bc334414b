"""The Redis pools: their arguments, their scripts, and every verb as one or more calls.

A pool is a sorted set, aio-py-rq's: an item -> when it is due, in seconds since 1970 by the
server's clock.  The time of an item that is handed out has a fraction, 0.1.

A pool is no queue: nothing in it is ever finished, so no call waits and there is no line.
One thread at a time uses a ``PoolFace``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._core.arguments import MAX_ITEM_BYTES, T, uncopied, whole
from .._core.block import Damaged, reason_of
from .._core.log import warn
from ..exceptions import ItemTooLarge, QueueClosed, SerializationError
from .connection import Link
from .scripts import MOST, parts_of, script
from .settings import (
    LOCAL,
    Replicas,
    Settings,
    check,
    checked_name,
    codec_of,
    is_native,
    native_base,
)
from .values import cannot_load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .resp import Command

ACK_TTL, ACK_VALID_FOR = 600, 129_600  # s; aio-py-rq's
CHUNK = 100
R = TypeVar("R")
_NOW = "redis.call('time')[1]"

#: KEYS pool; ARGV items.
POOL_ADD = script(f"""
local now, scored = {_NOW}, {{}}
for i = 1, #ARGV do
    scored[2 * i - 1], scored[2 * i] = now, ARGV[i]
end
return redis.call('zadd', KEYS[1], unpack(scored))
""")

#: KEYS pool; ARGV seconds until it is due again, how many.
POOL_TAKE = script(f"""
local now = {_NOW}
local items = redis.call('zrangebyscore', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, item in ipairs(items) do
    redis.call('zadd', KEYS[1], now + ARGV[1] + 0.1, item)
end
return items
""")

#: KEYS pool; ARGV seconds until it is due, items; only those that are taken.
POOL_ACK = script(f"""
local acked, when = 0, {_NOW} + ARGV[1]
for i = 2, #ARGV do
    local due = redis.call('zscore', KEYS[1], ARGV[i])
    if due and due - math.floor(due) > 0.01 then
        redis.call('zadd', KEYS[1], when, ARGV[i])
        acked = acked + 1
    end
end
return acked
""")

#: KEYS pool; ARGV items; only those that are taken.
POOL_REMOVE = script("""
local removed = 0
for i = 1, #ARGV do
    local due = redis.call('zscore', KEYS[1], ARGV[i])
    if due and due - math.floor(due) > 0.01 then
        removed = removed + redis.call('zrem', KEYS[1], ARGV[i])
    end
end
return removed
""")

#: KEYS pool.  Answers how many are due.
POOL_DUE = script(f"""
return redis.call('zcount', KEYS[1], '-inf', {_NOW})
""")


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
        self._encode = self._codec.encode
        settings = Settings(redis)
        self._replicas = Replicas.of(
            settings, synced_slaves_enabled, synced_slaves_count, synced_slaves_timeout
        )
        self._key = f"{native_base(name)}-pool" if is_native(serializer) else name
        self.path = f"{settings.label}/{name}"
        self._label = settings.label
        self._link = Link(settings)
        self._checked_once = self._closed = False
        self.skipped = 0  # items that this object has set aside

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # -- verbs ----------------------------------------------------------------------

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
        except (Damaged, SerializationError, ItemTooLarge) as error:
            cannot_load(error, self.path, self._key, "set_aside() gets past it")

    def _set_aside(self) -> bool:
        """Move the first item that cannot be loaded to the list of such items."""
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
        self._ack(values, 0)

    def _ack(self, values: list[bytes], seconds: int | None = None) -> int:
        again_in = self.ack_valid_for if seconds is None else seconds
        return sum(self._run_script(POOL_ACK, (again_in, *part)) for part in parts_of(values))

    def _remove(self, values: list[bytes]) -> int:
        return sum(self._run_script(POOL_REMOVE, part) for part in parts_of(values))

    def _run_script(self, script: tuple[str, str], arguments: Sequence[Any]) -> int:
        """Run a script that may be sent twice, and wait for replicas."""
        behind = self._replicas.behind
        return self._confirmed(
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
        count: int = self._link.ask(("ZCARD", self._key), again=True)[0]
        return count

    def _count_due(self) -> int:
        due: int = self._link.script(POOL_DUE, (self._key,), (), again=True)[0]
        return due

    def _holds(self, value: bytes) -> bool:
        return self._link.ask(("ZSCORE", self._key, value), again=True)[0] is not None

    def _write(self, command: Command) -> int:
        """Send a command that may be sent twice, and wait for replicas."""
        return self._confirmed(self._link.ask(command, *self._replicas.behind, again=True))

    def _confirmed(self, answers: list[Any]) -> int:
        self._replicas.check(answers)
        done: int = answers[0]
        return done

    def _run(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call a function of the pool."""
        if self._closed:
            raise QueueClosed("the pool is closed; what is stored is there when it is opened again")
        if not self._checked_once:
            check(self._link, self._label, {self._key: "zset"})
            self._checked_once = True
        return function(*arguments)
