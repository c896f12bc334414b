"""``FifoStorageEngine``: the base class of engines that were written for aiodiskqueue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ....engines.base import StorageEngine
from ...coroutines import from_coroutines

if TYPE_CHECKING:
    from pathlib import Path


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
