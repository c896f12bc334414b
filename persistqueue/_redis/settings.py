"""What the Redis classes are given: a server, a name, a serializer; and whether these fit.

A connection is made with the settings of the user's client or pool.  It is not borrowed from
there: a queue would hold it for ever.  It is one without asyncio, also if the pool is asyncio's.
"""

from __future__ import annotations

import json as _json
import re
from typing import TYPE_CHECKING, Any

import redis.asyncio
import redis.sentinel

from .._core.arguments import whole
from .._core.log import warn
from ..exceptions import FormatError, NotEnoughReplicas
from ..serializers import json
from .values import TextCodec, ValueCodec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .connection import Link
    from .resp import Command
    from .scripts import Keys

LOCAL = "redis://localhost:6379/0"
_OLDEST = (6, 2)  # the server's release
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
        ValueError: it is no URL of a Redis server, or a pool of another class of connections.
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
        """Return a connection that is not open yet.

        Args:
            patience: seconds that it waits for the server at the most.
        """
        arguments = {**self._arguments, **self._extra, "protocol": 2}
        for name in ("socket_connect_timeout", "socket_timeout"):
            arguments[name] = min(arguments[name], patience)
        try:
            return self._class(**arguments)
        except UnboundLocalError as error:  # what redis-py makes of a Ctrl-C in there
            raise error.__context__ or error from None


class Replicas:
    """The replicas that have to confirm each write.

    ``WAIT`` counts for the connection that it comes over, and only outside of scripts and
    transactions.  It never fails, so its answer decides.

    Args:
        count: 0 for none.
        timeout: milliseconds to wait for them.

    Attributes:
        behind: sent behind a write.
    """

    def __init__(self, count: int, timeout: int) -> None:
        self.count = count
        self.behind: tuple[Command, ...] = (("WAIT", count, timeout),) if count else ()

    @classmethod
    def of(cls, settings: Settings, enabled: bool, count: int, timeout: int) -> Replicas:
        """Return the replicas that a user asks for.

        Raises:
            ValueError: no count is given, or ``WAIT`` would outlast the wait for an answer.
        """
        count = whole("synced_slaves_count", count, 0)
        timeout = whole("synced_slaves_timeout", timeout, 0)
        if enabled and not count:
            raise ValueError("synced_slaves_enabled needs synced_slaves_count, of 1 or more")
        if enabled and not 0 < timeout < settings.patience * 1000:
            raise ValueError(
                "synced_slaves_timeout must be 1 ms or more, and less than the "
                f"{settings.patience:g} s that an answer may take (socket_timeout of the URL or "
                "client)"
            )
        return cls(count if enabled else 0, timeout)

    def check(self, *writes: Sequence[Any]) -> None:
        """Check the answers to writes, each with that to ``behind`` at its end.

        Raises:
            NotEnoughReplicas: too few have confirmed one of them.
        """
        if self.count and writes:
            confirmed = min(answers[-1] for answers in writes)
            if confirmed < self.count:
                raise NotEnoughReplicas(confirmed, self.count)


def _class_of(pool: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of a pool's connections, and what it needs beside their settings."""
    kind = pool.connection_class
    if isinstance(pool, redis.sentinel.SentinelConnectionPool):
        return kind, {"connection_pool": pool}
    if issubclass(kind, redis.connection.AbstractConnection):
        return kind, {}
    if kind in _SYNC_TWINS:
        return _SYNC_TWINS[kind], {}
    raise ValueError(
        f"redis: a pool of {kind.__name__} cannot be used here; give one without asyncio, or a URL"
    )


def _kept(pool: Any) -> dict[str, Any]:
    return {key: value for key, value in pool.connection_kwargs.items() if _KEPT.fullmatch(key)}


def _label(kind: type, arguments: dict[str, Any], sentinels: Any) -> str:
    """Return the server's address without the password, for messages."""
    if "path" in arguments:
        return f"unix://{arguments['path']}"
    scheme, db = "redis", arguments.get("db") or 0
    if issubclass(kind, redis.SSLConnection):
        scheme = "rediss"
    if sentinels is not None:
        return f"{scheme}+sentinel://{sentinels.service_name}/{db}"
    host, port = arguments.get("host", "localhost"), arguments.get("port", 6379)
    return f"{scheme}://{host}:{port}/{db}"


def checked_name(name: Any) -> str:
    """Return a queue's name if its keys can begin with it."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("name is empty; it is what the queue's keys begin with")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"name {name!r} cannot be written as UTF-8") from error
    return name


def native_base(name: str) -> str:
    """Return the beginning of the keys that are not shared with aio-py-rq."""
    return f"persistqueue:{{{name}}}"


def is_native(serializer: Any) -> bool:
    """Return whether keys of our own are used: anything but text would stop aio-py-rq's workers."""
    return serializer not in (None, json, _json)


def codec_of(serializer: Any, *, unique: bool, longest: int) -> ValueCodec:
    """Return what encodes and decodes values."""
    if serializer is None:
        return TextCodec(plain=unique, longest=longest)
    return ValueCodec(serializer, ordered=unique, longest=longest)


def check(link: Link, label: str, known: Mapping[str, str]) -> str:
    """Check the server's release and the types of keys.

    Args:
        label: the server's name in messages.
        known: names of keys -> their types.

    Returns:
        the server's ``maxmemory-policy``; empty if it removes nothing when its memory is full,
        or does not say.

    Raises:
        FormatError: the server is too old, or a key holds something else.
    """
    asked = [("TYPE", name) for name in known]
    *kinds, server, memory = link.answers(
        *asked, ("INFO", "server"), ("INFO", "memory"), again=True
    )
    for (name, wanted), kind in zip(known.items(), link.checked(kinds), strict=True):
        if kind.decode() not in (wanted, "none"):
            raise FormatError(
                f"{label}: {name} is a {kind.decode()}, not the {wanted} of a queue or pool; "
                "choose another name"
            )
    _check_release(_fields(server))
    return _policy(label, _fields(memory))


def _fields(info: object) -> dict[str, str]:
    """Return the fields of an answer to INFO; none if this user may not ask."""
    if not isinstance(info, bytes):
        return {}
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_release(server: dict[str, str]) -> None:
    version = server.get("redis_version", "")
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if version and release < _OLDEST:
        raise FormatError(f"the server is Redis {version}; this needs 6.2 or newer, or Valkey")


def _policy(label: str, memory: dict[str, str]) -> str:
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory", "0") == "0" or policy == "noeviction":
        return ""
    if policy.startswith("allkeys"):
        warn(
            "%s: with its maxmemory-policy %s the server removes whole queues when its memory is "
            "full; set noeviction or a volatile policy, or use a server of its own for queues",
            label, policy,
        )  # fmt: skip
    return policy


def check_serializer(link: Link, label: str, keys: Keys, serializer: str) -> None:
    """Check which serializer writes a queue's values, and note it beside a new queue.

    Raises:
        FormatError: they are written with another one.
    """
    name = serializer.encode()
    _, found = link.ask(("SET", keys.meta, name, "NX"), ("GET", keys.meta), again=True)
    if found != name:
        raise FormatError(
            f"{label}: {keys.base} was written with the serializer "
            f"{found.decode(errors='replace')}, not with {serializer}; nothing was done"
        )
