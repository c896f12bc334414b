"""Queues and pools on a Redis server: the store, and what ``RedisQueue`` and its twins share."""

try:
    import redis.asyncio
    import redis.sentinel  # noqa: F401
except ModuleNotFoundError:
    raise ImportError(
        'the Redis classes need the package redis: pip install "persist-queue[redis]"'
    ) from None
