"""A database whose last page is cut short: SQLite would read zeros there, and miss rows."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistqueue import (
    AsyncSQLiteQueue,
    Broker,
    PDict,
    PriorityQueue,
    Queue,
    QueueCorrupt,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueQ,
    engines,
)


def _broker(path: str) -> Any:
    with Broker(path) as broker:
        return broker.list_queues()


OPENERS: dict[str, Callable[[str], Any]] = {
    "SQLiteQueue": SQLiteQueue,
    "SQLiteAckQueue": SQLiteAckQueue,
    "UniqueQ": UniqueQ,
    "PriorityQueue": PriorityQueue,
    "PDict": lambda path: PDict(path, "d"),
    "AsyncSQLiteQueue": lambda path: asyncio.run(_opened(path)),
    "Broker": _broker,
    "SQLiteEngine": lambda path: Queue(path, engine=engines.SQLiteEngine),
}


async def _opened(path: str) -> None:
    async with AsyncSQLiteQueue(path):
        pass


@pytest.mark.parametrize("missing", [1, 100, 4000])
@pytest.mark.parametrize("name", OPENERS)
def test_a_database_that_was_cut_short_is_damaged(name: str, missing: int, tmp_path: Path) -> None:
    """Whoever opens it is told, and it stays as it is."""
    path = tmp_path / "data.db"
    with SQLiteQueue(str(tmp_path)) as q:
        q.put_many(range(5))
    path.write_bytes(path.read_bytes()[:-missing])
    before = path.read_bytes()
    with pytest.raises(QueueCorrupt, match="cut short"):
        OPENERS[name](str(path))
    assert before == path.read_bytes()


def test_a_checkpoint_that_was_cut_off_is_no_damage(tmp_path: Path) -> None:
    """The log has what the file lacks: a crash may leave half a page at the end of the file."""
    with SQLiteQueue(str(tmp_path / "q")) as q:
        q.put_many(["x" * 3000] * 40)
        (tmp_path / "copy").mkdir()
        for name in ("data.db", "data.db-wal"):
            shutil.copy(tmp_path / "q" / name, tmp_path / "copy" / name)
    with (tmp_path / "copy" / "data.db").open("ab") as file:
        file.write(b"\xff" * 100)
    with SQLiteQueue(str(tmp_path / "copy")) as q:
        assert ["x" * 3000] * 40 == [q.get() for _ in range(40)]
