"""Who has an engine's records: one queue at a time, wherever the queue itself is said to be."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aioqueue_engine import ListFile

from persistqueue import Empty, PersistQueueError, Queue, QueueCorrupt, QueueLocked, engines
from persistqueue.engines import MemoryEngine, StorageEngine

ENGINES: dict[str, Callable[[Any], StorageEngine]] = {
    "sqlite": engines.SQLiteEngine,
    "dbm": engines.DbmEngine,
    "list": engines.PickledListEngine,
    "coroutines": engines.from_coroutines(ListFile),
}
each = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)


def queue_on(engine: Any, path: Path, **options: Any) -> Queue[Any]:
    """Open a queue on an engine."""
    options.setdefault("durability", "process")
    return Queue(path, engine=engine, **options)


@each
def test_two_queues_with_one_engine_file_do_not_both_have_it(
    make: Callable[[Any], StorageEngine], tmp_path: Path
) -> None:
    """Their paths differ, their data do not: the second is told where, and nothing is lost."""
    data = tmp_path / "data"
    with queue_on(make(data), tmp_path / "one") as q:
        q.put_many([1, 2])
        for second in (make(data), make):  # the latter as Queue(data, engine=...)
            path = tmp_path / "two" if isinstance(second, StorageEngine) else data
            with pytest.raises(QueueLocked) as raised:
                queue_on(second, path)
            assert f"{data} is open already" in str(raised.value)
        q.put(3)
    with queue_on(make(data), tmp_path / "two") as q:
        assert [1, 2, 3] == q.get_many(9)


@pytest.mark.parametrize("name", ["SQLiteEngine", "DbmEngine", "PickledListEngine"])
def test_two_processes_with_one_engine_file_do_not_both_have_it(name: str, tmp_path: Path) -> None:
    """Another process, another path, the same file: it is told, and harms nothing."""
    code = (
        "import sys\n"
        "from persistqueue import Queue, engines\n"
        "Queue(sys.argv[1], engine=getattr(engines, sys.argv[2])(sys.argv[3])).put('theirs')\n"
    )
    data = tmp_path / "data"
    with queue_on(getattr(engines, name)(data), tmp_path / "one") as q:
        q.put("ours")
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "two", name, data],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert 1 == done.returncode
        assert f"QueueLocked: {data} is open already" in done.stderr
        q.put("ours, too")
        assert ["ours", "ours, too"] == q.get_many(9)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("name", ["sqlite", "dbm"])
@pytest.mark.parametrize("linked", ["file", "directory"])
def test_a_link_leads_to_the_same_lock(name: str, linked: str, tmp_path: Path) -> None:
    """A file by two names, or through two directories, is one file."""
    (tmp_path / "real").mkdir()
    data = tmp_path / "real" / "data"
    make = ENGINES[name]
    queue_on(make, data).close()
    other = tmp_path / "link"
    if linked == "file":
        other.symlink_to(data)
    else:
        other.symlink_to(tmp_path / "real")
        other /= "data"
    with queue_on(make, data) as q:
        q.put(1)
        with pytest.raises(QueueLocked, match=str(other)):
            queue_on(make, other)
        assert 1 == q.get()


@pytest.mark.parametrize("make", [*ENGINES.values(), MemoryEngine], ids=[*ENGINES, "memory"])
def test_an_engine_object_serves_one_queue(
    make: Callable[[Any], StorageEngine], tmp_path: Path
) -> None:
    """The second queue is told; when the first is closed, or gone, another may have it."""
    engine = make(tmp_path / "data")
    with queue_on(engine, tmp_path / "one") as q:
        q.put(1)
        with pytest.raises(QueueLocked, match="serves one queue at a time"):
            queue_on(engine, tmp_path / "two")
        assert [1] == q.get_many(9)
        q.task_done()
    q = queue_on(engine, tmp_path / "two")
    q.put(2)
    assert [2] == q.get_many(9)
    del q
    gc.collect()
    queue_on(engine, tmp_path / "three").close()


@each
def test_the_lock_is_beside_the_records(
    make: Callable[[Any], StorageEngine], tmp_path: Path
) -> None:
    """Nothing stands at the queue's own path, which may lead nowhere."""
    with queue_on(make(tmp_path / "data"), tmp_path / "no" / "such" / "directory") as q:
        q.put(1)
        assert (tmp_path / "data.lock").exists()
    assert not (tmp_path / "no").exists()


@each
def test_a_relative_path_is_meant_as_of_now(
    make: Callable[[Any], StorageEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that a program goes to later has nothing to do with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    engine = make(Path("data"))
    assert str(tmp_path / "data") == engine.path
    monkeypatch.chdir("elsewhere")
    with queue_on(engine, tmp_path / "q", durability="power") as q:
        q.put(1)
    assert [] == list((tmp_path / "elsewhere").iterdir())
    with queue_on(make, tmp_path / "data") as q:
        assert 1 == q.get()


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_damage_is_where_the_records_are(on_corrupt: str, tmp_path: Path) -> None:
    """The error names that file, and what is set aside stands beside it."""
    (tmp_path / "there").mkdir()
    engine = engines.SQLiteEngine(tmp_path / "there" / "data")
    engine.read = lambda _start, count: [b"damaged"] * count  # type: ignore[method-assign]
    queue_on(engines.SQLiteEngine(engine.path), tmp_path / "q").put("x")
    with queue_on(engine, tmp_path / "q", on_corrupt=on_corrupt) as q:
        with pytest.raises(QueueCorrupt if on_corrupt == "raise" else Empty) as raised:
            q.get(block=False)
        if isinstance(raised.value, QueueCorrupt):
            assert str(tmp_path / "there") == raised.value.path
    set_aside = [file.parent for file in tmp_path.rglob("*.corrupt-*")]
    assert [tmp_path / "there"] * (on_corrupt == "skip") == set_aside


class Careless(MemoryEngine):
    """Does not call the base class, and keeps its records when it is closed."""

    persistent = True

    def __init__(self, path: str) -> None:
        kept = MemoryEngine(path)
        self._records = kept._records

    def close(self) -> None:
        """Keep everything."""


def test_a_subclass_that_does_not_call_the_base_class_has_the_queues_path(tmp_path: Path) -> None:
    """Its lock is where the queue is."""
    with queue_on(Careless, tmp_path / "q") as q:
        q.put(1)
        assert (tmp_path / "q.lock").exists()
        with pytest.raises(QueueLocked):
            queue_on(Careless, tmp_path / "q")


@each
def test_an_engine_that_is_closed_behind_the_queues_back(
    make: Callable[[Any], StorageEngine], tmp_path: Path
) -> None:
    """What was put is there; a call raises or works, and none that has returned is forgotten."""
    engine = make(tmp_path / "data")
    told = [1, 2]
    with queue_on(engine, tmp_path / "q") as q:
        q.put_many(told)
        engine.close()
        for item in (3, 4):
            try:
                q.put(item)
            except (PersistQueueError, OSError):
                continue
            told.append(item)
        assert 4 in told  # it was opened again
    with queue_on(make, tmp_path / "data") as q:
        assert told == q.get_many(9)


@pytest.mark.parametrize("name", ["list", "dbm"])
def test_a_queue_beside_another_keeps_its_file(name: str, tmp_path: Path) -> None:
    """ "jobs.new" is somebody's queue, not what a crash has left of "jobs"."""
    with queue_on(engines.SQLiteEngine, tmp_path / "jobs.new") as q:
        q.put("mine")
    with queue_on(ENGINES[name], tmp_path / "jobs") as q:
        q.put("another")
    with queue_on(engines.SQLiteEngine, tmp_path / "jobs.new") as q:
        assert "mine" == q.get(block=False)
