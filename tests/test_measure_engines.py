"""``benchmark/measure_engines.py``: what it writes, and that a lost item does not pass."""

from __future__ import annotations

import asyncio
import csv
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
from benchmark import engine_queues, measure_engines  # noqa: E402 - not installed


def test_it_writes_numbers_and_pictures(tmp_path: Path) -> None:
    """A row for each load, backlog and number of callers; a picture of each, if that is possible."""
    command = [sys.executable, str(ROOT / "benchmark" / "measure_engines.py")]
    command += ["--kind", "MemoryEngine", "--rounds", "1", "--items", "200"]
    command += ["--backlog", "1000", "--callers", "10", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert 0 == done.returncode, done.stderr
    assert "100%" in done.stderr
    with (tmp_path / "out" / "engines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ["load"] * 3 + ["backlog"] * 2 + ["callers"] * 3 == [row["picture"] for row in rows]
    assert ["1/1", "5/1", "20/2"] == [row["load"] for row in rows[:3]]
    assert all(float(row["median"]) > 0 for row in rows)
    pictures = {path.name for path in (tmp_path / "out").glob("*.[ps]*g")}
    names = {
        f"engines_{name}.{kind}"
        for name in ("load", "backlog", "callers")
        for kind in ("png", "svg")
    }
    assert pictures in (names, set())
    assert pictures or "matplotlib" in done.stderr


@pytest.mark.parametrize("given", ["nothing twice", "the first twice", "one of its own"])
def test_a_queue_that_loses_is_found_out(given: str, tmp_path: Path) -> None:
    """What comes out must be what went in, each once."""

    @asynccontextmanager
    async def careless(_: Path) -> AsyncIterator[Any]:
        queue: asyncio.Queue[str] = asyncio.Queue()

        class Careless:
            put = staticmethod(queue.put)
            first = ""

            async def get(self) -> str:
                item = await queue.get()
                self.first = self.first or item
                return {"nothing twice": item, "the first twice": self.first}.get(given, "own")

        yield Careless()

    load = measure_engines._load(careless, tmp_path, 2, 1, 10)
    if given == "nothing twice":
        assert asyncio.run(load) > 0
    else:
        with pytest.raises(measure_engines.LostError):
            asyncio.run(load)


def test_upstream_is_imported_beside_this_package(tmp_path: Path) -> None:
    """The module found there is used; ``persistqueue`` is what it was."""
    (tmp_path / "persistqueue").mkdir()
    (tmp_path / "persistqueue" / "__init__.py").write_text("theirs = True")
    ours = importlib.import_module("persistqueue.queue")
    assert engine_queues.upstream(str(tmp_path)).theirs
    assert importlib.import_module("persistqueue.queue") is ours
    assert not hasattr(importlib.import_module("persistqueue"), "theirs")
