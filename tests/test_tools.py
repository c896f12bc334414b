"""tools/house.py: it counts what is there, and its table has every row for this checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A package that is small enough to count everything in it by hand.
TINY = {
    "__init__.py": """
        from .async_queue import AsyncQueue
        from .queue import Queue
        from .redisqueue import RedisQueue

        __all__ = ["AsyncQueue", "Queue", "RedisQueue"]
    """,
    "_core/__init__.py": "",
    "_core/base.py": '''
        """Whoever reads this is nobody."""

        from typing import TYPE_CHECKING, Any

        if TYPE_CHECKING:
            from .. import _files


        class Base:
            def __init__(self, path: str) -> None:
                pass

            def abstract(self, into: list[Any]) -> Any:
                raise NotImplementedError
    ''',
    "_files/__init__.py": "from .._core.base import Base\n",
    "_redis/__init__.py": "import persistqueue._files as files\n",
    "queue.py": '''
        """A queue."""

        from ._files import Base


        class Middle(Base):
            def put(self, item):
                return self.get()

            def get(self):
                return None


        class Queue(Middle):
            task_done = close = Middle.get
    ''',
    "async_queue.py": '''
        """A queue."""

        from ._files import Base


        class AsyncMiddle(Base):
            async def put(self, item):
                return await self.get()

            async def get(self):
                return None


        class AsyncQueue(AsyncMiddle):
            ack = AsyncMiddle.put
            close = AsyncMiddle.get
    ''',
    "redisqueue.py": "# Written by tools/unasync.py.\nfrom ._redis import files as RedisQueue\n",
}
COUNTS = {
    "modules / lines / lines kept by hand": "8 / 54 / 52",
    "modules under 60 lines": "8",
    "share of headers": "35%",
    "longest module": "async_queue 16",
    "async lines equal to sync ones, by hand": "8 of 10",
    "uses of Any": "2",
    "NotImplementedError stubs": "1",
    "functions that fill `into`": "1",
    "pronouns per 1,000 words": "222.2",
    "imports against the arrows": "2",
    "modules loaded for RedisQueue, of other backends": "8, 1",
    "own classes of the deepest public class": "3 Queue",
    "calls in files of put, get, ack: Queue": "2 in 1, 1 in 1, 1 in 1",
    "calls in files of put, get, ack: AsyncQueue": "2 in 1, 1 in 1, 2 in 1",
}
ARROWS = ["_core.base -> _files", "_redis -> _files"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkout of the small package."""
    for name, text in TINY.items():
        path = tmp_path / "persistqueue" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return tmp_path


def house(*checkouts: Path) -> list[list[str]]:
    """Return the cells of each line that the tool prints."""
    command = [sys.executable, str(ROOT / "tools" / "house.py"), *map(str, checkouts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "" == done.stderr
    return [re.split(r" {2,}", line) for line in done.stdout.splitlines()]


def test_house_counts_what_is_there(tiny: Path) -> None:
    """Each row is what is counted by hand; the imports against the arrows follow."""
    titles, *rows = house(tiny)
    assert ["", str(tiny)] == titles
    assert {name: [cell] for name, cell in COUNTS.items()} == {
        name: cells for name, *cells in rows[: len(COUNTS)]
    }
    assert [[arrow] for arrow in ARROWS] == rows[len(COUNTS) :]


def test_house_shows_checkouts_side_by_side(tiny: Path) -> None:
    """This checkout has every row of the small one, and those that only its own classes fill."""
    titles, *rows = house(ROOT, tiny)
    assert ["", str(ROOT), str(tiny)] == titles
    found = {name: cells for name, *cells in rows}
    assert COUNTS == {name: cells[-1] for name, cells in found.items() if cells[-1] != "-"}
    [modules, *_] = found["modules / lines / lines kept by hand"][0].split(" / ")
    assert len(list((ROOT / "persistqueue").rglob("*.py"))) == int(modules)
    traced = found["calls in files of put, get, ack: Queue"][0]
    assert re.fullmatch(r"\d+ in \d+(, \d+ in \d+){2}", traced)
    assert "calls in files of put, get, ack: SQLiteQueue" in found


def test_house_says_where_there_is_no_package(tmp_path: Path) -> None:
    """A folder that is no checkout ends it with a word on why."""
    command = [sys.executable, str(ROOT / "tools" / "house.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 1 == done.returncode
    assert f"{tmp_path}: no package persistqueue there" in done.stderr.splitlines()[-1]
