"""How a Redis server is reached: from a URL, or a client or pool of redis-py.

A connection is not borrowed from the user's pool, where a queue would hold it for ever; it
is made with the pool's settings.  It is one without asyncio, also when the pool is asyncio's.
"""

from __future__ import annotations

import re
from typing import Any, cast

try:
    import redis
    import redis.asyncio
    import redis.asyncio.sentinel
    import redis.sentinel
except ModuleNotFoundError:
    raise ImportError(
        'the Redis classes need the package redis: pip install "persist-queue[redis]"'
    ) from None

__all__ = ["Settings", "redis"]

_CONNECT_PATIENCE, _ANSWER_PATIENCE = 5.0, 10.0  # s, where the user's settings say nothing

# Settings of a pool that are about the connection, and nothing else.
_KEPT = re.compile(
    "host|port|db|path|username|password|credential_provider|client_name|ssl_.*"
    "|socket_(timeout|connect_timeout|keepalive|keepalive_options|type)"
)
_SYNC_TWINS: dict[type, Any] = {
    redis.asyncio.SSLConnection: redis.SSLConnection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
    redis.asyncio.Connection: redis.Connection,
}


class Settings:
    """How to reach a server.

    Args:
        source: a URL, or a client or pool of redis-py, of its asyncio half too.

    Raises:
        TypeError: it is something else.
        ValueError: it is no URL of a Redis server, or a pool that cannot be imitated.
    """

    def __init__(self, source: Any) -> None:
        pool = redis.ConnectionPool.from_url(source) if isinstance(source, str) else source
        pool = getattr(pool, "connection_pool", pool)
        if not hasattr(pool, "connection_kwargs"):
            raise TypeError(
                "redis: give a URL (redis://host:6379/0), a client or a connection pool, not "
                f"{type(source).__name__}; for a Cluster, the URL of the node"
            )
        self._class, self._extra = _class_of(pool)
        arguments = _kept(pool)
        if arguments.get("socket_timeout") is None:
            arguments["socket_timeout"] = _ANSWER_PATIENCE
        if arguments.get("socket_connect_timeout") is None:
            arguments["socket_connect_timeout"] = _CONNECT_PATIENCE
        self._arguments = arguments
        self.patience: float = arguments["socket_timeout"]  # s
        self.db = int(arguments.get("db") or 0)
        self.label = _label(self._class, arguments, self._extra.get("connection_pool"))
        # Equal for settings that lead to the same server as the same user.
        self.identity = repr((self._class, sorted(arguments.items()), self._extra))

    def connection(self, patience: float) -> Any:
        """Return a connection that is not open yet; it waits so many seconds at the most."""
        arguments = {**self._arguments, **self._extra, "protocol": 2}
        for name in ("socket_connect_timeout", "socket_timeout"):
            arguments[name] = min(arguments[name], patience)
        try:
            return self._class(**arguments)
        except UnboundLocalError as error:  # what redis-py makes of a Ctrl-C in there
            raise error.__context__ or error from None


def _class_of(pool: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of a pool's connections, and what it needs beside their settings."""
    if isinstance(pool, redis.asyncio.sentinel.SentinelConnectionPool):
        pool = _sync_sentinels(pool)
    kind = pool.connection_class
    if isinstance(pool, redis.sentinel.SentinelConnectionPool):
        return kind, {"connection_pool": pool}
    if issubclass(kind, redis.connection.AbstractConnection):
        return kind, {}
    for theirs, ours in _SYNC_TWINS.items():
        if kind is theirs:
            return ours, {}
    raise ValueError(
        f"redis: a pool of {kind.__name__} cannot be used here; give one without asyncio, or a URL"
    )


def _sync_sentinels(pool: Any) -> Any:
    """Return a pool that asks the same sentinels, without asyncio."""
    theirs, module = pool.sentinel_manager, cast("Any", redis.sentinel)
    manager = module.Sentinel([], min_other_sentinels=theirs.min_other_sentinels)
    for client in theirs.sentinels:
        known = client.connection_pool
        ours = redis.ConnectionPool(_SYNC_TWINS[known.connection_class], **_kept(known))
        manager.sentinels.append(redis.Redis(connection_pool=ours))
    return module.SentinelConnectionPool(
        pool.service_name,
        manager,
        is_master=pool.is_master,
        check_connection=pool.check_connection,
        ssl=issubclass(pool.connection_class, redis.asyncio.SSLConnection),
    )


def _kept(pool: Any) -> dict[str, Any]:
    return {key: value for key, value in pool.connection_kwargs.items() if _KEPT.fullmatch(key)}


def _label(kind: type, arguments: dict[str, Any], sentinels: Any) -> str:
    """Return the server's address as users may see it: without the password."""
    if "path" in arguments:
        return f"unix://{arguments['path']}"
    scheme, db = "redis", arguments.get("db") or 0
    if issubclass(kind, redis.SSLConnection):
        scheme = "rediss"
    if sentinels is not None:
        return f"{scheme}+sentinel://{sentinels.service_name}/{db}"
    host, port = arguments.get("host", "localhost"), arguments.get("port", 6379)
    return f"{scheme}://{host}:{port}/{db}"
