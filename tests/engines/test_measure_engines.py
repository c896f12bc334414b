"""``benchmark/measure_engines.py``: what it writes, and that a lost item does not pass."""

from __future__ import annotations

import asyncio
import csv
import queue as standard
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import persistqueue
from persistqueue import engines

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
from benchmark import engine_loads, engine_queues, measure_engines  # noqa: E402 - not installed


def measured(tmp_path: Path, *more: str) -> tuple[str, list[dict[str, str]]]:
    """Run it, with little to do; return what it printed on stderr, and its rows."""
    command = [sys.executable, str(ROOT / "benchmark" / "measure_engines.py"), "--rounds", "1"]
    command += ["--callers", "3", "--out", str(tmp_path / "out"), *more]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )
    assert 0 == done.returncode, done.stderr
    assert "100%" in done.stderr
    with (tmp_path / "out" / "engines.csv").open(encoding="utf-8") as file:
        return done.stderr, list(csv.DictReader(file))


def test_it_writes_numbers_and_pictures(tmp_path: Path) -> None:
    """A row for each load, backlog and number of callers; a picture of each, if that is possible."""
    said, rows = measured(tmp_path, "--kind", "MemoryEngine", "--items", "200", "--backlog", "1000")
    one = [row for row in rows if row["kind"] == "Queue MemoryEngine"]
    assert ["load"] * 3 + ["callers"] * 2 + ["backlog"] * 2 == [row["picture"] for row in one]
    assert ["5/1", "1/1", "20/2"] == [row["load"] for row in one[:3]]
    assert ["200"] * 3 == [row["items"] for row in one[:3]]
    assert all(float(row["median"]) > 0 for row in rows)
    assert {"tasks", "threads"} == {row["callers"] for row in rows}
    pictures = {path.name for path in (tmp_path / "out").glob("*.[ps]*g")}
    names = {
        f"engines_{name}.{kind}"
        for name in ("load", "backlog", "callers")
        for kind in ("png", "svg")
    }
    assert pictures in (names, set())
    assert pictures or "matplotlib" in said


def test_every_engine_and_class_is_measured(tmp_path: Path) -> None:
    """Each name that this package exports and that holds a load, at each durability it has."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(engine_queues, "_SERVERS", ())
        kinds = engine_queues.ours(stack)
    servers = ("MySQL", "Redis")  # those classes are there if their servers are
    aliases = ("FIFOSQLite", "BrokerQueue")
    wanted = {
        name
        for name in persistqueue.__all__
        if isinstance(getattr(persistqueue, name), type)
        and {"get", "put"} <= {*dir(getattr(persistqueue, name))}
        and not any(word in name for word in (*servers, *aliases, "PDict"))
    }
    names = {kind.name.split()[0] for kind in kinds}
    assert wanted | {"AsyncBroker", "Broker"} == names
    own = {kind.name.split()[1] for kind in kinds if kind.group == "engines"}
    assert {name for name in dir(engines) if name.endswith("Engine")} - {"StorageEngine"} == own


@pytest.mark.slow
def test_every_kind_keeps_what_it_was_given(tmp_path: Path) -> None:
    """A small run over all of them: none loses an item, each row says what was run."""
    _, rows = measured(tmp_path, "--items", "100", "--backlog", "100", "--group", "classes")
    assert all(int(row["items"]) > 0 for row in rows)
    assert {"AsyncUniqueAckQ", "Broker queue"} <= {row["kind"] for row in rows}


def kind_of(opened: Any, tasks: bool) -> engine_queues.Kind:
    """Return a kind of queue for a load."""
    return engine_queues.Kind("classes", "Careless", "none", tasks, opened)


def test_what_is_slow_is_not_run_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that would take too long is left out, and those behind it."""

    def load(_kind: Any, _path: Path, _producers: int, _consumers: int, count: int) -> Any:
        return engine_loads.Result(1.0, count, count / 100)  # an item takes 10 ms

    monkeypatch.setattr(engine_loads, "load", load)
    run = measure_engines.Run(tmp_path, seconds=0.05, until=0)
    for _ in range(2):
        run.load(kind_of(None, tasks=False), (1, 1), [10, 50, 51])
    assert [10, 50, 10, 50] == [case.items for case in run.cases]
    rows = run.finished()
    assert [10, 50, 10, 50] == [row["items"] for row in rows]
    assert [1] * 4 == [row["rounds"] for row in rows]


@pytest.mark.parametrize("given", ["nothing twice", "the first twice", "one of its own"])
@pytest.mark.parametrize("tasks", [True, False])
def test_a_queue_that_loses_is_found_out(given: str, tasks: bool, tmp_path: Path) -> None:
    """What comes out must be what went in, each once."""

    def wrong(items: list[str]) -> str:
        return {"nothing twice": items[-1], "the first twice": items[0]}.get(given, "own")

    @asynccontextmanager
    async def careless(_: Path) -> AsyncIterator[Any]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        seen: list[str] = []

        async def get() -> str:
            seen.append(await queue.get())
            return wrong(seen)

        yield engine_queues.Measured(queue.put, get)

    @contextmanager
    def careless_too(_: Path) -> Iterator[Any]:
        queue: standard.Queue[str] = standard.Queue()
        seen: list[str] = []

        def get() -> str:
            seen.append(queue.get())
            return wrong(seen)

        yield engine_queues.Measured(queue.put, get)

    kind = kind_of(careless if tasks else careless_too, tasks)
    if given == "nothing twice":
        assert engine_loads.load(kind, tmp_path, 2, 1, 10).value > 0
    else:
        with pytest.raises(engine_loads.LostError):
            engine_loads.load(kind, tmp_path, 2, 1, 10)


def test_a_queue_that_raises_ends_the_run(tmp_path: Path) -> None:
    """Of threads, too: nobody waits for the others for ever."""

    @contextmanager
    def broken(_: Path) -> Iterator[Any]:
        yield engine_queues.Measured(lambda item: 1 // 0, threading.Event().wait)

    with pytest.raises(ZeroDivisionError):
        engine_loads.load(kind_of(broken, tasks=False), tmp_path, 2, 1, 10)
