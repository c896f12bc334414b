"""Queues on Redis servers as ends of a move, and which queues are there.

A queue without items cannot be told from none: its list is not there.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.block import Damaged
from .._core.deadline import monotonic
from .._core.inflight import AT_TASK_DONE
from .._core.threads import ThreadSession
from .._redis.connection import Link
from .._redis.recovery import Sweep
from .._redis.scripts import Keys, script
from .._redis.settings import Replicas, Settings, codec_of, is_native, native_base
from .._redis.store import RedisStore
from .._sql.statements import FIFO, UNIQUE
from ..exceptions import PersistQueueError, QueueCorrupt, ServerRefused
from ..serializers import json, pickle
from .ends import BATCH_BYTES, Batch, Carried, End, Source, Target
from .places import LONGEST, NoQueue, shipped, short_name, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._redis.resp import Command
    from ..serializers import Serializer
    from .places import Name

_SCAN = 1000  # keys in one answer
_PATIENCE = 2.0  # s to look for the queues of a server
_NATIVE = native_base("}").partition("}")[0]  # the beginning of each native key

#: KEYS list; ARGV how many items stand before these, how many at the most, bytes at the most, the
#: digest of the last one before ('' for any).  Answers items, or false if the list was taken from.
PAGE = script("""
local skip, most, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[4] ~= '' then
    local before = redis.call('lindex', KEYS[1], -skip)
    if not before or redis.sha1hex(before) ~= ARGV[4] then
        return false
    end
end
local items = {}
for i = 1, most do
    local item = redis.call('lindex', KEYS[1], -skip - i)
    if not item then
        break
    end
    room = room - #item
    if i > 1 and room < 0 then
        break
    end
    items[i] = item
end
return items
""")


class Meant(NamedTuple):
    """A queue on a server, and its serializer, which also says whose keys it has; None for text."""

    serializer: Serializer | None
    unique: bool


class RedisEnd(End):
    """A queue's keys."""

    def __init__(self, name: Name, found: Meant) -> None:
        super().__init__(name, UNIQUE if found.unique else FIFO, found.serializer)
        self._settings = settings = Settings(name.address)
        self._link = Link(settings)
        self._keys = _keys_of(name, is_native(found.serializer), unique=found.unique)
        self._codec = codec_of(found.serializer, unique=found.unique, longest=LONGEST)
        self.identity = self._server(), settings.db, self._keys.base

    def _server(self) -> object:
        """Return the identity of the server, which is the same under each of its names."""
        try:
            (info,) = self._ask(("INFO", "server"))
        except ServerRefused:  # this user may not ask
            return self._settings.label
        runs = (line for line in info.splitlines() if line.startswith(b"run_id:"))
        return next(runs, self._settings.label)

    def _ask(self, *commands: Command) -> list[Any]:
        return self._link.ask(*commands, again=True)

    def close(self) -> None:
        super().close()
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

    def read(self, most: int, behind: Batch | None) -> Batch | None:
        lists = self._lists
        first, skip, values = behind.place if behind else (lists[0], 0, [])
        last = hashlib.sha1(values[-1], usedforsecurity=False).hexdigest() if values else ""
        for key in lists[lists.index(first) :]:
            (values,) = self._link.script(PAGE, (key,), (skip, most, BATCH_BYTES, last), again=True)
            if values is None:
                raise PersistQueueError(
                    f"{self.shown}: consumers took items while it was copied, so the copy is not "
                    "whole: stop them, empty the target, and begin anew"
                )
            if values:
                carried = [Carried(self._decoded(value)) for value in values]
                return Batch(carried, (key, skip + len(values), values))
            skip, last = 0, ""
        return None

    def _decoded(self, value: bytes) -> Any:
        try:
            return self._codec.decode(value)
        except Damaged as damage:
            raise QueueCorrupt(self.shown, self._keys.base, reason=str(damage)) from damage

    def finish(self, batch: Batch) -> int:
        *_, values = batch.place
        return len(values) - Sweep(self._link, self._keys, Replicas(0, 0)).delete(values, -1)


class RedisTarget(RedisEnd, Target[bytes]):
    """A list that items are pushed to."""

    def __init__(self, name: Name, found: Meant) -> None:
        super().__init__(name, found)
        store = RedisStore(
            self._settings, self._keys, self._codec, maxsize=0, native=is_native(found.serializer),
            lease=None,
            skip_corrupt=False, replicas=Replicas(0, 0),
        )  # fmt: skip
        self._session = ThreadSession(store, 0, AT_TASK_DONE)

    def encode(self, carried: Carried) -> bytes:
        return self._codec.encode(carried.item)

    def decode(self, stored: bytes) -> Any:
        return self._codec.decode(stored)


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
        found = Meant(serializer, source.kind.unique)
    return RedisTarget(name, found)


def _found(name: Name) -> Meant | None:
    """Return the queue that a URL means: with shared keys, or with native keys."""
    if name.queue is None:
        raise ValueError(f"{name.shown}: say the queue's name: ?name=NAME; here are: {_all(name)}")
    found, wanted = [], name.serializer
    with _linked(name) as link:
        for native in (False, True) if wanted is None else (is_native(wanted),):
            keys = _keys_of(name, native)
            kind, shown, pool, unique, written = link.ask(
                ("TYPE", keys.base),
                ("TYPE", keys.front),
                ("TYPE", f"{keys.base}-pool"),
                ("EXISTS", keys.unique),
                ("GET", keys.meta),
                again=True,
            )
            if b"zset" in (kind, pool):
                raise ValueError(f"{name.shown}: it is a pool, and pools are not moved")
            if b"list" in (kind, shown):
                serializer = wanted
                if native and wanted is None:
                    wrote = short_name(written.decode()) if written else None
                    serializer = usable(name.shown, shipped(wrote))
                found.append(Meant(serializer, bool(unique)))
    if len(found) > 1:
        raise ValueError(
            f"{name.shown}: two queues have this name: with ?serializer=json it is that of "
            f"text, with ?serializer={short_name(found[1].serializer)} the other"
        )
    return found[0] if found else None


def _keys_of(name: Name, native: bool, *, unique: bool = False) -> Keys:
    queue = name.queue or ""
    return Keys(native_base(queue) if native else queue, unique=unique)


def _all(name: Name) -> str:
    """Return the names of the queues of a server that are found within 2 s."""
    found, cursor, end = set[str](), b"0", monotonic() + _PATIENCE
    with _linked(name) as link:
        while monotonic() < end:
            scan = ("SCAN", cursor, "COUNT", _SCAN, "TYPE", "list")
            ((cursor, keys),) = link.ask(scan, again=True)
            for key in (key.decode(errors="replace") for key in keys):
                if "-processing-" not in key and not key.endswith(("-front", "-dead")):
                    native = key.startswith(_NATIVE)
                    found.add(key.removeprefix(_NATIVE).removesuffix("}") if native else key)
            if cursor == b"0":
                break
    return ", ".join(sorted(found)) or "none"


@contextmanager
def _linked(name: Name) -> Iterator[Link]:
    link = Link(Settings(name.address))
    try:
        yield link
    finally:
        link.drop()
