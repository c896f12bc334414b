"""The keys of a queue in Redis, and the scripts that change several of them in one step.

Names and Lua, no I/O.  The keys are aio-py-rq's, so that its workers and ours share a queue:

==============================  ====  =====================================================
``<name>``                      list  waiting items; put on the left, taken from the right
``<name>-processing-<batch>``   list  what one call has taken, the newest on the left
``<name>-timeouts``             hash  such a list -> when, in seconds since 1970
``<name>-unique``               set   a unique queue's waiting items
==============================  ====  =====================================================

Those that are ours alone:

==============================  ====  =====================================================
``<name>-front``                list  waiting items that a waiting get was shown: they are next
``<name>-due``                  zset  a list of taken items -> when its lease is over
``<name>-put-<object>``         text  the number of an object's last put; expires
``<name>-dead``                 list  values that cannot be decoded, set aside
``<name>-meta:format``          text  the serializer of a queue in the native layout
==============================  ====  =====================================================

A script is one call for up to ``MOST`` items; the server does nothing else meanwhile.

A script that fails is not undone.  So what may fail comes first.  A key of another type is found
by looking, before anything is changed.  A server without memory refuses the first command that
adds something, but lets a script go on that has removed something before.

Where the list of a unique queue is empty, nothing waits; a set with items is wrong then, and
removed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
MOST = 1000  # values in one call
PER_LIST = 250  # items in one processing list: finishing one by one looks through it
LISTS = 50  # processing lists in one call
KEPT = 600  # s that the number of a put is kept


def parts_of(values: Sequence[T], most: int = MOST) -> list[Sequence[T]]:
    """Return values in parts, each small enough for one call."""
    return [values[at : at + most] for at in range(0, len(values), most)]


def script(source: str) -> tuple[str, str]:
    """Return a script's source and its digest."""
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Keys:
    """The names of a queue's keys.

    Args:
        base: what they all begin with, and the list of waiting items.
        unique: the queue has a set of waiting items.

    Attributes:
        known: the names that all objects use -> their types.
        set: the name of a unique queue's set, as a tuple; empty for any other.
    """

    def __init__(self, base: str, *, unique: bool = False) -> None:
        self.base = base
        self.front = f"{base}-front"
        self.timeouts = f"{base}-timeouts"
        self.due = f"{base}-due"
        self.dead = f"{base}-dead"
        self.meta = f"{base}-meta:format"
        self.unique = f"{base}-unique"
        self.set = (self.unique,) if unique else ()
        self.known = {
            **dict.fromkeys((base, self.front, self.dead), "list"),
            **dict.fromkeys(self.set, "set"),
            self.timeouts: "hash",
            self.due: "zset",
        }
        self.renew()

    def renew(self) -> None:
        """Give the lists to come names that no other object has."""
        host, pid, now = socket.gethostname(), os.getpid(), int(time.time())
        own = f"{host}[{pid}][{now}]-{secrets.token_hex(4)}"
        self.consumer = f"{self.base}-processing-{own}-"
        self._lists = self.consumer.encode()
        self.put = f"{self.base}-put-{own}"

    def processing(self, number: int) -> bytes:
        """Return the name of this object's list of that number; names sort by number."""
        return b"%b%010d" % (self._lists, number)


#: KEYS pending put; ARGV number, a value.  Answers how many wait.
PUSH = script(f"""
local waiting = redis.call('lpush', KEYS[1], ARGV[2])
redis.call('set', KEYS[2], ARGV[1], 'EX', '{KEPT}')
return waiting
""")

#: KEYS pending front put [unique]; ARGV number ('' for a further part of the same put, '-' to
#: note nothing), room (0: any), values.  Answers -1 if there is no room; else how many wait, and
#: for a unique queue 1 or 0 for each value.
PUT = script(f"""
local pending, front, put, unique = unpack(KEYS)
local waiting = redis.call('llen', pending) + redis.call('llen', front)
if unique and redis.call('scard', unique) > 0 and waiting == 0 then
    redis.call('unlink', unique)
end
local room = tonumber(ARGV[2])
if room > 0 then
    local wanted = #ARGV - 2
    if unique then
        for _, flag in ipairs(redis.call('smismember', unique, unpack(ARGV, 3))) do
            wanted = wanted - flag
        end
    end
    if wanted > 0 and waiting + wanted > room then
        return {{-1}}
    end
end
local stored = {{}}
if unique then
    for i = 3, #ARGV do
        stored[i - 2] = redis.call('sadd', unique, ARGV[i])
        if stored[i - 2] == 1 then
            redis.call('lpush', pending, ARGV[i])
            waiting = waiting + 1
        end
    end
else
    redis.call('lpush', pending, unpack(ARGV, 3))
    waiting = waiting + #ARGV - 2
end
if ARGV[1] == '' then
    redis.call('append', put, table.concat(stored))
elseif ARGV[1] ~= '-' then
    redis.call('set', put, ARGV[1] .. ':' .. table.concat(stored), 'EX', {KEPT})
end
return {{waiting, unpack(stored)}}
""")

#: KEYS pending front timeouts due processing [unique]; ARGV how many, seconds of lease ('' for
#: ever).  Answers how many wait behind them, and the items; the same items if it is sent twice.
TAKE = script("""
local pending, front, timeouts, due, processing, unique = unpack(KEYS)
local waiting = redis.call('llen', pending)
redis.call('zcard', due)
if unique then
    redis.call('scard', unique)
end
local items
if redis.call('hdel', timeouts, processing) == 1 then
    items = redis.call('lrange', processing, 0, -1)
    for i = 1, math.floor(#items / 2) do
        items[i], items[#items + 1 - i] = items[#items + 1 - i], items[i]
    end
else
    local most = tonumber(ARGV[1])
    items = redis.call('rpop', front, most) or {}
    if #items < most and waiting > 0 then
        local more = redis.call('rpop', pending, most - #items)
        waiting = waiting - #more
        if #items == 0 then
            items = more
        else
            for i = 1, #more do
                items[#items + 1] = more[i]
            end
        end
    end
    if #items == 0 then
        return {waiting}
    end
    redis.call('lpush', processing, unpack(items))
    if unique then
        redis.call('srem', unique, unpack(items))
    end
end
local time = redis.call('time')
local now = time[1] + time[2] / 1e6
redis.call('hset', timeouts, processing, now)
if ARGV[2] ~= '' then
    redis.call('zadd', due, now + ARGV[2], processing)
end
return {waiting, unpack(items)}
""")

#: KEYS timeouts due, lists; ARGV for each list: how many, then values; 0 for all that is in it.
#: Answers which of the lists were not there (1 is the first).
SETTLE = script("""
local timeouts, due, gone, at = KEYS[1], KEYS[2], {}, 1
for k = 3, #KEYS do
    if redis.call('llen', KEYS[k]) == 0 then
        gone[#gone + 1] = k - 2
    end
end
for k = 3, #KEYS do
    local list, count = KEYS[k], tonumber(ARGV[at])
    local whole = count == 0
    if not whole then
        redis.call('hlen', timeouts)
        redis.call('zcard', due)
        for i = at + 1, at + count do
            redis.call('lrem', list, -1, ARGV[i])
        end
        whole = redis.call('exists', list) == 0
    end
    if whole then
        redis.call('zrem', due, list)
        redis.call('hdel', timeouts, list)
        redis.call('unlink', list)
    end
    at = at + 1 + count
end
return gone
""")

#: KEYS pending front timeouts due target, lists, [unique]; ARGV 'rpush' or 'lpush', how many
#: lists, then pairs: number of a list, value.  A value that is not in its list any more is left
#: alone.  Answers how many wait, and which of the lists were not there (1 is the first).
MOVE = script("""
local pending, front, timeouts, due, target = unpack(KEYS)
local held = tonumber(ARGV[2])
local unique = KEYS[5 + held + 1]
local waiting = redis.call('llen', pending) + redis.call('llen', front)
redis.call('hlen', timeouts)
redis.call('zcard', due)
redis.call('llen', target)
if unique and redis.call('scard', unique) > 0 and waiting == 0 then
    redis.call('unlink', unique)
end
local gone = {}
for k = 1, held do
    if redis.call('llen', KEYS[5 + k]) == 0 then
        gone[#gone + 1] = k
    end
end
for i = 3, #ARGV, 2 do
    local value = ARGV[i + 1]
    if redis.call('lrem', KEYS[5 + tonumber(ARGV[i])], -1, value) == 1 then
        if not unique or redis.call('sadd', unique, value) == 1
            or not (redis.call('lpos', pending, value) or redis.call('lpos', front, value)) then
            redis.call(ARGV[1], target, value)
        end
    end
end
for k = 6, 5 + held do
    if redis.call('exists', KEYS[k]) == 0 then
        redis.call('hdel', timeouts, KEYS[k])
        redis.call('zrem', due, KEYS[k])
    end
end
return {redis.call('llen', pending), unpack(gone)}
""")

#: KEYS pending timeouts due, lists, [unique]; ARGV how many items, about; how many lists; for
#: each when it was taken, '' for whenever, 'due' if its lease is over now.  Puts their items back
#: in front, the newest first.  Answers how many of the lists are done.
RECLAIM = script("""
local pending, timeouts, due = KEYS[1], KEYS[2], KEYS[3]
local left, held = tonumber(ARGV[1]), tonumber(ARGV[2])
local unique = KEYS[3 + held + 1]
redis.call('llen', pending)
redis.call('hlen', timeouts)
redis.call('zcard', due)
if unique then
    redis.call('scard', unique)
end
local now = redis.call('time')
now = now[1] + now[2] / 1e6
for k = 1, held do
    local list, stamp = KEYS[3 + k], ARGV[2 + k]
    local goes = stamp == '' or redis.call('hget', timeouts, list) == stamp
    if stamp == 'due' then
        local over = redis.call('zscore', due, list)
        goes = over and tonumber(over) <= now
    end
    if goes then
        local items = redis.call('lrange', list, 0, left)
        local whole = #items <= left
        if whole then
            redis.call('unlink', list)
        else
            items[#items] = nil
            redis.call('ltrim', list, left, -1)
        end
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
        if not whole then
            return k - 1
        end
        redis.call('hdel', timeouts, list)
        redis.call('zrem', due, list)
        left = left - #items
        if left <= 0 then
            return k
        end
    end
end
return held
""")

#: KEYS due; ARGV how many.  Answers in how many seconds the first lease is over ('' if there is
#: none), and up to so many lists whose leases are over, the last one first.
OVERDUE = script("""
local first = redis.call('zrange', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then
    return {''}
end
local now = redis.call('time')
now = now[1] + now[2] / 1e6
if tonumber(first[2]) > now then
    return {tostring(first[2] - now)}
end
local lists = redis.call('zrevrangebyscore', KEYS[1], now, '-inf', 'LIMIT', 0, ARGV[1])
return {'0', unpack(lists)}
""")

#: KEYS timeouts due, lists; ARGV for each list when it was taken ('' for whenever).
DROP = script("""
redis.call('zcard', KEYS[2])
for k = 3, #KEYS do
    if redis.call('hget', KEYS[1], KEYS[k]) == ARGV[k - 2] or ARGV[k - 2] == '' then
        redis.call('unlink', KEYS[k])
        redis.call('hdel', KEYS[1], KEYS[k])
        redis.call('zrem', KEYS[2], KEYS[k])
    end
end
return 0
""")

#: KEYS timeouts due, lists; ARGV seconds of lease ('' for ever).  Lets it begin now.  Answers
#: which of the lists are not there any more (1 is the first).
RENEW = script("""
local time = redis.call('time')
local now = time[1] + time[2] / 1e6
redis.call('hlen', KEYS[1])
redis.call('zcard', KEYS[2])
local gone = {}
for k = 3, #KEYS do
    if redis.call('exists', KEYS[k]) == 0 then
        gone[#gone + 1] = k - 2
    else
        redis.call('hdel', KEYS[1], KEYS[k])
        redis.call('hset', KEYS[1], KEYS[k], now)
        if ARGV[1] ~= '' then
            redis.call('zadd', KEYS[2], now + ARGV[1], KEYS[k])
        end
    end
end
return gone
""")

#: KEYS pending front [unique]; ARGV which and how many (as of LREM), values.
DELETE = script("""
local pending, front, unique = KEYS[1], KEYS[2], KEYS[3]
redis.call('llen', pending)
redis.call('llen', front)
if unique then
    redis.call('scard', unique)
end
local count, deleted = tonumber(ARGV[1]), 0
local first, second = pending, front
if count < 0 then
    first, second = front, pending
end
for i = 2, #ARGV do
    local gone = redis.call('lrem', first, count, ARGV[i])
    if count == 0 or gone < math.abs(count) then
        local rest = count < 0 and count + gone or count > 0 and count - gone or 0
        gone = gone + redis.call('lrem', second, rest, ARGV[i])
    end
    if unique then
        redis.call('srem', unique, ARGV[i])
    end
    deleted = deleted + gone
end
return deleted
""")
