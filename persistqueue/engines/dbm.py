"""``DbmEngine``: records under numbers in a key-value file, as aiodiskqueue lays them out.

::

    head_id, tail_id    pickled numbers of the oldest and the newest record
    item-<n>            a record

The file is what ``dbm.sqlite3`` of Python 3.13 writes (a table ``Dict``), read and written
here with ``sqlite3`` on every Python.  A file of GNU dbm that is there already is used as it
is; one of ``dbm.dumb`` is copied into a new one, and its own are renamed.

Order is what makes a kill harmless where there are no transactions: records are stored
before ``tail_id`` says so, and ``head_id`` moves before records are deleted.
"""

from __future__ import annotations

import importlib
import os
import struct
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .._core.disk import Disk
from .._core.log import warn
from .._sql.sqlite.database import journal_of
from ..exceptions import FormatError, QueueCorrupt, QueueFailed
from . import inert
from .base import Recipe, StorageEngine, beside
from .dictfile import DictFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HEAD, _TAIL = b"head_id", b"tail_id"
_NUMBER = struct.Struct("<4sqc")  # a pickle of a number, always as long: dbm.dumb counts on it
_GNU = frozenset({0x13579ACE, 0x13579ACD, 0x13579ACF, 0x13579AD0, 0x13579AD1})


class Mapping(Protocol):
    """The methods that the engine asks of a key-value file."""

    def get(self, key: bytes) -> bytes | None: ...

    def change(self, changes: Sequence[tuple[bytes, bytes]], delete: Iterable[bytes]) -> None:
        """Store values, in order, then delete keys: at once where the file can do that."""

    def sync(self) -> None: ...

    def close(self) -> None: ...


class DbmEngine(StorageEngine):
    """Keeps records in a key-value file that is the same on every Python.

    Args:
        backend: ``"sqlite3"`` (default), ``"gnu"`` or ``"dumb"``, for a new file; None
            lets a file that is there decide.  Pass it with ``DbmEngine.using("gnu")``.

    Raises:
        ImportError: this Python has no such module; names what to install.
    """

    def __init__(self, path: str | os.PathLike[str], backend: str | None = None) -> None:
        super().__init__(path)
        if backend not in (None, *_BACKENDS):
            raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, not {backend!r}")
        self._backend = backend
        self._file: Mapping | None = None
        self._head = 1
        self._tail = 0  # of the newest record; head - 1 when there is none

    @classmethod
    def using(cls, backend: str) -> Recipe:
        """Return an engine class, as it were, with another file format."""
        return Recipe(cls, backend=backend)

    def open(self) -> int:
        if self._file is None:
            found = kind_of(self.path)
            wanted = self._backend or ("sqlite3" if found in (None, "dumb") else found)
            if found not in (None, wanted, "dumb"):
                raise FormatError(
                    f"{self.path} is a file of dbm.{found}, not dbm.{wanted}; nothing was changed"
                )
            if found == "dumb":
                _mend_dumb(self.path)
                if wanted != "dumb":
                    _copy_from_dumb(self.path, wanted)
            self._file = _BACKENDS[wanted](self.path)
        try:
            self._find_ends()
        except BaseException:
            self.close()
            raise
        return self._tail - self._head + 1

    def append(self, records: Sequence[bytes]) -> None:
        tail = self._tail
        changes = [(_key(n), record) for n, record in enumerate(records, tail + 1)]
        if self._tail < self._head:  # aiodiskqueue has neither key when nothing is there
            changes.append((_HEAD, _number(self._head)))
        self._opened.change([*changes, (_TAIL, _number(tail + len(records)))], ())
        self._tail = tail + len(records)

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        get, first = self._opened.get, self._head + start
        return [get(_key(n)) for n in range(first, first + count)]

    def remove(self, count: int) -> None:
        head = self._head
        gone = (_key(n) for n in range(head, head + count))
        self._opened.change([(_HEAD, _number(head + count))], gone)
        self._head = head + count

    def sync(self) -> None:
        self._opened.sync()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @property
    def _opened(self) -> Mapping:
        if self._file is None:
            raise QueueFailed(f"{self.path} is not open; open the queue again")
        return self._file

    # -- opening --------------------------------------------------------------------

    def _find_ends(self) -> None:
        """Read the two ends, and mend what a kill in the middle of a change left."""
        get = self._opened.get
        head, tail = self._end(_HEAD), self._end(_TAIL)
        if tail is None:
            head, tail = 1, 0
        elif head is None:  # aiodiskqueue, killed between the two keys
            head = tail
        if not 1 <= head <= tail + 1:
            raise self._damaged(f"head_id is {head} and tail_id {tail}")
        while head <= tail and get(_key(head)) is None:  # killed before head_id moved
            head += 1
        self._head, self._tail = head, tail
        left = head - 1
        while left and get(_key(left)) is not None:  # killed before these were deleted
            left -= 1
        if left + 1 < head:
            self._opened.change([], map(_key, range(left + 1, head)))

    def _end(self, key: bytes) -> int | None:
        raw = self._opened.get(key)
        if raw is None:
            return None
        try:
            number = inert.loads(raw)
        except Exception as error:
            raise self._damaged(f"{key.decode()} is no number: {error}") from error
        if type(number) is not int:
            raise self._damaged(f"{key.decode()} is of type {type(number).__name__}")
        return number

    def _damaged(self, reason: str) -> QueueCorrupt:
        return QueueCorrupt(
            os.path.dirname(self.path),
            os.path.basename(self.path),
            reason=reason,
            advice="move the file away to begin anew",
        )


def kind_of(path: str) -> str | None:
    """Return which back end wrote what is at ``path``; None if nothing is there.

    Raises:
        FormatError: none of them did.
    """
    if not os.path.exists(path):
        here = os.path.exists(path + ".dat")
        return "dumb" if here and _either(path, ".dir", ".bak") else None
    if journal_of(path):
        return "sqlite3"
    with open(path, "rb") as file:  # SQLite has not got it open, then
        start = file.read(4)
    if len(start) == 4 and {*struct.unpack("=L", start)} <= _GNU:
        return "gnu"
    raise FormatError(f"{path} is no file of DbmEngine; nothing was changed")


def _either(path: str, *suffixes: str) -> bool:
    return any(os.path.exists(path + suffix) for suffix in suffixes)


class _StandardFile:
    """A file of one of the standard library's modules."""

    def __init__(self, name: str, path: str) -> None:
        try:
            module: Any = importlib.import_module(f"dbm.{name}")
        except ModuleNotFoundError:
            raise ImportError(
                f"{path} needs the module dbm.{name}, which this Python has not: "
                "on Debian install python3-gdbm, or use DbmEngine's own file format"
            ) from None
        self._path = path
        # dbm.dumb parses its index as Python.
        self._error: Any = (module.error, SyntaxError, TypeError, ValueError)
        self._db = self._ask(module.open, path, "c", 0o600)

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._ask(self._db.get, key)
        return value

    def change(self, changes: Sequence[tuple[bytes, bytes]], delete: Iterable[bytes]) -> None:
        for key, value in changes:
            self._ask(self._db.__setitem__, key, value)
        self._delete(delete)

    def _delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            with suppress(KeyError):
                self._ask(self._db.__delitem__, key)

    def sync(self) -> None:
        self._ask(self._db.sync)

    def close(self) -> None:
        self._ask(self._db.close)

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._error as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise QueueCorrupt(
                os.path.dirname(self._path), os.path.basename(self._path), reason=str(error)
            ) from error


class _DumbFile(_StandardFile):
    """A file of ``dbm.dumb``, which cannot delete a key without writing its index anew.

    So nothing is deleted while anything is stored: an empty queue's files are.
    """

    def __init__(self, path: str) -> None:
        super().__init__("dumb", path)

    def sync(self) -> None:
        """Sync both files: the index is complete, and writing it anew is what can go wrong."""
        disk = Disk()
        for suffix in (".dat", ".dir"):
            with closing(disk.open(self._path + suffix)) as file:
                disk.sync(file)

    def _delete(self, keys: Iterable[bytes]) -> None:  # noqa: ARG002 - see above
        ends = [self._ask(self._db.get, key) for key in (_HEAD, _TAIL)]
        if None in ends or inert.loads(ends[0]) <= inert.loads(ends[1]):
            return
        self._ask(self._db.close)
        for suffix in (".dir", ".bak", ".dat"):  # without an index there is nothing, at once
            with suppress(FileNotFoundError):
                os.unlink(self._path + suffix)
        super().__init__("dumb", self._path)
        for key, value in zip((_HEAD, _TAIL), ends, strict=True):
            self._ask(self._db.__setitem__, key, value)


def _mend_dumb(path: str) -> None:
    """Put the old index back where a kill came while the new one was being written."""
    if os.path.exists(path + ".bak") and not os.path.exists(path + ".dir"):
        os.replace(path + ".bak", path + ".dir")


def _copy_from_dumb(path: str, wanted: str) -> None:
    """Take over what ``dbm.dumb`` holds, then rename its files out of the way.

    The copy takes the queue's name when it is whole: a file of that name is what counts.
    """
    new, disk = beside(path), Disk()
    for suffix in ("", "-wal", "-shm"):  # of a copy that was cut off
        disk.unlink(new + suffix)
    old = DbmEngine(path, "dumb")
    try:
        count = old.open()
        records = [record for record in old.read(0, count) if record is not None]
        changes = [(_key(n), record) for n, record in enumerate(records, 1)]
        ends = [(_HEAD, _number(1)), (_TAIL, _number(len(records)))] if records else []
        with closing(_BACKENDS[wanted](new)) as copy:
            copy.change([*changes, *ends], ())
    finally:
        old.close()
    with closing(disk.open(new)) as file:
        disk.sync(file)
    disk.replace(new, path)
    disk.sync_directory(os.path.dirname(path))
    for suffix in (".dir", ".dat", ".bak"):
        with suppress(FileNotFoundError):
            os.replace(path + suffix, f"{path}{suffix}.copied")
    warn("%s: %d items of dbm.dumb were copied; its files end in .copied", path, len(records))
    if len(records) < count:
        warn("%s: %d items were missing in the files of dbm.dumb", path, count - len(records))


_BACKENDS: dict[str, Callable[[str], Mapping]] = {
    "sqlite3": DictFile,
    "gnu": partial(_StandardFile, "gnu"),
    "dumb": _DumbFile,
}


def _key(number: int) -> bytes:
    return b"item-%d" % number


def _number(number: int) -> bytes:
    return _NUMBER.pack(b"\x80\x04\x8a\x08", number, b".")
