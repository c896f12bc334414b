"""The base class of aiodiskqueue's engines, and what a queue of this package makes of one."""

from __future__ import annotations

import asyncio
import os
import pickle
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ....engines.coroutines import from_coroutines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ....engines.base import StorageEngine


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


def _items(engine: StorageEngine, count: int) -> list[Any]:
    records = engine.read(0, count) if count else []
    return [pickle.loads(record) for record in records if record is not None]


def _remove(engine: StorageEngine, count: int) -> None:
    if not count:
        raise ValueError("there is no item to remove")
    engine.remove(1)


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
