"""Arguments, encoding and attributes that ``Queue`` and ``AsyncQueue`` share.

Their methods are twins: they differ by ``await``, and their sessions by how they wait.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, Protocol

from .._core.arguments import (
    DURABILITIES,
    MAX_ITEM_BYTES,
    ON_CORRUPT,
    T,
    absolute,
    one_of,
    whole,
)
from .._core.cursor import MOST_RECORDS
from .._core.framing import framing_of
from .._core.hooks import notice_class
from .._core.store import Store
from ..exceptions import ItemTooLarge
from ..serializers import pickle
from .chunks import chunk_name
from .names import FileNames
from .store import ChunkFileStore

if TYPE_CHECKING:
    import io

    from .._core.cursor import State
    from .._core.disk import Disk, File
    from .._core.session import Session


class FileStore(Store, Protocol):
    """What a file queue shows of its store, be the items in chunk files or in an engine."""

    skipped: int

    @property
    def state(self) -> State:
        """The two ends of the queue."""

    @property
    def headf(self) -> File | None:
        """The chunk file that is written to, if there is one."""

    @property
    def tailf(self) -> File | None:
        """The chunk file that is read from, if there is one."""

    def next_place(self) -> tuple[io.RawIOBase | io.BytesIO, int] | None:
        """Return a file, and where in it the next item begins; None if there is none."""


class FileQueue(FileNames, Generic[T]):
    """One object on a queue's directory."""

    _session: Session
    _disk: Disk | None = None  # tests put a disk here that fails or loses power

    def __init__(
        self,
        path: str | os.PathLike[str],
        maxsize: int = 0,
        chunksize: int = 100,
        tempdir: str | os.PathLike[str] | None = None,
        serializer: Any = pickle,
        autosave: bool = False,
        *,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
        engine: Any = None,
    ) -> None:
        self._check_hooks()
        self.path = absolute(path)
        self.maxsize = whole("maxsize", maxsize)
        self.chunksize = chunksize
        self.tempdir = tempdir
        self.serializer = serializer
        self.autosave = bool(autosave)
        self.durability = durability
        self._longest = max_item_bytes
        self._init(self.maxsize)
        self._framing = framing_of(self._adapted(serializer))
        whole("chunksize", chunksize, 1, MOST_RECORDS)
        power = one_of("durability", durability, DURABILITIES) == "power"
        skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        whole("max_item_bytes", max_item_bytes, 1)
        self._store = self._engine_store(engine, power, skips) or ChunkFileStore(
            self.path,
            self._framing,
            longest=max_item_bytes,
            chunksize=chunksize,
            autosave=self.autosave,
            power=power,
            skip_corrupt=skips,
            tempdir=None if tempdir is None else _beside(tempdir, self.path),
            disk=self._disk,
        )
        self._session = self._open_session()

    def _open_session(self) -> Session:
        """Return what makes calls wait."""
        raise NotImplementedError

    def _engine_store(self, engine: Any, power: bool, skips: bool) -> FileStore | None:
        """Return the store of a storage engine; None: the items are in chunk files."""
        raise NotImplementedError

    def _adapted(self, serializer: Any) -> Any:
        """Return the serializer as the store is to see it."""
        return serializer

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored or taken and not finished, as of the last call."""
        return self._session.unfinished

    @property
    def info(self) -> dict[str, Any]:
        """The content of the file ``info``, as of the last call that stored something.

        With ``engine=`` there is no such file: the numbers are those it would hold.  What a
        program sets is ignored.
        """
        return self._store.state.mapping()

    @info.setter
    def info(self, value: dict[str, Any]) -> None:
        """Ignore it: each call sees what is stored."""

    @property
    def skipped(self) -> int:
        """Damaged records that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; keep a set beside the queue")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # -- names that persist-queue's users look at -----------------------------------

    @property
    def headf(self) -> File | None:
        """The chunk file that is written to."""
        return self._store.headf

    @property
    def tailf(self) -> File | None:
        """The chunk file that is read from."""
        return self._store.tailf

    def _qfile(self, number: int) -> str:
        return os.path.join(self.path, chunk_name(number))

    # -- for the methods ------------------------------------------------------------

    def _encode(self, item: T) -> bytes:
        return self._checked(self._framing.encode(item))

    def _checked(self, record: bytes) -> bytes:
        if len(record) > self._longest:
            raise ItemTooLarge(
                f"the item is {len(record)} bytes long once encoded, "
                f"max_item_bytes is {self._longest}; nothing was stored"
            )
        return record


notice_class(FileQueue, {})


def _beside(tempdir: str | os.PathLike[str], path: str) -> str:
    """Return a ``tempdir`` as an absolute path.

    Raises:
        ValueError: it is on another file system than ``path``, or will be.
        OSError: there is no ``tempdir``.
    """
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if os.stat(existing).st_dev != os.stat(tempdir).st_dev:
        raise ValueError(
            f"tempdir {os.fspath(tempdir)!r} is on another file system than {path!r}: "
            "a file there cannot replace one here in one step"
        )
    return absolute(tempdir)
