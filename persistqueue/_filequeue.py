"""What ``Queue`` and ``AsyncQueue`` have in common: arguments, encoding, what can be read.

Their methods are twins: they differ by ``await``, and their shells by how they wait.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._compat_file import FileNames
from ._options import MAX_ITEM_BYTES, absolute, file_store, whole
from .exceptions import ItemTooLarge
from .serializers import pickle

if TYPE_CHECKING:
    from ._options import Engine
    from ._runtime.shell import Shell
    from ._storage.files import Disk, File

T = TypeVar("T")
NO_ITEM: Any = object()


class FileQueue(FileNames, Generic[T]):
    """One object on a queue's directory."""

    _shell: Shell
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
        engine: Engine | None = None,
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
        self._store, self._framing = file_store(
            self.path,
            self._adapted(serializer),
            chunksize=chunksize,
            tempdir=tempdir,
            autosave=autosave,
            durability=durability,
            on_corrupt=on_corrupt,
            max_item_bytes=max_item_bytes,
            disk=self._disk,
            engine=engine,
        )
        self._shell = self._open_shell()

    def _open_shell(self) -> Shell:
        """Return what makes calls wait."""
        raise NotImplementedError

    def _adapted(self, serializer: Any) -> Any:
        """Return the serializer as the store is to see it."""
        return serializer

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored or taken and not finished, as of the last call."""
        return self._shell.unfinished

    @property
    def info(self) -> dict[str, Any]:
        """What the file ``info`` holds, as of the last call that stored something.

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
        return os.path.join(self.path, f"q{number:05d}")

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

    def _check_room(self, count: int) -> None:
        if 0 < self.maxsize < count:
            raise ValueError(f"{count} items never fit in a queue of maxsize {self.maxsize}")
