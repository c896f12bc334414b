"""Scripts on a pool in Redis, each done in one step.

Pure: Lua.  A pool is a sorted set, aio-py-rq's: an item -> when it is due, in seconds since
1970 by the server's clock.  That of what is handed out has a fraction, of 0.1.
"""

from __future__ import annotations

from .scripts import script

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
