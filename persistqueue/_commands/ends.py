"""The two ends of a copy: a queue for a URL, and what is asked of it beside its verbs."""

from __future__ import annotations

import importlib
import os
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from ..queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

_SERIALIZERS = ("pickle", "json", "msgpack", "cbor2")


class End:
    """One end of a copy.

    Args:
        url: as the user gave it.

    Attributes:
        directory: where the journal of a copy may be; None for a server.
    """

    directory: str | None = None

    def __init__(self, url: str, make: Callable[[], Any]) -> None:
        self.url = url
        self._make = make
        self.queue: Any = make()

    def newest(self, count: int) -> list[Any]:
        """Return the last so many items that wait, and leave them there."""
        last: deque[Any] = deque(maxlen=count)
        with self._make() as other:  # which takes, and finishes nothing
            left = other.qsize()
            while left > 0:
                some = other.get_many(min(left, 1000), timeout=0)
                last.extend(some)
                left -= len(some)
        return list(last)

    def holder(self) -> str:
        """Return the name under which it holds what it has taken, if that outlives it."""
        return ""

    def recover(self, holder: str) -> None:
        """Put back what a holder held that is dead."""

    def check(self, items: list[Any]) -> None:
        """Raise if some items would not come out as they went in."""


class PathEnd(End):
    """A queue in the file system."""

    def __init__(self, url: str, path: str, make: Callable[[], Any]) -> None:
        super().__init__(url, make)
        self.directory = os.path.dirname(os.path.abspath(path))


class RedisEnd(End):
    """A queue on a Redis server, which keeps what a dead consumer has taken."""

    def newest(self, count: int) -> list[Any]:
        items: list[Any] = self.queue.newest(count)
        return items

    def holder(self) -> str:
        holder: str = self.queue.consumer
        return holder

    def recover(self, holder: str) -> None:
        self.queue.recover(holder)

    def check(self, items: list[Any]) -> None:
        if self.queue.serializer is None and not all(isinstance(item, str) for item in items):
            raise ValueError(
                f"{self.url}: without a serializer only text comes out as it went in; add "
                "?serializer=json, which aio-py-rq can read, or ?serializer=pickle"
            )


def open_end(url: str, *, create: bool) -> End:
    """Open the queue that a URL names.

    Args:
        create: make one in the file system where there is none.

    Raises:
        ValueError: it is no such URL.
        FileNotFoundError: there is no such queue.
        Everything that the queue's constructor raises.
    """
    scheme, _, rest = url.partition(":")
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise ValueError(
            f"{url}: give file:DIRECTORY, sqlite:PATH, redis://HOST/NAME or mysql://USER@HOST/DB/NAME"
        )
    bare, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    serializer = _serializer(url, options.pop("serializer", None))
    end = opener(url, bare, serializer, options, create)
    if options:
        raise ValueError(f"{url}: unknown option {', '.join(options)}")
    return end


def _serializer(url: str, name: str | None) -> Any:
    if name is None:
        return None
    if name not in _SERIALIZERS:
        raise ValueError(f"{url}: serializer must be one of {', '.join(_SERIALIZERS)}")
    return importlib.import_module(f"persistqueue.serializers.{name}")


def _given(serializer: Any) -> dict[str, Any]:
    return {} if serializer is None else {"serializer": serializer}


def _file(url: str, path: str, serializer: Any, _: dict[str, str], create: bool) -> End:
    _must_exist(path, create)
    return PathEnd(url, path, lambda: Queue(path, **_given(serializer)))


def _sqlite(url: str, path: str, serializer: Any, options: dict[str, str], create: bool) -> End:
    from ..sqlqueue import SQLiteQueue

    _must_exist(path, create)
    name = options.pop("name", "default")
    return PathEnd(
        url, path, lambda: SQLiteQueue(path, name, auto_commit=False, **_given(serializer))
    )


def _must_exist(path: str, create: bool) -> None:
    if not path:
        raise ValueError("the URL names no path")
    if not create and not os.path.exists(path):
        raise FileNotFoundError(f"there is no queue at {path!r}")


def _redis(url: str, _: str, serializer: Any, options: dict[str, str], __: bool) -> End:
    from ..redisqueue import RedisQueue, RedisUniqueQueue

    server, name = _of_server(url)
    kind = RedisUniqueQueue if options.pop("unique", "") in ("1", "true", "yes") else RedisQueue
    return RedisEnd(url, lambda: kind(name, server, serializer=serializer))


def _mysql(url: str, _: str, serializer: Any, __: dict[str, str], ___: bool) -> End:
    from .. import mysqlqueue

    server, name = _of_server(url)
    parts = urlsplit(server)
    arguments: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "passwd": unquote(parts.password or ""),
        "db_name": unquote(parts.path.strip("/")),
        "name": name,
        "auto_commit": False,
    }
    return End(url, lambda: mysqlqueue.MySQLQueue(**arguments, **_given(serializer)))


def _of_server(url: str) -> tuple[str, str]:
    """Split a URL into the server's and the queue's name, its last part."""
    parts = urlsplit(url)
    path, _, name = parts.path.rpartition("/")
    if not name:
        raise ValueError(f"{url}: the last part of the URL is the queue's name, and there is none")
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), unquote(name)


_OPENERS: dict[str, Callable[[str, str, Any, dict[str, str], bool], End]] = {
    "file": _file,
    "mysql": _mysql,
    "redis": _redis,
    "rediss": _redis,
    "sqlite": _sqlite,
}
