"""A worker that died or was stopped: others get its items soon, and never those of a live one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from liveness import Worker, each_holder
from sqlite_objects import open_any
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import until

from persistqueue import Broker, SQLiteAckQueue
from persistqueue._core.disk import try_lock
from persistqueue._sql.sqlite import owners

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and SIGSTOP")
Start = Callable[..., Worker]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts workers that are killed at the end."""
    with ExitStack() as workers:
        yield lambda *arguments: workers.enter_context(Worker(*arguments))


def filled(kind: str, path: Path, *items: str) -> None:
    q = open_any(kind, path)
    for item in items:
        q.put(item)
    q.close()


def owners_in(path: Path) -> list[Path]:
    """Return the files that say who is alive."""
    return sorted(path.glob("data.db-owner-*"))


# -- death --------------------------------------------------------------------------


@each_holder
def test_a_get_that_waits_gets_what_a_killed_worker_held(
    kind: str, path: Path, start: Start
) -> None:
    """At once, and its file goes."""
    filled(kind, path, "a")
    first, second = start(kind, path), start(kind, path)
    assert "a" == first.ask("hold")
    second.tell("hold")
    time.sleep(0.1)
    first.kill()
    began = time.monotonic()
    assert ["a"] == second.lines(1)
    assert time.monotonic() - began < 5
    assert "done" == second.ask("done")
    until(lambda: 1 == len(owners_in(path)))


@each_holder
def test_beside_a_backlog_it_comes_as_soon(kind: str, path: Path, start: Start) -> None:
    """A worker that always finds something looks at the others, too."""
    newest_first = "FILO" in kind
    items = [f"{number:04}" for number in range(3000)]
    q = open_any(kind, path)
    q.put_many(items)
    first = start(kind, path)
    held = first.ask("hold")
    assert (items[-1] if newest_first else items[0]) == held
    assert held != q.get()
    first.kill()
    time.sleep(0.1)
    assert held == q.get()
    until(lambda: not owners_in(path) or [q._queue._store._owner.name])
    q.close()


@each_holder
def test_all_that_wait_are_served(kind: str, path: Path, start: Start) -> None:
    """Two items of one dead worker go to two workers that wait."""
    filled(kind, path, "a", "b")
    first = start(kind, path)
    assert {"a", "b"} == {first.ask("hold"), first.ask("hold")}
    others = [start(kind, path) for _ in range(2)]
    for other in others:
        other.tell("hold")
    first.kill()
    assert ["a", "b"] == sorted(other.lines(1)[0] for other in others)


def test_without_auto_resume_the_dead_keep_what_they_held(path: Path, start: Start) -> None:
    """Until resume_unack_tasks() says otherwise."""
    filled("SQLiteAckQueue", path, "a")
    first = start("SQLiteAckQueue", path)
    first.ask("hold")
    with SQLiteAckQueue(path, auto_resume=False) as q:
        first.kill()
        time.sleep(0.2)
        assert (0, 1) == (q.qsize(), q.unack_count())
        q.resume_unack_tasks()
        assert "a" == q.get(timeout=5)


def test_rows_without_an_owner_wait_for_an_opening(path: Path) -> None:
    """Another program handed them out, and nothing tells whether it is alive."""
    with SQLiteAckQueue(path) as q:
        q.put_many("ab")
        q._conn.execute("UPDATE ack_queue_default SET status = 2, owner = NULL WHERE _id = 1")
        q._conn.commit()
        assert "b" == q.get()
        time.sleep(0.1)
        assert 0 == q.qsize()
        with SQLiteAckQueue(path) as other:
            assert "a" == other.get(timeout=5)


def test_an_owner_in_a_row_that_is_not_held_means_nothing(path: Path) -> None:
    """It was left there by another program; the row is anybody's."""
    with SQLiteAckQueue(path) as q:
        q.put_many("ab")
        q._conn.execute("UPDATE ack_queue_default SET owner = 'a stranger'")
        q._conn.commit()
        time.sleep(0.1)
        assert ["a", "b"] == [q.get(), q.get()]
        assert 2 == q.unack_count()


# -- suspension ---------------------------------------------------------------------


@each_holder
def test_what_a_stopped_worker_held_is_taken_over(kind: str, path: Path, start: Start) -> None:
    """After its lease; when it goes on, what it does with the item changes nothing."""
    lease = 1.0
    filled(kind, path, "a")
    first, second = start(kind, path, lease), start(kind, path, 60)
    assert "a" == first.ask("hold")
    second.tell("hold")
    time.sleep(0.2)
    first.stop()
    began = time.monotonic()
    assert ["a"] == second.lines(1)
    assert lease * 0.75 < time.monotonic() - began < lease + 5
    first.go_on()
    assert "done" == first.ask("done")
    q = open_any(kind, path)
    assert [] == taken(q)
    q.close()
    assert "back" == second.ask("back")
    q = open_any(kind, path)
    assert ["a"] == taken(q)
    q.close()


@each_holder
def test_the_end_of_a_first_take_is_not_that_of_the_second(
    kind: str, path: Path, start: Start
) -> None:
    """A worker that was stopped has its item again: its first block finishes nothing."""
    filled(kind, path, "a")
    first, second = start(kind, path, 1.2), start(kind, path)
    assert "a" == first.ask("hold")
    second.tell("hold")
    time.sleep(0.2)
    first.stop()
    assert ["a"] == second.lines(1)
    first.go_on()
    assert "back" == second.ask("back")
    assert "a" == first.ask("hold")
    assert "first" == first.ask("first")
    second.tell("hold")
    time.sleep(0.2)
    assert "back" == first.ask("back")
    assert ["a"] == second.lines(1)
    assert "done" == second.ask("done")


def taken(q: Any) -> list[Any]:
    found = []
    while q.qsize():
        found.append(q.get())
    return found


def test_a_worker_without_a_lease_is_waited_for(path: Path, start: Start) -> None:
    """For ever; its own argument counts, not that of the one that looks."""
    filled("SQLiteAckQueue", path, "a")
    first, second = start("SQLiteAckQueue", path, None), start("SQLiteAckQueue", path, 0.3)
    first.ask("hold")
    second.tell("hold")
    first.stop()
    time.sleep(1)
    first.go_on()
    first.ask("done")
    filled("SQLiteAckQueue", path, "b")
    assert ["b"] == second.lines(1)


@each_holder
def test_a_handler_may_block_for_many_leases(kind: str, path: Path, start: Start) -> None:
    """Signs of life come from a thread."""
    filled(kind, path, "a")
    first, second = start(kind, path, 1.2), start(kind, path, 1.2)
    assert "a" == first.ask("hold")
    second.tell("hold")
    assert "sleep" == first.ask("sleep 3")
    assert "done" == first.ask("done")
    filled(kind, path, "b")
    assert ["b"] == second.lines(1)


@each_holder
def test_the_file_of_a_worker_that_goes_is_made_anew(kind: str, path: Path, start: Start) -> None:
    """Under the same name; nobody else gets what the worker holds, until it dies."""
    filled(kind, path, "a")
    first, second = start(kind, path, 1.2), start(kind, path, 1.2)
    assert "a" == first.ask("hold")
    (file,) = owners_in(path)
    second.tell("hold")
    file.unlink()
    until(lambda: [file] == owners_in(path))
    time.sleep(1.4)
    filled(kind, path, "b")
    assert ["b"] == second.lines(1)
    second.ask("done")
    second.tell("hold")
    first.kill()
    assert ["a"] == second.lines(1)


@each_holder
def test_what_a_worker_without_a_file_held_comes_after_a_lease(
    kind: str, path: Path, start: Start
) -> None:
    """Whoever has tidied up the directory beside a dead worker."""
    filled(kind, path, "a")
    first = start(kind, path)
    assert "a" == first.ask("hold")
    first.kill()
    for file in owners_in(path):
        file.unlink()
    second = start(kind, path, 0.5)
    began = time.monotonic()
    assert "a" == second.ask("hold")
    assert time.monotonic() - began > 0.4


@each_holder
def test_a_fork_leaves_the_parent_what_it_holds(kind: str, path: Path, start: Start) -> None:
    """The child does not give signs of life for it, and does not keep its lock."""
    filled(kind, path, "a")
    first, second = start(kind, path, 1.2), start(kind, path)
    assert "a" == first.ask("hold")
    child = int(first.ask("fork"))
    try:
        second.tell("hold")
        assert "sleep" == first.ask("sleep 1.5")
        filled(kind, path, "b")
        assert ["b"] == second.lines(1)
        assert "done" == second.ask("done")
        second.tell("hold")
        first.kill()
        assert ["a"] == second.lines(1)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_holds_gives_signs_of_its_own(path: Path, start: Start) -> None:
    """A forked child that takes an item keeps it for as long as it works."""
    with SQLiteAckQueue(path, lease=1.2) as q:
        q.put_many("ab")
        assert "a" == q.get()
        end, begin = os.pipe()
        child = os.fork()
        if not child:
            assert "b" == q.get()
            os.write(begin, b"!")
            time.sleep(600)
        try:
            os.read(end, 1)
            assert 2 == len(owners_in(path))
            other = start("SQLiteAckQueue", path)
            other.tell("hold")
            time.sleep(1.6)
            assert 2 == q.unack_count()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(end)
            os.close(begin)
        assert ["b"] == other.lines(1)
        assert 1 == q.ack("a")


def test_a_clock_that_is_set_changes_nothing(
    path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are measured by a clock that cannot be set."""
    filled("SQLiteAckQueue", path, "a")
    first = start("SQLiteAckQueue", path, 5)
    first.ask("hold")
    now = time.time
    with SQLiteAckQueue(path, lease=5) as q:
        for days in (1, -1):
            monkeypatch.setattr(time, "time", lambda days=days: now() + days * 86_400)
            with pytest.raises(Exception, match="empty"):
                q.get(timeout=0.2)
        first.kill()
        assert "a" == q.get(timeout=5)


# -- signs of life ------------------------------------------------------------------


@each_holder
def test_a_consumer_that_waits_has_no_file(kind: str, path: Path, start: Start) -> None:
    """It holds nothing, so there is nothing to say."""
    filled(kind, path, "a")
    first, second = start(kind, path), start(kind, path)
    first.ask("hold")
    second.tell("hold")
    time.sleep(0.2)
    assert 1 == len(owners_in(path))
    first.ask("back")
    second.lines(1)


def test_signs_are_given_only_while_something_is_held(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that has finished writes nothing."""
    written: list[int] = []
    write_at = owners.write_at

    def note(*arguments: Any) -> int:
        written.append(1)
        return write_at(*arguments)

    monkeypatch.setattr(owners, "write_at", note)
    with SQLiteAckQueue(path, lease=0.3) as q, SQLiteAckQueue(path, lease=0.3) as other:
        with pytest.raises(Exception, match="empty"):
            other.get(timeout=0.2)
        assert [] == owners_in(path)
        q.put("a")
        item = q.get()
        until(lambda: len(written) > 4)
        q.ack(item)
        time.sleep(0.15)  # a sign may be on its way
        count = len(written)
        time.sleep(0.3)
        assert count == len(written)
        q.put("b")
        q.get()
        until(lambda: len(written) > count + 2)


def test_signs_that_cannot_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so, once, when others may have the items; the signs go on when they can."""

    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    with SQLiteAckQueue(path, lease=0.3) as q:
        q.put("a")
        item = q.get()
        with monkeypatch.context() as patches:
            patches.setattr(owners, "write_at", refuse)
            until(lambda: "counts as lost" in caplog.text)
            time.sleep(0.3)
        assert 1 == sum("counts as lost" in message for message in caplog.messages)
        until(lambda: not q._store._owner._given_up)
        assert 1 == q.ack(item)


def test_a_sign_is_given_at_once_when_an_item_is_taken_again(path: Path) -> None:
    """One that looks has seen the last one long ago."""
    with SQLiteAckQueue(path, lease=60) as q:
        q.put_many("ab")
        q.ack(q.get())
        owner = q._store._owner
        beats = owner._beats
        owner.kept = False  # its turn came while nothing was held
        q.get()
        assert beats + 1 == owner._beats


@pytest.mark.parametrize("verb", ["ack", "nack", "ack_failed"])
def test_what_is_held_is_known(path: Path, verb: str) -> None:
    """By each way to finish an item, and when it is undone."""
    with SQLiteAckQueue(path) as q:
        held = q._store._held.keys()
        q.put_many("abcd")
        first, _ = q.get_many(2)
        assert {1, 2} == held
        getattr(q, verb)(first)
        assert {2} == held
        getattr(q, verb)(id=2)
        assert set() == held
        with q.process():
            assert 1 == len(held)
        assert set() == held
        q.get()
        q.resume_unack_tasks()
        assert set() == held


def test_what_is_held_is_known_after_a_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails changes nothing."""
    with SQLiteAckQueue(path) as q:
        held, commit = q._store._held.keys(), q._store.conn.database.commit
        q.put_many("ab")
        item = q.get()

        def refuse(_: object) -> None:
            raise OSError

        with monkeypatch.context() as patches:
            patches.setattr(q._store.conn.database, "commit", refuse)
            for call in (q.get, lambda: q.ack(item), lambda: q.nack_many([item])):
                with pytest.raises(OSError):
                    call()
                assert {1} == held
        assert commit is not None
        assert 1 == q.ack(item)


@pytest.mark.parametrize("lease", [0, -1, float("nan")])
@pytest.mark.parametrize("make", [SQLiteAckQueue, Broker])
def test_a_lease_is_a_positive_number(make: Any, lease: float, path: Path) -> None:
    """Or None; anything else is refused before a file is made."""
    with pytest.raises(ValueError, match="lease"):
        make(path, lease=lease)
    with pytest.raises(TypeError, match="lease"):
        make(path, lease="60")
    assert not path.exists()


# -- beside other releases ------------------------------------------------------------

_THEIRS = """
import sys, persistqueue
q = persistqueue.SQLiteAckQueue(sys.argv[1], auto_resume=False)
for line in sys.stdin:
    verb, *values = line.split()
    if verb == "get":
        print(q.get(timeout=20), flush=True)
    elif verb == "nack":
        q.nack(id=int(values[0]))
        print("nacked", flush=True)
"""


@contextmanager
def theirs(upstream: Upstream, path: Path) -> Iterator[Callable[[str], str]]:
    """Run an ack queue of persist-queue 1.1.0; gives what tells it to do something."""
    with subprocess.Popen(
        [sys.executable, "-c", _THEIRS, str(path)],
        cwd=upstream.site, env={**os.environ, "PYTHONPATH": str(upstream.site)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(line: str) -> str:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        process.kill()


def test_a_worker_of_1_1_0_keeps_what_it_holds(
    upstream: Upstream, path: Path, start: Start
) -> None:
    """It has no owner, so only an opening takes from it."""
    filled("SQLiteAckQueue", path, "a", "b")
    with theirs(upstream, path) as ask, SQLiteAckQueue(path, lease=0.3) as q:
        worker = start("SQLiteAckQueue", path)
        worker.ask("sleep 0")  # it has opened the queue
        assert "a" == ask("get")
        assert "b" == worker.ask("hold")
        with pytest.raises(Exception, match="empty"):
            q.get(timeout=0.5)
        worker.kill()
        assert "b" == q.get(timeout=5)  # of ours alone
        assert 2 == q.unack_count()
    with SQLiteAckQueue(path) as q:
        assert ["a", "b"] == q.get_many(2)


def test_what_1_1_0_put_back_and_took_is_its_own(
    upstream: Upstream, path: Path, start: Start
) -> None:
    """The owner that had the row before means nothing any more, although it dies."""
    filled("SQLiteAckQueue", path, "a")
    worker = start("SQLiteAckQueue", path)
    assert "a" == worker.ask("hold")
    with theirs(upstream, path) as ask, SQLiteAckQueue(path) as q:
        assert "nacked" == ask("nack 1")
        assert "a" == ask("get")
        worker.kill()
        with pytest.raises(Exception, match="empty"):
            q.get(timeout=0.3)
        assert 1 == q.unack_count()


def test_a_worker_of_1_1_0_gets_what_a_dead_one_held(
    upstream: Upstream, path: Path, start: Start
) -> None:
    """When any object of this release takes, and so has found it."""
    filled("SQLiteAckQueue", path, "a", "b")
    worker = start("SQLiteAckQueue", path)
    assert "a" == worker.ask("hold")
    with theirs(upstream, path) as ask, SQLiteAckQueue(path) as q:
        worker.kill()
        time.sleep(0.1)
        q.nack(q.get())
        assert "a" == ask("get")


def test_an_owner_without_a_count_is_judged_by_its_lock(path: Path) -> None:
    """The last release's: its file is empty, and no lease of others counts for it."""
    with SQLiteAckQueue(path, lease=0.2) as q:
        q.put("a")
        name = f"{q._store._owner._prefix}{'5' * 24}"
        file = path / f"data.db-owner-{name}"
        fd = os.open(file, os.O_RDWR | os.O_CREAT)
        assert try_lock(fd)
        q._conn.execute("UPDATE ack_queue_default SET status = 2, owner = ?", (name,))
        q._conn.commit()
        with pytest.raises(Exception, match="empty"):
            q.get(timeout=0.8)
        os.close(fd)
        assert "a" == q.get(timeout=5)
        assert not file.exists()
