"""Names of queues on the command line, and the queues in a path."""

from __future__ import annotations

import importlib
import os
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from .._core.codec import SAMPLE, recognise
from .._core.disk import ReadOnlyDisk
from .._core.framing import framing_of
from .._core.signedframing import SignedFraming
from .._files.salvage import Place, is_file_queue, is_part, serializer_of
from .._sql.schema import columns
from .._sql.sqlite import look
from .._sql.statements import DictTable, Table
from ..compat.dbm import kind_of
from ..engines import DbmEngine, PickledListEngine, SQLiteEngine
from ..exceptions import PersistQueueError
from ..serializers._shared import in_memory
from ..serializers._signed import Signed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal, TypeAlias

    from .._core.disk import Disk
    from .._core.framing import Framing
    from ..engines import StorageEngine
    from ..serializers import Serializer

    #: A serializer; or that items are signed, without the key that is needed to load them.
    Known: TypeAlias = Serializer | Literal["signed"]

PASSWORD = "PERSISTQUEUE_PASSWORD"  # noqa: S105 - the name of a variable
TARGET_PASSWORD = "PERSISTQUEUE_TARGET_PASSWORD"  # noqa: S105 - the name of a variable
PATH = (
    "a queue's directory, or a database; sqlite:PATH?name=NAME is one queue of a database, and "
    "?serializer=NAME says what the items were written with, if that cannot be seen: pickle, json, "
    "msgpack, cbor2, or module:object for one of your own, which is imported and called"
)
LONGEST = 1 << 62  # bytes of an item: any item that was put can be read
LOCAL = ("", "file", "sqlite")  # schemes of the file system
_SHIPPED = ("pickle", "json", "msgpack", "cbor2")
_FORMS = (
    "give a path, file:DIRECTORY, sqlite:PATH?name=NAME, redis://HOST/DB?name=NAME or "
    "mysql://USER@HOST/DATABASE?name=NAME"
)
_SCHEME = re.compile("(file|sqlite|redis|rediss|unix|mysql):(.*)", re.DOTALL)


class NoQueue(PersistQueueError):
    """There is no such queue."""


class UnknownSerializer(PersistQueueError):
    """It cannot be seen which serializer wrote the items, or a key is needed to load them."""


def counting_from(least: int) -> Callable[[str], int]:
    """Return a function that reads a whole number, ``least`` or more, from an argument."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise ValueError(text)
        return value

    number.__name__ = f"number (from {least} on)"  # argparse tells the user
    return number


# -- names --------------------------------------------------------------------------------


class Name(NamedTuple):
    """A queue's name.

    Attributes:
        shown: the name without a password, for messages.
        scheme: empty for a path.
        address: a path, or the URL of a server.
        queue: the queue's own name, if the user has given one.
        serializer: that the user has named, if any.
        options: further ones of the URL.
    """

    shown: str
    scheme: str
    address: str
    queue: str | None
    serializer: Serializer | None
    options: dict[str, str]


def parsed(text: str, passwords: Sequence[str] = (PASSWORD,)) -> Name:
    """Take a path or a URL apart.

    Args:
        passwords: environment variables for a URL without a password; the first that is set
            counts, also one that is empty.

    Raises:
        ValueError: it is neither, or its serializer is none.
        ImportError: the serializer's module, or a library that it needs, is not there.
    """
    scheme, address = match.groups() if (match := _SCHEME.fullmatch(text)) else ("", text)
    if not scheme and "://" in text and not os.path.exists(text):
        raise ValueError(f"{text}: {_FORMS}")
    bare, _, query = address.rpartition("?") if "?" in address else (address, "", "")
    if os.path.exists(address):  # with a question mark in its name
        bare, query = address, ""
    options = dict(parse_qsl(query, keep_blank_values=True))
    queue, serializer, shown = options.pop("name", None), options.pop("serializer", None), text
    if not bare:
        raise ValueError(f"{text}: it names no path; {_FORMS}")
    if scheme not in LOCAL:
        bare = _with_password(f"{scheme}:{bare}", passwords)
        shown = re.sub(r"^([a-z]+://[^/@:]*):[^/@]*@", r"\1@", text)
        if scheme != "mysql" and options:
            bare, options = f"{bare}?{urlencode(options)}", {}
    if options and scheme != "mysql":
        raise ValueError(f"{shown}: unknown option {', '.join(options)}")
    known = None if serializer is None else _imported(serializer, shown)
    return Name(shown, scheme, bare, queue, known, options)


def _with_password(url: str, passwords: Sequence[str]) -> str:
    """Return a server's URL with the password of the environment, unless it has one."""
    parts = urlsplit(url)
    if parts.scheme.startswith("redis") and not re.fullmatch("/?[0-9]*", parts.path):
        raise ValueError(f"{parts.hostname}: the URL's path is a number; {_FORMS}")
    user, _, host = parts.netloc.rpartition("@")
    found = next((os.environ[one] for one in passwords if one in os.environ), "")
    if not found or ":" in user:
        return url
    return parts._replace(netloc=f"{user}:{quote(found, safe='')}@{host}").geturl()


# -- serializers --------------------------------------------------------------------------


def _imported(name: str, shown: str) -> Serializer:
    """Return the serializer of this name: a shipped one, or ``module:object``."""
    path = f"persistqueue.serializers.{name}" if name in _SHIPPED else name
    module, colon, attribute = path.partition(":")
    if (name not in _SHIPPED and not colon) or not all(module.split(".")):
        raise ValueError(
            f"{shown}: serializer must be one of {', '.join(_SHIPPED)}, or module:object"
        )
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part, None)
    if found is None:
        raise ValueError(f"{shown}: there is no {attribute} in the module {module}")
    try:
        in_memory(found, name)
    except AttributeError as error:
        raise ValueError(f"{shown}: {error}") from error
    serializer: Serializer = found
    return serializer


def shipped(name: str | None) -> Known | None:
    """Return the serializer that was recognised by this name; None if none was."""
    return "signed" if name == "signed" else None if name is None else _imported(name, name)


def short_name(serializer: object) -> str:
    """Return how a user names a serializer, or the one of this full name."""
    name = getattr(serializer, "__name__", type(serializer).__qualname__)
    name = serializer if isinstance(serializer, str) else name
    return str(name).removeprefix("persistqueue.serializers.")


def writer_of(rows: Sequence[Any]) -> Known | None:
    """Return the shipped serializer that most of these rows fit, or None."""
    return shipped(recognise(rows)[0])


def usable(shown: str, found: Known | None) -> Serializer:
    """Return a serializer that was recognised by the stored items.

    Raises:
        UnknownSerializer: none was, or it needs a key.
    """
    if found is None or isinstance(found, str):
        what = "it is signed" if found else "it cannot be seen which serializer wrote it"
        raise UnknownSerializer(f"{shown}: {what}: say ?serializer=module:object")
    return found


# -- contents of a path -------------------------------------------------------------------


class Places(NamedTuple):
    """The contents of a path.

    Attributes:
        directory: of a file queue, if it is one.
        databases: SQLite's, with or without queues.
        engine: the storage engine whose file it is.
    """

    path: str
    directory: str | None = None
    databases: Sequence[str] = ()
    engine: type[StorageEngine] | None = None


def places(path: str) -> Places:
    """Return the file queue, the databases or the engine's file in a path.

    Raises:
        NoQueue: there is no such path, or the file is none that could hold queues.
        OSError: the path cannot be read.
    """
    path = os.path.realpath(path)
    if not os.path.lexists(path):
        raise NoQueue(f"there is no queue at {path!r}")
    if os.path.isdir(path):
        databases = list(_databases_in(path))
        unused = not databases and ".lock" in os.listdir(path)  # nothing was ever put
        return Places(path, path if unused or is_file_queue(path) else None, databases)
    if look.is_database(path):
        return Places(path, None, [path])
    with open(path, "rb") as file:
        if b"persistqueue" in file.read(40):
            return Places(path, engine=PickledListEngine)
    if is_part(path):
        raise NoQueue(f"{path}: it is a part of a file queue: give the directory it is in")
    try:
        kind_of(path)
    except PersistQueueError as error:
        raise NoQueue(f"{path}: neither a queue nor a database of queues") from error
    return Places(path, engine=DbmEngine)


def places_to_see(name: Name) -> Places:
    """Return the file queue and the databases in a path, one of which has to be there."""
    if name.scheme not in LOCAL:
        raise ValueError(f"{name.shown}: this command looks at queues on disk only")
    found = places(name.address)
    if found.engine:
        raise PersistQueueError(
            f"{found.path}: it is a file of {found.engine.__name__}, which only opening it shows"
        )
    if found.directory is None and not found.databases:
        raise NoQueue(f"{found.path}: no queue is in this directory")
    if name.scheme == "file":
        return found._replace(databases=())
    return found._replace(directory=None) if name.scheme or name.queue else found


def tables(contents: look.Contents, name: Name) -> list[look.Found]:
    """Return the queues and dicts of a database that a name may mean."""
    return [one for one in contents.found if name.queue in (None, one.name, one.table.name)]


def _databases_in(directory: str) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if is_part(path) or look.is_beside(path) or not os.path.isfile(path):
            continue
        with suppress(FileNotFoundError):  # gone meanwhile
            if os.path.getsize(path) and look.is_database(path):
                yield path


def written_by(connection: sqlite3.Connection, table: Table | DictTable) -> Known | None:
    """Return the shipped serializer that wrote a table's rows, or None."""
    return writer_of([row.data for row in islice(look.rows(connection, table), SAMPLE)])


def place_of(path: str, serializer: Serializer | None, disk: Disk | None = None) -> Place:
    """Return a file queue's directory, with the serializer given or recognised.

    Args:
        disk: None for one that reads only.

    Raises:
        UnknownSerializer: no shipped serializer wrote it, and none was given.
    """
    known = serializer or shipped(serializer_of(path))
    framing: Framing
    if known == "signed":
        framing = SignedFraming(None)
    elif isinstance(known, Signed):
        framing = SignedFraming(known, strict=True)
    else:
        try:
            framing = framing_of(usable(path, known))
        except AttributeError as error:  # rows need less of it
            raise UnknownSerializer(str(error)) from error
    return Place(disk or ReadOnlyDisk(), path, framing, None)


# -- one queue of many --------------------------------------------------------------------


class Found(NamedTuple):
    """A queue that a name may mean.

    Attributes:
        cls: the name of the class that uses it.
        name: of the queue in its database; empty where there is one queue only.
        table: of the queue, or dict.
        path: of the directory or file.
        engine: the storage engine whose file it is.
    """

    cls: str
    name: str = ""
    table: Table | DictTable | None = None
    path: str = ""
    engine: type[StorageEngine] | None = None

    def fits(self, name: Name) -> bool:
        """Return whether a user who gives this name may mean it."""
        if (name.scheme == "file" and self.table) or (name.scheme == "sqlite" and not self.table):
            return False
        return name.queue in (None, self.name, self.table.name if self.table else "")

    def __str__(self) -> str:
        return f"{self.table.name if self.table else self.path} ({self.cls})"


def queue_table(found: Found) -> Table:
    """Return the table of a queue; a dict is none."""
    assert isinstance(found.table, Table)
    return found.table


def one_queue(name: Name, there: list[Found]) -> Found:
    """Return the queue that a name means, which has to be there.

    Raises:
        NoQueue: it is not; says which are there.
        ValueError: it is not clear which one is meant, or it is a dict.
    """
    found = queue_if_there(name, there)
    if found is None:
        here = ", ".join(map(str, there)) or "none"
        raise NoQueue(f"{name.shown}: there is no such queue; here are: {here}")
    return found


def queue_if_there(name: Name, there: list[Found]) -> Found | None:
    """Return the queue that a name means, if it is there."""
    fitting = [found for found in there if found.fits(name)]
    queues = [found for found in fitting if not isinstance(found.table, DictTable)]
    if len(queues) > 1:
        how = "file:PATH or sqlite:PATH?name=" if name.scheme in LOCAL else "?name="
        raise ValueError(
            f"{name.shown}: say which queue is meant, with {how}; here are: "
            f"{', '.join(map(str, queues))}"
        )
    if fitting and not queues and name.queue is not None:
        raise ValueError(f"{name.shown}: it is a dict, not a queue")
    return queues[0] if queues else None


def queues_in(path: str) -> list[Found]:
    """Return the queues and dicts in a path.

    Raises:
        NoQueue: there is no such path, or the file is none that could hold queues.
    """
    _, directory, databases, engine = places(path)
    found = [one for file in databases for one in _in_database(file)]
    if directory is not None:
        found.append(Found("Queue", path=directory))
    if engine is not None:
        found.append(Found(engine.__name__, path=os.path.realpath(path), engine=engine))
    return found


def _in_database(path: str) -> list[Found]:
    with look.opened(path) as connection:
        found = [Found(*one, path) for one in look.contents(connection, path).found]
        if engine := _engine_of(connection, path):
            found.append(Found(engine.__name__, path=path, engine=engine))
    return found


def _engine_of(connection: sqlite3.Connection, path: str) -> type[StorageEngine] | None:
    """Return the storage engine whose file a database is, if it is one's."""
    if columns(connection, "queue") == ["item"]:
        return SQLiteEngine
    if columns(connection, "Dict") != ["key", "value"]:
        return None
    keys = connection.execute("SELECT CAST(key AS TEXT) FROM Dict LIMIT 100").fetchall()
    if keys and not any(key in ("head_id", "tail_id") for (key,) in keys):
        raise ValueError(f"{path}: it is a dictionary of dbm, which has no order: it is not moved")
    return DbmEngine
