"""aiodiskqueue's engines: the base class of those that users wrote, and files that are pickles."""

from __future__ import annotations

import io
import logging
import pickle
import pickletools
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ....engines.base import StorageEngine
from ....exceptions import FormatError, SerializationError
from ...coroutines import from_coroutines
from ...pickledlist import PickledListEngine


class FifoStorageEngine(ABC):
    """Base class of engines: coroutines that keep items, the oldest first.

    Args:
        data_path: the data file.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path

    @abstractmethod
    async def initialize(self) -> Any:
        """Prepare the data file."""

    @abstractmethod
    async def fetch_all(self) -> list[Any]:
        """Return every item, the oldest first."""

    @abstractmethod
    async def add_item(self, item: Any) -> Any:
        """Store an item behind the newest."""

    @abstractmethod
    async def remove_item(self) -> Any:
        """Remove the oldest item."""


def engine_of(engine_class: object) -> type[StorageEngine]:
    """Return the storage engine for aiodiskqueue's argument ``cls_storage_engine``.

    Raises:
        TypeError: it is no class of an engine.
    """
    if isinstance(engine_class, type):
        if issubclass(engine_class, StorageEngine):
            return engine_class
        if issubclass(engine_class, FifoStorageEngine):
            return from_coroutines(engine_class)
    raise TypeError(
        "cls_storage_engine must be a subclass of FifoStorageEngine or StorageEngine, "
        f"not {engine_class!r}"
    )


# -- files that are pickles ---------------------------------------------------------------


class PickledList(PickledListEngine):
    """Reads a pickled list of items, too; the first change writes ``PickledListEngine``'s file.

    Such a list is one pickle, so reading it makes the items, and runs their code.
    """

    def _parse(self, data: bytes) -> list[bytes]:
        if b"persistqueue" in data[:40]:
            return super()._parse(data)
        try:
            stream = io.BytesIO(data)
            value = pickle.load(stream)
        except (ImportError, AttributeError) as error:
            raise SerializationError(
                f"{self.path}: an item cannot be loaded here ({error}); nothing was changed"
            ) from error
        except Exception as error:
            raise self._damaged(f"it is no pickle: {type(error).__name__}: {error}") from error
        if not isinstance(value, list) or stream.read(1):  # more than one: a PickleSequence
            raise FormatError(f"{self.path} is not a pickled list of items; nothing was changed")
        return [pickle.dumps(item, 4) for item in value]


class PickleSequence(PickledListEngine):
    """Reads pickles one behind another; the first change writes ``PickledListEngine``'s file."""

    def _parse(self, data: bytes) -> list[bytes]:
        start, records = 0, list[bytes]()
        stream = io.BytesIO(data)
        while start < len(data):
            try:
                for _ in pickletools.genops(stream):  # runs no code of it
                    pass
            except Exception:  # noqa: BLE001 - after any error: no pickle is here
                self._keep(start, len(records))
                break
            records.append(data[start : stream.tell()])
            start = stream.tell()
        if len(records) == 1 and start == len(data) and b"persistqueue" in data[:40]:
            return super()._parse(data)
        return records

    def _keep(self, start: int, count: int) -> None:
        kept = backup_of(Path(self.path))
        shutil.copyfile(self.path, kept)
        logging.getLogger("aiodiskqueue").warning(
            "%s is damaged from byte %d on: the %d items before it are used; a copy is %s",
            self.path, start, count, kept,
        )  # fmt: skip


def backup_of(path: Path) -> Path:
    """Return a free name for a damaged data file."""
    backup, number = path.with_suffix(".bak"), 1
    while backup.exists():
        number += 1
        backup = path.with_suffix(f".{number}.bak")
    return backup
