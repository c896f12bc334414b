"""How the command that moves items reads them from a queue in Redis, puts and removes them.

Pure: Lua.  The command reads a batch, has it stored elsewhere, and removes it.  What it notes
(``note``) is a hash of its own; a script that comes late, or twice, does nothing.
"""

from __future__ import annotations

from .scripts import script

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
