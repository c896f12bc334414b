"""The keys of a queue in Redis, and what is done to several of them in one step.

Pure: names and Lua.  The keys are aio-py-rq's, so that its workers and ours share a queue:

==============================  ====  =====================================================
``<name>``                      list  what waits; put on the left, taken from the right
``<name>-processing-<batch>``   list  what one call has taken, the newest on the left
``<name>-timeouts``             hash  such a list -> when, in seconds since 1970
``<name>-unique``               set   a unique queue's: what waits
``<name>-retry-count``          hash  an item -> how often it was asked for
``<name>-retry-timeout``        hash  an item -> in which minute it was first
``<name>-dead``                 list  ours: what was set aside because it cannot be decoded
``<name>-meta:...``             ours: the serializer of a queue in the native layout, and how
                                far a move has come
==============================  ====  =====================================================

A script is one call however many items it is for, at most ``MOST``: the server does nothing
else meanwhile.  Those that take ``unique`` as their last key keep the set right.

A script that fails is not undone.  So what may fail comes first: a key of another type is found
by looking (``SOUND``), and a server without memory lets a script go on that has removed
something before it adds anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
MOST = 1000  # values in one call
PER_LIST = 250  # items in one processing list: finishing one by one looks through it

_OURS = re.compile(rb".*\]-[0-9a-f]{8}-[0-9]{10}")


def parts_of(values: Sequence[T]) -> list[Sequence[T]]:
    """Return values in parts, each small enough for one call."""
    return [values[at : at + MOST] for at in range(0, len(values), MOST)]


def script(source: str) -> tuple[str, str]:
    """Return a script's source and its digest."""
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Keys:
    """The names of a queue's keys.

    Args:
        base: what they all begin with, and the list of what waits.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.timeouts = f"{base}-timeouts"
        self.unique = f"{base}-unique"
        self.retry_count = f"{base}-retry-count"
        self.retry_timeout = f"{base}-retry-timeout"
        self.dead = f"{base}-dead"
        self.meta = f"{base}-meta:format"
        self.renew()

    def note(self, run: str) -> str:
        """Return the name of the key that says how far a move has come."""
        return f"{self.base}-meta:move-{run}"

    def renew(self) -> None:
        """Be another consumer: the names of lists to come are those of no other object."""
        host, pid, now = socket.gethostname(), os.getpid(), int(time.time())
        self.consumer = f"{self.base}-processing-{host}[{pid}][{now}]-{secrets.token_hex(4)}-"

    def processing(self, number: int) -> str:
        """Return the name of this object's list of that number; they sort by it."""
        return f"{self.consumer}{number:010d}"


def is_ours(processing: bytes) -> bool:
    """Return whether a processing list is one call's, and not one aio-py-rq consumer's."""
    return _OURS.fullmatch(processing) is not None


# What waits, and how many lists of taken items there are: every script answers with these.
_COUNTS = "redis.call('llen', pending), redis.call('hlen', timeouts)"

# Raises, before anything is done, if a key is of another type; else says what there is.
SOUND = """
local waiting, lists = redis.call('llen', pending), redis.call('hlen', timeouts)
if unique then
    redis.call('scard', unique)
end
"""

#: KEYS pending timeouts [unique]; ARGV room (0: any), values.  Answers -1 if there is none.
PUT = script(f"""
local pending, timeouts, unique = KEYS[1], KEYS[2], KEYS[3]
{SOUND}
local room = tonumber(ARGV[1])
if room > 0 then
    local wanted = #ARGV - 1
    if unique then
        for _, flag in ipairs(redis.call('smismember', unique, unpack(ARGV, 2))) do
            wanted = wanted - flag
        end
    end
    if wanted > 0 and redis.call('llen', pending) + wanted > room then
        return {{-1, 0, {{}}}}
    end
end
local stored = {{}}
if unique then
    for i = 2, #ARGV do
        stored[i - 1] = redis.call('sadd', unique, ARGV[i])
        if stored[i - 1] == 1 then
            redis.call('lpush', pending, ARGV[i])
        end
    end
else
    redis.call('lpush', pending, unpack(ARGV, 2))
end
return {{{_COUNTS}, stored}}
""")

#: KEYS pending timeouts processing [unique]; ARGV how many.  Asked twice, it answers twice.
TAKE = script(f"""
local pending, timeouts, processing, unique = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
{SOUND}
local known = redis.call('lrange', processing, 0, -1)
local items = {{}}
for i = #known, 1, -1 do
    items[#items + 1] = known[i]
end
if #items == 0 then
    items = redis.call('rpop', pending, ARGV[1]) or {{}}
    if #items > 0 then
        local now = redis.call('time')
        redis.call('lpush', processing, unpack(items))
        local stamp = string.format('%s.%06d', now[1], now[2])
        waiting, lists = waiting - #items, lists + redis.call('hset', timeouts, processing, stamp)
        if unique then
            redis.call('srem', unique, unpack(items))
        end
    end
end
return {{waiting, lists, items}}
""")

#: KEYS pending timeouts count timeout, lists; ARGV for each list: how many, then values; 0
#: for all that is in it.
SETTLE = script(f"""
local pending, timeouts, unique = KEYS[1], KEYS[2], nil
{SOUND}
local tried = redis.call('exists', KEYS[3]) == 1
local at = 1
for k = 5, #KEYS do
    local list, count = KEYS[k], tonumber(ARGV[at])
    local items = {{}}
    if count > 0 then
        items = {{unpack(ARGV, at + 1, at + count)}}
        for _, item in ipairs(items) do
            redis.call('lrem', list, -1, item)
        end
    elseif tried then
        items = redis.call('lrange', list, 0, -1)
    end
    if count == 0 then
        redis.call('unlink', list)
    end
    if count == 0 or redis.call('exists', list) == 0 then
        lists = lists - redis.call('hdel', timeouts, list)
    end
    if tried and #items > 0 then
        redis.call('hdel', KEYS[3], unpack(items))
        redis.call('hdel', KEYS[4], unpack(items))
    end
    at = at + 1 + count
end
return {{waiting, lists}}
""")

#: KEYS pending timeouts target, lists, [unique]; ARGV 'rpush' or 'lpush', how many lists,
#: then pairs: number of a list, value.  What is not in its list any more stays where it is.
MOVE = script(f"""
local pending, timeouts, target = KEYS[1], KEYS[2], KEYS[3]
local held = tonumber(ARGV[2])
local unique = KEYS[3 + held + 1]
{SOUND}
redis.call('llen', target)
for i = 3, #ARGV, 2 do
    local value = ARGV[i + 1]
    if redis.call('lrem', KEYS[3 + tonumber(ARGV[i])], -1, value) == 1 then
        if not unique or redis.call('sadd', unique, value) == 1 then
            redis.call(ARGV[1], target, value)
        end
    end
end
for k = 4, 3 + held do
    if redis.call('exists', KEYS[k]) == 0 then
        redis.call('hdel', timeouts, KEYS[k])
    end
end
return {{{_COUNTS}}}
""")

#: KEYS pending timeouts processing [unique]; ARGV how many at the most, when it was taken
#: ('' for whenever).  Puts the newest back in front; answers how many are left in the list.
RECLAIM = script(f"""
local pending, timeouts, processing, unique = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
{SOUND}
if ARGV[2] ~= '' and redis.call('hget', timeouts, processing) ~= ARGV[2] then
    return 0
end
local items = redis.call('lrange', processing, 0, ARGV[1] - 1)
redis.call('ltrim', processing, #items, -1)
if unique then
    for _, item in ipairs(items) do
        if redis.call('sadd', unique, item) == 0 then
            redis.call('lrem', pending, -1, item)
        end
        redis.call('rpush', pending, item)
    end
elseif #items > 0 then
    redis.call('rpush', pending, unpack(items))
end
local left = redis.call('llen', processing)
if left == 0 then
    redis.call('hdel', timeouts, processing)
end
return left
""")

#: KEYS timeouts processing; ARGV when it was taken ('' for whenever).
DROP = script("""
if ARGV[1] == '' or redis.call('hget', KEYS[1], KEYS[2]) == ARGV[1] then
    redis.call('unlink', KEYS[2])
    redis.call('hdel', KEYS[1], KEYS[2])
end
return 0
""")

#: KEYS timeouts, lists.  Answers how many of them there still are.
REFRESH = script("""
local now = redis.call('time')
local alive = 0
for k = 2, #KEYS do
    if redis.call('hdel', KEYS[1], KEYS[k]) == 1 then
        redis.call('hset', KEYS[1], KEYS[k], string.format('%s.%06d', now[1], now[2]))
        alive = alive + 1
    end
end
return alive
""")

#: KEYS pending [unique]; ARGV which and how many (as of LREM), values.
DELETE = script("""
local deleted = 0
for i = 2, #ARGV do
    deleted = deleted + redis.call('lrem', KEYS[1], ARGV[1], ARGV[i])
    if KEYS[2] then
        redis.call('srem', KEYS[2], ARGV[i])
    end
end
return deleted
""")

#: KEYS count timeout; ARGV the item, this minute.  Answers how often, and since which minute.
TRIED = script("""
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
    redis.call('hset', KEYS[2], ARGV[1], ARGV[2])
end
local count = redis.call('hincrby', KEYS[1], ARGV[1], 1)
return {count, tonumber(redis.call('hget', KEYS[2], ARGV[1]) or ARGV[2])}
""")

#: KEYS pool; ARGV now, seconds until it is due again, how many.
POOL_TAKE = script("""
local items = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, item in ipairs(items) do
    redis.call('zadd', KEYS[1], ARGV[1] + ARGV[2] + 0.1, item)
end
return items
""")

#: KEYS pool; ARGV when it is due, items; only those that are taken.
POOL_ACK = script("""
local acked = 0
for i = 2, #ARGV do
    local due = redis.call('zscore', KEYS[1], ARGV[i])
    if due and due - math.floor(due) > 0.01 then
        redis.call('zadd', KEYS[1], ARGV[1], ARGV[i])
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

# A command moves items: it reads a batch, has it stored elsewhere, and removes it.  What it notes
# (``note``) is a hash of its own; a script that comes late, or twice, does nothing.
_NOTE_TTL = 30 * 86400  # s

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

#: KEYS pending timeouts note [unique]; ARGV the batch's number, values.  Answers what was new, or
#: false if this batch was stored before, or nobody waits for it any more.
PUT_MOVED = script(f"""
local pending, timeouts, note, unique = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
{SOUND}
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
