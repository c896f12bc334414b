"""What a queue makes of an engine that fails: all or nothing, a clear error, nothing lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from crashdisk import SCRIPT, Driver, Fault, FaultyDisk, Model, drain
from families import FILE_FAMILIES
from waiting import Call, until

from persistqueue import (
    EngineError,
    PersistQueueError,
    Queue,
    QueueFailed,
    QueueLocked,
    engines,
)
from persistqueue._core import patience as reopening
from persistqueue.engines import (
    MemoryEngine,
    PickledListEngine,
    SQLiteEngine,
    StorageEngine,
)
from persistqueue.engines._numbered import ReadAhead


class Failing(MemoryEngine):
    """An engine that keeps its records when it is closed, and fails when it is told to."""

    persistent = True
    before: ClassVar[dict[str, BaseException]] = {}  # verb -> raised instead of doing it
    behind: ClassVar[dict[str, BaseException]] = {}  # verb -> raised when it is done
    half: ClassVar[bool] = False  # an append stores the first record only, then raises

    def append(self, records: Sequence[bytes]) -> None:
        if self.half:
            super().append(records[:1])
            raise OSError("half")
        self._do("append", super().append, records)

    def remove(self, count: int) -> None:
        self._do("remove", super().remove, count)

    def read(self, start: int, count: int) -> Sequence[bytes]:
        return list(self._do("read", super().read, start, count))

    def sync(self) -> None:
        self._do("sync", super().sync)

    def close(self) -> None:
        """Keep everything."""

    def _do(self, verb: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if verb in self.before:
            raise self.before[verb]
        result = function(*arguments)
        if verb in self.behind:
            raise self.behind[verb]
        return result


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call reopen a queue that has failed, not one a second."""
    monkeypatch.setattr(reopening, "PAUSE", 0.0)


@pytest.fixture(name="engine")
def engine_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setattr(Failing, "before", {})
    monkeypatch.setattr(Failing, "behind", {})
    return Failing(str(tmp_path / "q"))


def open_queue(engine: Any, tmp_path: Path, **options: Any) -> Queue[Any]:
    options.setdefault("durability", "process")
    return Queue(tmp_path / "q", engine=engine, **options)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyError("x"), EngineError), (OSError(28, "full"), OSError), (QueueFailed("x"), QueueFailed)],
)
def test_an_append_that_raises_stores_nothing(
    engine: Failing, tmp_path: Path, error: Exception, expected: type[Exception]
) -> None:
    """The put raises, an error of the engine's own as EngineError, and the queue goes on."""
    with open_queue(engine, tmp_path) as q:
        q.put("a")
        engine.before["append"] = error
        with pytest.raises(expected) as raised:
            q.put_many(["b", "c"])
        assert isinstance(raised.value, (PersistQueueError, OSError))
        assert 1 == q.qsize() == q.unfinished_tasks
        engine.before.clear()
        q.put("d")
        assert ["a", "d"] == q.get_many(9)


def test_an_append_that_is_interrupted_when_it_is_done_has_stored(
    engine: Failing, tmp_path: Path
) -> None:
    """Ctrl-C comes behind the engine's commit: what it holds is counted, none is lost or doubled."""
    with open_queue(engine, tmp_path) as q:
        q.put("a")
        engine.behind["append"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            q.put_many(["b", "c"])
        engine.behind.clear()
        assert 3 == q.qsize()
        q.put("d")
        assert ["a", "b", "c", "d"] == q.get_many(9)
        q.task_done(4)
        q.join()


def test_what_half_an_append_left_is_given_to_nobody(
    engine: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that broke its promise is opened anew; what it has of a put that raised is removed."""
    with open_queue(engine, tmp_path) as q:
        q.put("a")
        monkeypatch.setattr(Failing, "half", True)
        with pytest.raises(OSError, match="half"):
            q.put_many(["b", "c"])
        monkeypatch.setattr(Failing, "half", False)
        assert 1 == q.qsize()
        q.put("d")
        assert 2 == q.qsize() == q.unfinished_tasks
        assert ["a", "d"] == q.get_many(9)
        q.task_done(2)
        q.join()
    assert 0 == engine.open()


@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_removal_that_fails_is_known_for_what_it_is(
    engine: Failing, tmp_path: Path, moment: str
) -> None:
    """Done or not done, the counts are right, and nothing comes twice or never."""
    with open_queue(engine, tmp_path) as q:
        q.put_many("abc")
        assert "a" == q.get()
        getattr(engine, moment)["remove"] = OSError("no")
        if moment == "before":
            with pytest.raises(OSError, match="no"):
                q.task_done()
        else:
            q.task_done()  # it is done
        getattr(engine, moment).clear()
        if moment == "before":
            assert 3 == q.unfinished_tasks
            q.task_done()
        assert ["b", "c"] == q.get_many(9)
        assert 2 == q.unfinished_tasks
        q.task_done(2)
        q.join()
    assert 0 == engine.open()


@pytest.mark.parametrize(("verb", "moment"), [("append", "behind"), ("remove", "before")])
def test_what_a_get_returned_is_removed_though_a_call_beside_it_failed(
    engine: Failing, tmp_path: Path, verb: str, moment: str
) -> None:
    """A put and a get in one commit; the put has landed, so the get counts: its item is gone."""
    with open_queue(engine, tmp_path, autosave=True) as q:
        q.put("a")
        store: Any = q._store
        store.begin(exclusive=True)
        store.append([store._framing.encode("b")])
        assert ["a"] == [record.item for record in store.take(1)]
        getattr(engine, moment)[verb] = OSError("once")
        with pytest.raises(OSError, match="once"):
            store.commit()
        getattr(engine, moment).clear()
        assert store.rollback()
    assert 1 == engine.open()
    with open_queue(engine, tmp_path) as q:
        assert ["b"] == q.get_many(9)


def test_a_sync_that_fails_is_not_taken_for_done(engine: Failing, tmp_path: Path) -> None:
    """The put raises and is not stored; each call says so until a sync of the reopened file is done."""
    with open_queue(engine, tmp_path, durability="power") as q:
        q.put("a")
        assert "a" == q.get()
        engine.before["sync"] = OSError(5, "lost")
        with pytest.raises(OSError, match="lost"):
            q.put("b")
        for _ in range(2):
            with pytest.raises(QueueFailed, match=r"a sync: .*lost.*to reopen the queue failed"):
                q.put("c")
        engine.before.clear()
        q.put("d")
        q.task_done()  # of what was in hand all the time
        assert "d" == q.get(timeout=0)
        q.task_done()
        q.join()
    assert 0 == engine.open()


def test_items_in_hand_finish_no_others_of_another_file(tmp_path: Path) -> None:
    """A file that is exchanged is opened anew; items of the old one are finished by nobody."""
    for name in ("q", "other"):
        with Queue(tmp_path / name, engine=SQLiteEngine) as q:
            q.put_many([f"{name} {number}" for number in range(3)])
    with Queue(tmp_path / "q", engine=SQLiteEngine) as q:
        assert ["q 0", "q 1"] == q.get_many(2)
        (tmp_path / "q").rename(tmp_path / "away")
        (tmp_path / "other").rename(tmp_path / "q")
        with pytest.raises(QueueFailed, match="removed or replaced"):
            q.put("nowhere")
        assert 3 == q.qsize()
        q.task_done(2)
        assert ["other 0", "other 1", "other 2"] == q.get_many(9)
    with Queue(tmp_path / "q", engine=SQLiteEngine) as q:
        assert 3 == q.qsize()


class Faulty(StorageEngine):
    """Another engine, of whose calls one goes wrong."""

    def __init__(self, path: Any, inner: StorageEngine, at: int, how: str) -> None:
        super().__init__(path)
        self.persistent = inner.persistent  # type: ignore[misc]
        self._inner, self._at, self._how = inner, at, how
        self.calls, self.healed = 0, False

    def open(self) -> int:
        return int(self._do(self._inner.open))

    def append(self, records: Sequence[bytes]) -> None:
        self._do(self._inner.append, records)

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        found: Sequence[bytes | None] = self._do(self._inner.read, start, count)
        return found

    def remove(self, count: int) -> None:
        self._do(self._inner.remove, count)

    def sync(self) -> None:
        self._do(self._inner.sync)

    def close(self) -> None:
        self._do(self._inner.close)

    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        now = self.calls == self._at
        if self.healed or not (now or ("rest" in self._how and self.calls > self._at)):
            return call(*arguments)
        if now and "behind" in self._how:
            call(*arguments)
        if now and "half" in self._how and call.__name__ == "append":
            call(arguments[0][: len(arguments[0]) // 2 or 1])
        if now and "half" in self._how and call.__name__ == "remove":
            call(arguments[0] // 2)
        raise OSError(errno.EIO, "the engine ails")


class Kept(MemoryEngine):
    """Keeps everything when it is closed."""

    persistent = True

    def close(self) -> None:
        """Keep everything."""


#: What a put that raised has left is known to its object only.
ONE_OBJECT = [*(step for step in SCRIPT[:-1] if step.verb != "close"), SCRIPT[-1]]
ONE_OBJECT = [ONE_OBJECT[0], *(step for step in ONE_OBJECT[1:] if step.verb != "open")]


class OnFaultyDisk(PickledListEngine):
    """Writes its file anew at each change, on a disk of whose calls one goes wrong."""

    def __init__(self, path: Any, _: Any, at: int, how: str) -> None:
        super().__init__(path)
        self._disk = self._faulty = FaultyDisk(Fault(at, how, errno.ENOSPC))

    @property
    def calls(self) -> int:
        return self._faulty.calls

    @property
    def healed(self) -> bool:
        return self._faulty._healed

    @healed.setter
    def healed(self, _: bool) -> None:
        self._faulty.heal()


def run_script(
    place: Path,
    inner: Callable[[Path], StorageEngine],
    at: int,
    how: str,
    family: Callable[..., Any] = Queue,
    faulty: Any = Faulty,
    **options: Any,
) -> int:
    """Run a script in which one call goes wrong, and use the object on; return how many it made.

    Args:
        family: opens the queue.
        faulty: makes the engine that fails of another one.
    """
    place.mkdir(parents=True)
    engine = faulty(place / "q", inner(place / "q"), at, how)
    model = Model(options.pop("autosave"))
    driver = Driver(partial(family, engine=engine, **options), place / "q", model)
    driver.short = lambda: engine.calls >= at
    refused: set[str] = set()
    for step in ONE_OBJECT:
        try:
            driver.run(step)
        except (OSError, QueueFailed):
            engine.healed = True
            if step.verb == "open":
                driver.run(step)
            if step.verb in ("open", "close"):
                continue
            assert driver.queue is not None
            if step.verb.startswith("put"):
                refused.update(model.new_items(step.number if step.verb == "put_many" else 1))
            model.skip(step)
            assert len(model.waiting()) == driver.queue.qsize()
            if step.verb == "task_done":
                driver.run(step)
    engine.healed = True
    with Queue[Any](place / "q", engine=engine, durability="process") as q:
        stored = drain(q)
    assert sorted(model.stored) == sorted(item for item in stored if item not in refused)
    assert len(stored) == len(set(stored))
    return int(engine.calls)


def check_each(place: Path, inner: Any, hows: Sequence[str], **options: Any) -> int:
    """Run the script once for each call, in which that goes wrong; return how many times."""
    problems, runs = [], 0
    calls = run_script(place / "clean", inner, -1, hows[0], **options)
    for how in hows:
        for at in range(1, calls + 1):
            runs += 1
            try:
                run_script(place / f"{how} {at}", inner, at, how, **options)
            except Exception as error:  # noqa: BLE001 - goes into the report
                problems.append((how, at, repr(error)[:300]))
    assert not problems, "\n".join(map(str, problems))
    return runs


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize(
    "how", ["before", "before rest", "behind", "behind rest", "half", "half rest"]
)
def test_each_call_of_an_engine_fails_once(
    tmp_path: Path, how: str, durability: str, autosave: bool
) -> None:
    """When the trouble is over the same object goes on: nothing is lost, and nothing comes twice."""
    check_each(tmp_path, Kept, (how,), durability=durability, autosave=autosave)


VERBS = ("before", "before rest", "behind", "behind rest", "half", "half rest")
CALLS = ("instead", "rest", "behind", "behind alike", "half", "half rest", "instead alike")
ENGINES = ("SQLiteEngine", "DbmEngine", "PickledListEngine")


@pytest.mark.parametrize("family", FILE_FAMILIES)
def test_each_call_of_an_engine_fails_in_both_families(tmp_path: Path, family: str) -> None:
    """It does not depend on how callers wait."""
    options = {"family": FILE_FAMILIES[family], "durability": "power", "autosave": False}
    check_each(tmp_path, Kept, ("behind", "half rest"), **options)


@pytest.mark.parametrize("family", FILE_FAMILIES)
@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_each_call_to_the_disk_below_an_engine_fails(
    tmp_path: Path, autosave: bool, family: str
) -> None:
    """An engine that writes a file of its own raises, and nothing is lost, or comes twice."""
    options = {"family": FILE_FAMILIES[family], "durability": "power", "autosave": autosave}
    hows = ("behind alike",) if autosave else ("instead",)  # all of them under the marker
    check_each(tmp_path, MemoryEngine, hows, faulty=OnFaultyDisk, **options)


@pytest.mark.torture
@pytest.mark.parametrize("family", FILE_FAMILIES)
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_fails_in_every_way(
    memory: Path, name: str, autosave: bool, durability: str, family: str
) -> None:
    """Its calls, and for one that goes through ``Disk`` those to the disk: once, and for ever."""
    options: dict[str, Any] = {"durability": durability, "autosave": autosave}
    options["family"] = FILE_FAMILIES[family]
    check_each(memory / "verbs", getattr(engines, name), VERBS, **options)
    if name == "PickledListEngine":
        options["faulty"] = OnFaultyDisk
        check_each(memory / "calls", MemoryEngine, CALLS, **options)


def test_power_syncs_behind_every_append_and_process_never(engine: Failing, tmp_path: Path) -> None:
    """durability is the queue's affair: the engine is told to sync, or not."""
    calls: list[str] = []
    engine.sync = lambda: calls.append("sync")  # type: ignore[method-assign]
    for durability, expected in (("power", 2), ("process", 0)):
        with open_queue(engine, tmp_path, durability=durability) as q:
            q.put(1)
            q.put_many([2, 3])
            q.get_many(3)
            q.task_done(3)
            assert expected == len(calls)
            q.sync()
            assert expected + 1 == len(calls)
        calls.clear()


def test_a_read_that_fails_leaves_the_item(engine: Failing, tmp_path: Path) -> None:
    """The get raises; the next one returns the item."""
    open_queue(engine, tmp_path).put("a")
    with open_queue(engine, tmp_path) as q:
        engine.before["read"] = ZeroDivisionError("oops")
        with pytest.raises(EngineError, match=r"Failing\.read raised ZeroDivisionError: oops"):
            q.get()
        engine.before.clear()
        assert "a" == q.get()


@pytest.mark.parametrize("count", [-1, None, True, "2"])
def test_an_open_that_returns_no_count_is_an_error(
    engine: Failing, tmp_path: Path, count: object
) -> None:
    """The lock is free afterwards."""
    engine.open = lambda: count  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(EngineError, match="not a count"):
        open_queue(engine, tmp_path)
    del engine.open
    open_queue(engine, tmp_path).close()


def test_an_engine_that_does_not_open_is_closed(engine: Failing, tmp_path: Path) -> None:
    """What it had opened before it found out is let go of."""
    closed: list[str] = []
    engine.open = lambda: 1 // 0  # type: ignore[method-assign]
    engine.close = lambda: closed.append("closed")  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        open_queue(engine, tmp_path)
    assert ["closed"] == closed


def test_a_short_read_is_an_error(engine: Failing, tmp_path: Path) -> None:
    """An engine that returns fewer records than it was asked for is told off."""
    open_queue(engine, tmp_path).put("a")
    engine.read = lambda _start, _count: []  # type: ignore[method-assign]
    with open_queue(engine, tmp_path) as q, pytest.raises(EngineError, match="0 records, not 1"):
        q.get()


@pytest.mark.parametrize("engine", ["SQLiteEngine", 3, object()])
def test_what_is_no_engine_is_refused(engine: Any, tmp_path: Path) -> None:
    """A TypeError that says what is wanted."""
    with pytest.raises(TypeError, match="subclass of StorageEngine"):
        Queue(tmp_path / "q", engine=engine)


def test_a_function_that_makes_no_engine_is_refused(tmp_path: Path) -> None:
    """So is one that returns something else."""
    with pytest.raises(TypeError, match="list"):
        Queue(tmp_path / "q", engine=lambda path: [path])  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("name", ["SQLiteEngine", "DbmEngine", "PickledListEngine"])
def test_a_directory_or_a_strangers_file_is_left_alone(name: str, tmp_path: Path) -> None:
    """A queue's directory, a text: an error of ours or the system's, and nothing is touched."""
    from persistqueue import engines

    Queue(tmp_path / "chunks").close()
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "text").write_bytes(b"no queue at all, just words\n")
    for path in (tmp_path / "chunks", tmp_path / "text"):
        with pytest.raises((PersistQueueError, OSError)):
            Queue(path, engine=getattr(engines, name))
    assert b"no queue at all, just words\n" == (tmp_path / "text").read_bytes()
    assert {*before} <= {*tmp_path.rglob("*")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_and_harms_nothing(tmp_path: Path) -> None:
    """While the parent has the queue open a child is refused; the parent goes on."""
    with open_queue(SQLiteEngine, tmp_path) as q:
        q.put_many([1, 2])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                q.put(3)
            except QueueLocked:
                code = 0
            finally:
                os._exit(code)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        q.put(4)
        assert [1, 2, 4] == q.get_many(9)


def test_a_second_object_waits_a_moment_for_one_that_is_being_closed(tmp_path: Path) -> None:
    """A queue that is just going away is no reason to fail."""
    first = open_queue(SQLiteEngine, tmp_path)
    call = Call(open_queue, SQLiteEngine, tmp_path)
    first.close()
    second = call.outcome()
    until(second.empty)
    second.close()


def test_reading_ahead_returns_what_is_stored_however_it_is_asked_for() -> None:
    """Forwards, backwards, behind appends and drops: always the record of that number."""
    stored = [b"%d" % n * (n % 7 * 9000) for n in range(400)]
    asked: list[int] = []

    def read(number: int, count: int) -> Sequence[bytes | None]:
        asked.append(count)
        return stored[number : number + count]

    ahead = ReadAhead(read)
    for number in range(300):
        assert stored[number] == ahead.take(number, 300)
    assert max(asked) > 1
    assert max(asked) < 60  # a quarter of a megabyte is enough
    assert len(asked) < 300
    ahead.keep(300, stored[300:])
    for number in (350, 310, 399, 5, 6, 398):
        assert stored[number] == ahead.take(number, 400)
