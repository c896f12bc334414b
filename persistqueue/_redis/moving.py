"""What the commands need of a Redis server: which queues are there, and how items are moved.

A queue without items cannot be told from none: its list is not there.

A move reads a batch of items, has it stored elsewhere, and removes it.  It notes in a hash how far
it has come (``Keys.note``).  A script that comes late, or twice, does nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .._core.deadline import monotonic
from .connection import Link
from .scripts import Keys, script
from .settings import native_base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings

_NOTE_TTL = 30 * 86400  # s
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

#: KEYS pending front note [unique]; ARGV the batch's number, values.  Answers what was new, or
#: false if this batch was stored before, or its caller is gone.
PUT_MOVED = script(f"""
local pending, front, note, unique = unpack(KEYS)
local waiting = redis.call('llen', pending) + redis.call('llen', front)
if unique and redis.call('scard', unique) > 0 and waiting == 0 then
    redis.call('unlink', unique)
end
local last = math.max(
    tonumber(redis.call('hget', note, 'stored') or 0),
    tonumber(redis.call('hget', note, 'refused') or 0))
if last >= tonumber(ARGV[1]) then
    return false
end
local new = #ARGV - 1
if unique then
    new = 0
    for i = 2, #ARGV do
        if redis.call('sadd', unique, ARGV[i]) == 1 then
            redis.call('lpush', pending, ARGV[i])
            new = new + 1
        end
    end
else
    redis.call('lpush', pending, unpack(ARGV, 2))
end
redis.call('hset', note, 'stored', ARGV[1])
redis.call('expire', note, {_NOTE_TTL})
return new
""")

#: KEYS note; ARGV the batch's number.  Answers 1 if it is stored; if not, it never will be.
HAS_MOVED = script(f"""
if tonumber(redis.call('hget', KEYS[1], 'stored') or 0) >= tonumber(ARGV[1]) then
    return 1
end
redis.call('hset', KEYS[1], 'refused', ARGV[1])
redis.call('expire', KEYS[1], {_NOTE_TTL})
return 0
""")

#: KEYS pending note [unique]; ARGV the batch's number, digests of its items, the oldest first.
#: Consumers take the oldest, so what is left of a batch is its end.  Answers how many were gone.
FINISH_MOVED = script(f"""
local pending, note, unique = KEYS[1], KEYS[2], KEYS[3]
if tonumber(redis.call('hget', note, 'finished') or 0) >= tonumber(ARGV[1]) then
    return 0
end
local wanted = #ARGV - 1
local items = redis.call('lrange', pending, -wanted, -1)
local digests = {{}}
for i, item in ipairs(items) do
    digests[i] = redis.sha1hex(item)
end
local gone = 0
while gone < wanted do
    local left, same = wanted - gone, true
    for i = 1, left do
        if digests[#items + 1 - i] ~= ARGV[1 + gone + i] then
            same = false
            break
        end
    end
    if same then
        break
    end
    gone = gone + 1
end
if gone < wanted then
    if unique then
        redis.call('srem', unique, unpack(items, #items + 1 - wanted + gone))
    end
    redis.call('ltrim', pending, 0, gone - wanted - 1)
end
redis.call('hset', note, 'finished', ARGV[1])
redis.call('expire', note, {_NOTE_TTL})
return gone
""")


class Found(NamedTuple):
    """A queue.

    Attributes:
        native: its keys are not shared with aio-py-rq.
        unique: no two equal items wait.
        serializer: its name, if it is noted beside native keys.
    """

    native: bool
    unique: bool
    serializer: str | None


def queues(settings: Settings, name: str) -> list[Found]:
    """Return the queues of a name: one with shared keys, one with native keys, both or none.

    Raises:
        ValueError: it is a pool.
    """
    found = []
    with _linked(settings) as link:
        for native in (False, True):
            keys = Keys(native_base(name) if native else name)
            kind, shown, pool, unique, written = link.ask(
                ("TYPE", keys.base),
                ("TYPE", keys.front),
                ("TYPE", f"{keys.base}-pool"),
                ("EXISTS", keys.unique),
                ("GET", keys.meta),
                again=True,
            )
            if b"zset" in (kind, pool):
                raise ValueError("it is a pool")
            if b"list" in (kind, shown):
                serializer = written.decode() if native and written else None
                found.append(Found(native, bool(unique), serializer))
    return found


def names(settings: Settings) -> set[str]:
    """Return the names of the queues of a server that are found within 2 s."""
    found, cursor, end = set[str](), b"0", monotonic() + _PATIENCE
    with _linked(settings) as link:
        while monotonic() < end:
            scan = ("SCAN", cursor, "COUNT", _SCAN, "TYPE", "list")
            ((cursor, keys),) = link.ask(scan, again=True)
            for key in (key.decode(errors="replace") for key in keys):
                if "-processing-" not in key and not key.endswith(("-front", "-dead")):
                    native = key.startswith(_NATIVE)
                    found.add(key.removeprefix(_NATIVE).removesuffix("}") if native else key)
            if cursor == b"0":
                break
    return found


@contextmanager
def _linked(settings: Settings) -> Iterator[Link]:
    link = Link(settings)
    try:
        yield link
    finally:
        link.drop()
