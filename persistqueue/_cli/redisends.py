"""Queues on Redis servers as ends of a move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.block import Damaged
from .._redis.connection import Link
from .._redis.moving import FINISH_MOVED, HAS_MOVED, PAGE, PUT_MOVED, names, queues
from .._redis.scripts import Keys
from .._redis.settings import (
    Settings,
    check,
    check_serializer,
    checked_layout,
    codec_of,
    native_base,
)
from .._sql.statements import FIFO, UNIQUE
from ..exceptions import PersistQueueError, QueueCorrupt, ServerRefused
from ..serializers import json, pickle
from .ends import BATCH_BYTES, Batch, Carried, End, Mover, Source, Target, digest
from .places import LONGEST, NoQueue, shipped, usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._redis.resp import Command, Word
    from ..serializers import Serializer
    from .ends import Place
    from .places import Name


class Meant(NamedTuple):
    """A queue on a server, and its serializer; None for text."""

    native: bool
    serializer: Serializer | None
    unique: bool


class RedisEnd(End):
    """A queue's keys."""

    def __init__(self, name: Name, found: Meant) -> None:
        super().__init__(name, UNIQUE if found.unique else FIFO, found.serializer)
        settings = Settings(name.address)
        self._link, self._label = Link(settings), settings.label
        base = native_base(name.queue or "") if found.native else name.queue or ""
        self._keys = Keys(base, unique=found.unique)
        self._codec = codec_of(found.serializer, unique=found.unique, longest=LONGEST)
        self.identity = self._server(), settings.db, self._keys.base
        self.key = f"{self._label} {self._keys.base}"

    def _server(self) -> object:
        """Return the identity of the server, which is the same under each of its names."""
        try:
            (info,) = self._ask(("INFO", "server"))
        except ServerRefused:  # this user may not ask
            return self._label
        runs = (line for line in info.splitlines() if line.startswith(b"run_id:"))
        return next(runs, self._label)

    def _ask(self, *commands: Command) -> list[Any]:
        answers = self._link.ask(*commands, again=True)
        self._link.let_go_on()
        return answers

    def _script(
        self, script: tuple[str, str], keys: Sequence[Word], arguments: Sequence[Word]
    ) -> Any:
        (answer,) = self._link.script(script, keys, arguments, again=True)
        self._link.let_go_on()
        return answer

    def forget(self, run: str) -> None:
        self._ask(("UNLINK", self._keys.note(run)))

    def close(self) -> None:
        self._link.drop()


class RedisSource(RedisEnd, Source):
    """A list that is read from its old end; of a copy, behind the lists of held items."""

    default = pickle  # text in Redis does not say how a program stores items elsewhere

    def __init__(self, name: Name, found: Meant, *, moves: bool) -> None:
        super().__init__(name, found)
        keys = self._keys
        while moves and self._ask(("LLEN", keys.front))[0]:  # shown to consumers that may be dead
            self._ask(("LMOVE", keys.front, keys.base, "LEFT", "RIGHT"))
        self._lists = [keys.base] if moves else [*self._held(), keys.front, keys.base]

    def _held(self) -> list[str]:
        """Return the lists of items that consumers hold, the oldest first."""
        (flat,) = self._ask(("HGETALL", self._keys.timeouts))
        return [name.decode() for _, name in sorted(zip(flat[1::2], flat[::2], strict=True))]

    def count(self) -> int:
        return sum(self._ask(*(("LLEN", key) for key in self._lists)))

    def staying(self) -> dict[str, int]:
        lists = self._held()
        return {"held": sum(self._ask(*(("LLEN", key) for key in lists))) if lists else 0}

    def read(self, most: int, behind: Place | None) -> Batch | None:
        lists = self._lists
        first, skip, last = behind["end"] if behind else (lists[0], 0, "")
        for key in lists[lists.index(first) :] if first in lists else (None,):
            values = key and self._script(PAGE, (key,), (skip, most, BATCH_BYTES, last))
            if values is None:
                raise PersistQueueError(
                    f"{self.shown}: consumers took items while it was copied, so the copy is not "
                    "whole: stop them, empty the target, remove the journal, and begin anew"
                )
            if values:
                digests = [digest(value) for value in values]
                end = (key, skip + len(values), digests[-1])
                place = {"end": end, "digests": digests}
                return Batch([Carried(self._decoded(value)) for value in values], place)
            skip, last = 0, ""
        return None

    def _decoded(self, value: bytes) -> Any:
        try:
            return self._codec.decode(value)
        except Damaged as damage:
            raise QueueCorrupt(self.shown, self._keys.base, reason=str(damage)) from damage

    def finish(self, place: Place, mover: Mover, *, resumed: bool) -> int:
        keys = (self._keys.base, self._keys.note(mover.run), *self._keys.set)
        gone: int = self._script(FINISH_MOVED, keys, (mover.number, *place["digests"]))
        return gone


class RedisTarget(RedisEnd, Target[bytes]):
    """A list that items are pushed to."""

    def __init__(self, name: Name, found: Meant) -> None:
        super().__init__(name, found)
        check(self._link, self._label, self._keys.known)
        if found.native:
            check_serializer(self._link, self._label, self._keys, self._codec.name)

    def encode(self, carried: Carried) -> bytes:
        return self._codec.encode(carried.item)

    def decode(self, stored: bytes) -> Any:
        return self._codec.decode(stored)

    def put(self, stored: Sequence[bytes], mover: Mover) -> int:
        keys = (self._keys.base, self._keys.front, self._keys.note(mover.run), *self._keys.set)
        new = self._script(PUT_MOVED, keys, (mover.number, *stored))
        return 0 if new is None else len(stored) - new

    def has(self, mover: Mover, note: Place | None) -> bool:
        return bool(self._script(HAS_MOVED, (self._keys.note(mover.run),), (mover.number,)))


def redis_source(name: Name, *, moves: bool) -> RedisSource:
    """Return the queue that a URL names.

    Raises:
        NoQueue: it is not there; an empty one cannot be told from none.
        ValueError: two queues, or a pool, have this name.
    """
    found = _found(name)
    if found is None:
        raise NoQueue(
            f"{name.shown}: there is no such queue, or it is empty; here are: {_all(name)}"
        )
    return RedisSource(name, found, moves=moves)


def redis_target(name: Name, source: Source) -> RedisTarget:
    """Return the queue that a URL names; its first item makes it, of the source's kind."""
    found = _found(name)
    if found is None:
        serializer = name.serializer or (json if source.serializer is json else None)
        found = Meant(_is_native(serializer), serializer, source.kind.unique)
    return RedisTarget(name, found)


def _found(name: Name) -> Meant | None:
    """Return the queue that a URL means: with shared keys, or with native keys."""
    if name.queue is None:
        raise ValueError(f"{name.shown}: say the queue's name: ?name=NAME; here are: {_all(name)}")
    meant, wanted = [], name.serializer
    try:
        there = queues(Settings(name.address), name.queue)
    except ValueError as error:
        raise ValueError(f"{name.shown}: {error}, and pools are not moved") from error
    for found in there:
        serializer = wanted
        if found.serializer and not wanted:
            serializer = usable(name.shown, shipped(_short(found.serializer)))
        if wanted is None or found.native == _is_native(wanted):
            meant.append(Meant(found.native, serializer, found.unique))
    if len(meant) > 1:
        raise ValueError(
            f"{name.shown}: two queues have this name: with ?serializer=json it is that of "
            f"text, with ?serializer={_short(meant[1].serializer)} the other"
        )
    return meant[0] if meant else None


def _is_native(serializer: Serializer | None) -> bool:
    return checked_layout(None, serializer) == "native"


def _short(serializer: object) -> str:
    """Return how a user names a serializer."""
    name = str(getattr(serializer, "__name__", serializer))
    return name.removeprefix("persistqueue.serializers.")


def _all(name: Name) -> str:
    """Return the names of all queues of a server, as far as they are found in a moment."""
    return ", ".join(sorted(names(Settings(name.address)))) or "none"
