"""An engine as aiodiskqueue's users write them: four coroutines, and items."""

from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path
from typing import Any


class ListFile:
    """Keeps all items in one pickle."""

    def __init__(self, data_path: Path) -> None:
        self._path = data_path
        self._items: list[Any] = []

    async def initialize(self) -> None:
        await self._save()

    async def fetch_all(self) -> list[Any]:
        await asyncio.sleep(0)
        try:
            self._items = pickle.loads(self._path.read_bytes())
        except FileNotFoundError:
            self._items = []
        return list(self._items)

    async def add_item(self, item: Any) -> None:
        self._items.append(item)
        await self._save()

    async def remove_item(self) -> None:
        self._items.pop(0)
        await self._save()

    async def _save(self) -> None:
        await asyncio.sleep(0)
        new = self._path.with_suffix(".tmp")
        new.write_bytes(pickle.dumps(self._items))
        os.replace(new, self._path)
