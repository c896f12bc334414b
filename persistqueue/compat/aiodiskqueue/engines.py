"""aiodiskqueue's engines by their names, reading and continuing the files they wrote.

A class written for aiodiskqueue, with ``FifoStorageEngine`` as its base, works too.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import pickletools
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...engines.coroutines import from_coroutines
from ...engines.dbm import DbmEngine as _Dbm
from ...engines.pickledlist import PickledListEngine as _PickledList
from ...engines.sqlite import SQLiteEngine as _SQLite
from ...exceptions import FormatError, SerializationError
from ._log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engines.base import StorageEngine

__all__ = [
    "DbmEngine",
    "FifoStorageEngine",
    "PickleSequence",
    "PickledList",
    "PickledListEngine",
    "SqliteEngine",
]


class FifoStorageEngine(ABC):
    """Base class of engines: coroutines that keep items, the oldest first.

    Args:
        data_path: the data file.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path

    @abstractmethod
    async def initialize(self) -> Any:
        """See that items can be stored."""

    @abstractmethod
    async def fetch_all(self) -> list[Any]:
        """Return every item, the oldest first."""

    @abstractmethod
    async def add_item(self, item: Any) -> Any:
        """Store an item behind the last one."""

    @abstractmethod
    async def remove_item(self) -> Any:
        """Remove the oldest item."""


class ReadyMade(FifoStorageEngine):
    """One of this package's engines under aiodiskqueue's interface.

    ``Queue`` takes ``storage_engine`` and leaves the coroutines aside; they are there for
    subclasses that add something to them, and open and close the file at each call.
    """

    storage_engine: ClassVar[type[StorageEngine]]

    async def initialize(self) -> None:
        await self._with_engine(lambda _engine, _count: None)

    async def fetch_all(self) -> list[Any]:
        items: list[Any] = await self._with_engine(_items)
        return items

    async def add_item(self, item: Any) -> None:
        record = pickle.dumps(item, 4)
        await self._with_engine(lambda engine, _: engine.append([record]))

    async def remove_item(self) -> None:
        await self._with_engine(_remove)

    async def _with_engine(self, act: Callable[[StorageEngine, int], Any]) -> Any:
        def work() -> Any:
            engine = type(self).storage_engine(os.path.abspath(self._data_path))
            try:
                return act(engine, engine.open())
            finally:
                engine.close()

        return await asyncio.to_thread(work)


class DbmEngine(ReadyMade):
    """Items in a file of dbm: what is there decides which; a new one is an SQLite file."""

    storage_engine = _Dbm


class _ItemsInAList(_PickledList):
    """Reads a pickled list of items, too; writes it as its base does, at the first change.

    Such a list is one pickle, so reading it makes the items, whatever they do.
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


class PickledList(ReadyMade):
    """All items in one pickle, replaced at every change."""

    storage_engine = _ItemsInAList


PickledListEngine = PickledList  # what aiodiskqueue's README calls it


class _PickleSequence(_PickledList):
    """Reads pickles one behind another; writes them as ``PickledListEngine`` does."""

    def _parse(self, data: bytes) -> list[bytes]:
        start, records = 0, list[bytes]()
        stream = io.BytesIO(data)
        while start < len(data):
            try:
                for _ in pickletools.genops(stream):  # runs nothing of it
                    pass
            except Exception:  # noqa: BLE001 - whatever it says, no pickle is here
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
        logger.warning(
            "%s is damaged from byte %d on: the %d items before it are used; a copy is %s",
            self.path, start, count, kept,
        )  # fmt: skip


class PickleSequence(ReadyMade):
    """Items that aiodiskqueue wrote as single pickles; continued as ``PickledList`` does."""

    storage_engine = _PickleSequence


class SqliteEngine(ReadyMade):
    """Items in a table of an SQLite database."""

    storage_engine = _SQLite


_VERBS = ("initialize", "fetch_all", "add_item", "remove_item")


def engine_of(engine_class: Any) -> Callable[[str], StorageEngine]:
    """Return what a queue of this package takes for one of aiodiskqueue's engine classes.

    Raises:
        TypeError: it is no subclass of ``FifoStorageEngine``.
    """
    if not (isinstance(engine_class, type) and issubclass(engine_class, FifoStorageEngine)):
        raise TypeError(
            f"cls_storage_engine must be a subclass of FifoStorageEngine, not {engine_class!r}"
        )
    if issubclass(engine_class, ReadyMade) and all(
        getattr(engine_class, verb) is getattr(ReadyMade, verb) for verb in _VERBS
    ):
        return engine_class.storage_engine
    return from_coroutines(engine_class)


def backup_of(path: Path) -> Path:
    """Return a name that is free, for a data file that is damaged."""
    backup, number = path.with_suffix(".bak"), 1
    while backup.exists():
        number += 1
        backup = path.with_suffix(f".{number}.bak")
    return backup


def _items(engine: StorageEngine, count: int) -> list[Any]:
    records = engine.read(0, count) if count else []
    return [pickle.loads(record) for record in records if record is not None]


def _remove(engine: StorageEngine, count: int) -> None:
    if not count:
        raise ValueError("there is no item to remove")
    engine.remove(1)
