"""Job queues: retry, back-off, delay, keys, priorities, expiry, dead letters; both families."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from job_queues import JOB_FAMILIES
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import Call, until

from persistqueue import (
    AsyncJobQueue,
    Dead,
    Empty,
    Full,
    JobLost,
    JobQueue,
    Put,
    QueueClosed,
    Retry,
    SerializationError,
    Snooze,
    SQLiteAckQueue,
)
from persistqueue.testing import set_clock_forward, waiting_calls

NEVER_LATER = Retry(max_attempts=3, first=0, jitter=0)
HOUR = 3600


@pytest.fixture(params=sorted(JOB_FAMILIES))
def open_jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Opens the job queue of a test, in one database."""

    def open_queue(**options: Any) -> Any:
        options.setdefault("durability", "process")
        return JOB_FAMILIES[request.param](tmp_path / "app.db", **options)

    return open_queue


def fail(q: Any, error: Exception) -> None:
    """Take the next job and fail at it."""
    with pytest.raises(type(error)), q.process(timeout=10):
        raise error


# -- put ------------------------------------------------------------------------------


def test_a_path_that_is_not_there_becomes_a_file(
    open_jobs: Callable[..., Any], tmp_path: Path
) -> None:
    with open_jobs() as q:
        q.put("a")
    assert (tmp_path / "app.db").is_file()


def test_a_delayed_job_comes_when_it_is_due(open_jobs: Callable[..., Any]) -> None:
    """It is not handed out before, also to a get that waits, and counts as unfinished."""
    with open_jobs() as q:
        began = time.time()
        q.put("later", delay=0.3)
        q.put("now")
        assert (1, 1) == (q.qsize(), q.stats().delayed)
        assert "now" == q.get()
        with pytest.raises(Empty):
            q.get(block=False)
        with q.job(timeout=10) as job:
            late = time.time() - began - 0.3
            assert ("later", 1) == (job.item, job.attempt)
            assert 0 <= late < 5
            assert job.put_at + 0.3 == pytest.approx(job.due_at, abs=0.01)


def test_a_delay_survives_a_restart(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        q.put("a", delay=HOUR)
        q.put("b", at=datetime.now(timezone.utc) + timedelta(hours=2))
        q.put("c", at=time.time() - 5)
    with open_jobs() as q:
        assert (1, 2) == q.stats()[:2]
        assert "c" == q.get()
        set_clock_forward(q, HOUR + 1)
        assert ["a"] == [job.item for job in q.take_many(9)]
        set_clock_forward(q, HOUR)
        assert "b" == q.get(timeout=10)


def test_the_oldest_ready_job_may_be_one_that_was_delayed(open_jobs: Callable[..., Any]) -> None:
    """It is counted as ready from when it is due, whether a take has promoted it or not."""
    with open_jobs() as q:
        assert (0, 0, 0, 0, None, None) == q.stats()
        before = time.time()
        q.put("late", delay=HOUR)
        between = time.time()
        assert q.stats().oldest_ready is None
        set_clock_forward(q, HOUR)
        assert before <= q.stats().oldest_ready <= between
        q.put("new")
        assert before <= q.stats().oldest_ready <= between
        assert 1 == len(q.take_many(1))
        assert between <= q.stats().oldest_ready


def test_jobs_that_are_due_come_in_the_order_of_priority(open_jobs: Callable[..., Any]) -> None:
    """The lowest priority first, among equals the oldest; delayed ones are no exception."""
    with open_jobs() as q:
        q.put_many([Put("late", priority=1), "b", Put("first", priority=-5), "c"])
        q.put("second", delay=0.05, priority=-4)
        time.sleep(0.1)
        assert ["first", "second", "b", "c", "late"] == [q.get() for _ in range(5)]


def test_a_key_is_used_once_while_its_job_is_unfinished(open_jobs: Callable[..., Any]) -> None:
    """Waiting, delayed and held jobs keep their keys; done and dead ones do not."""
    with open_jobs(retry=Retry(max_attempts=1)) as q:
        number = q.put("a", key="k", delay=0.01)
        assert number is not None
        assert q.put("b", key="k") is None
        with q.job(timeout=10) as job:
            assert ("a", "k") == (job.item, job.key)
            assert q.put("d", key="k") is None
        assert q.put("e", key="k") is not None
        fail(q, ValueError("no"))
        one, two, three = q.put_many([Put("f", key="k"), Put("g", key="k"), "plain"])
        assert one is not None
        assert two is None
        assert three is not None
        assert [] == q.dead.requeue()  # its key is in use
        assert ["e"] == [job.item for job in q.dead.browse()]
        assert q.cancel(one)
        assert [q.dead.browse()[0].id] == q.dead.requeue()


def test_a_job_expires_while_it_waits(open_jobs: Callable[..., Any]) -> None:
    """Not while it is held; a delayed one counts from when it is due."""
    with open_jobs() as q:
        q.put("held", ttl=HOUR)
        q.put("waits", ttl=HOUR)
        q.put("later", delay=HOUR, ttl=2 * HOUR)
        with q.process() as item:
            assert "held" == item
            set_clock_forward(q, HOUR + 1)
            assert "later" == q.get(timeout=5)
            assert [("waits", "expired", 0)] == [
                (dead.item, dead.note, dead.attempts) for dead in q.dead.browse()
            ]
        assert 1 == q.stats().held  # what process held is done


def test_a_dead_job_that_is_requeued_does_not_expire_again(open_jobs: Callable[..., Any]) -> None:
    """Also if a verb of the ack queue has declared it dead, which knows of no time."""
    with open_jobs() as q:
        number = q.put("a", ttl=1)
        q.ack_failed(id=number)
        set_clock_forward(q, 2)
        assert [number] == q.dead.requeue()
        assert "a" == q.get(timeout=10)


def test_many_jobs_are_due_or_over_at_once(open_jobs: Callable[..., Any]) -> None:
    """They are promoted and buried some at a time, and none is forgotten."""
    with open_jobs() as q:
        q.put_many([Put(n, delay=HOUR) for n in range(350)])
        q.put_many([Put(n, ttl=HOUR) for n in range(350)])
        set_clock_forward(q, HOUR + 1)
        assert (350, 0) == (q.stats().ready - 350, q.stats().delayed)
        got = []
        while len(got) < 350:
            got += [job.item for job in q.take_many(17, timeout=10)]
        assert list(range(350)) == got
        with pytest.raises(Empty):
            q.get(block=False)
        assert 350 == q.stats().dead


def test_headers_come_with_the_job(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        q.put("a", headers={"traceparent": "00-ü"})
        with q.job() as job:
            assert {"traceparent": "00-ü"} == job.headers
            assert job.id == 1
        q.put("b")
        with q.job() as job:
            assert {} == job.headers


WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (ValueError, "delay", {"delay": -1}),
    (ValueError, "delay", {"delay": float("nan")}),
    (TypeError, "delay", {"delay": "soon"}),
    (ValueError, "one of the two", {"delay": 1, "at": 5}),
    (ValueError, "time zone", {"at": datetime(2030, 1, 1)}),  # noqa: DTZ001 - that is the point
    (TypeError, "at", {"at": "tomorrow"}),
    (ValueError, "hundred years", {"at": 1e14}),
    (ValueError, "ttl", {"ttl": -1}),
    (TypeError, "priority", {"priority": 1.5}),
    (ValueError, "max_attempts", {"max_attempts": 0}),
    (TypeError, "key", {"key": 5}),
    (ValueError, "key", {"key": ""}),
    (ValueError, "key", {"key": "\udc80"}),
    (TypeError, "headers", {"headers": {"a": 1}}),
    (SerializationError, "header", {"headers": {"a": "\udc80"}}),
    (SerializationError, "pickle", {"item": threading.Lock()}),
]


@pytest.mark.parametrize(("error", "text", "how"), WRONG)
def test_what_is_wrong_is_said_and_nothing_is_stored(
    open_jobs: Callable[..., Any], error: type[Exception], text: str, how: dict[str, Any]
) -> None:
    with open_jobs() as q:
        with pytest.raises(error, match=text):
            q.put(**{"item": 1, **how})
        with pytest.raises(error, match=text):
            q.put_many([1, Put(**{"item": 1, **how})])
        assert 0 == q.qsize() + q.stats().delayed


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"first": -1},
        {"factor": 0.5},
        {"most": float("inf")},
        {"jitter": 2},
        {"jitter": "a"},
    ],
    ids=str,
)
def test_a_retry_that_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        Retry(**wrong)


def test_a_full_queue_waits_for_ready_jobs_to_go(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(maxsize=1) as q:
        q.put("a", delay=HOUR)  # not ready
        q.put("b")
        with pytest.raises(Full):
            q.put_nowait("c")
        call = Call(q.put, "c")
        until(lambda: waiting_calls(q).puts == 1)
        q.get()
        assert call.outcome() is not None


# -- what becomes of a job ----------------------------------------------------------------


def test_a_job_that_fails_is_tried_again_later_and_then_dead(
    open_jobs: Callable[..., Any],
) -> None:
    """The delays grow; the note says why; other jobs go on."""
    with open_jobs(retry=Retry(max_attempts=3, first=100, factor=3, jitter=0)) as q:
        q.put("a")
        q.put("b")
        for attempt, delay in ((1, 100), (2, 300)):
            fail(q, ValueError(f"number {attempt}"))
            due = q.stats().next_due
            assert due == pytest.approx(time.time() + ahead(q) + delay, abs=5)
            assert 1 == q.qsize()
            set_clock_forward(q, delay + 1)
            q.reschedule(1)
        with suppress(ValueError), q.job() as job:
            assert ("a", 3, 3) == (job.item, job.attempt, job.max_attempts)
            raise ValueError("x" * 5000)
        dead = q.dead.browse()[0]
        assert (1, "a", 3) == dead[:3]
        assert dead.note.startswith("ValueError: xxx")
        assert 4096 == len(dead.note)
        assert "b" == q.get()


def ahead(q: Any) -> float:
    """Return by how many seconds a queue's clock is ahead."""
    ahead: float = q._store.clock() - time.time()
    return ahead


def test_snooze_costs_no_attempt_and_dead_is_the_end(open_jobs: Callable[..., Any]) -> None:
    """Both are no errors: the block ends, and the program goes on."""
    with open_jobs(retry=Retry(max_attempts=1)) as q:
        q.put("a")
        for _ in range(3):
            with q.job(timeout=10) as job:
                assert 1 == job.attempt
                raise Snooze(0.01)
        with q.process(timeout=10):
            raise Dead("bad address")
        assert [("a", "bad address")] == [(dead.item, dead.note) for dead in q.dead.browse()]


@pytest.mark.parametrize("signal", [Snooze, Dead])
def test_a_signal_of_ones_own_that_says_nothing(
    open_jobs: Callable[..., Any], signal: type[Exception]
) -> None:
    """A subclass that does not call our ``__init__`` loses no job."""

    class Own(signal):  # type: ignore[misc, valid-type]
        def __init__(self, response: int) -> None:
            self.response = response

    with open_jobs(retry=Retry(first=HOUR)) as q:
        q.put("a")
        with q.process():
            raise Own(429)
        delayed = signal is Snooze
        assert (0, delayed, 0, not delayed) == q.stats()[:4]


@pytest.mark.parametrize("way", ["process", "worker"])
def test_a_failure_is_stored_although_its_task_is_cancelled(tmp_path: Path, way: str) -> None:
    """Else no consumer would hold the job until the queue is closed."""

    async def main() -> None:
        async with AsyncJobQueue[int](tmp_path / "app.db", retry=Retry(first=HOUR)) as q:
            await q.put(1)
            others: list[asyncio.Task[Any]] = []

            async def handle(_: int) -> None:
                others.append(asyncio.create_task(q.put_many([Put(2, delay=HOUR)] * 2000)))
                while q._session._commits.flying is None:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0)
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
                raise ValueError

            async def process() -> None:
                async with q.process() as item:
                    await handle(item)

            if way == "process":
                with suppress(asyncio.CancelledError):
                    await asyncio.create_task(process())
            else:
                async with q.worker(handle):
                    while not others or not others[0].done():  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.01)
            await others[0]
            assert (0, 2001, 0, 0) == (await q.stats())[:4]

    asyncio.run(main())


def test_a_job_ends_once(open_jobs: Callable[..., Any]) -> None:
    """In one of four ways inside its block; then it is lost, and the block's end changes nothing."""
    with open_jobs() as q:
        for way, after in (
            (lambda job: job.ack(), (0, 0, 0, 0)),
            (lambda job: job.retry(delay=HOUR, reason="429"), (0, 1, 0, 0)),
            (lambda job: job.fail("bad"), (0, 1, 0, 1)),
        ):
            q.put("a")
            with q.job() as job:
                way(job)
                for again in (job.ack, job.retry, job.fail):
                    with pytest.raises(JobLost):
                        again()
            assert after == q.stats()[:4]
        q.put("b")
        with suppress(KeyError), q.job() as job:
            job.ack()
            raise KeyError("too late")
        assert after == q.stats()[:4]


def test_retry_of_the_last_attempt_is_death(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(retry=NEVER_LATER) as q:
        q.put("a", max_attempts=1)
        with q.job() as job:
            job.retry(reason="429")
        assert ["429"] == [dead.note for dead in q.dead.browse()]


def test_what_is_given_back_unspent_costs_no_attempt(open_jobs: Callable[..., Any]) -> None:
    """A block that is left by an interrupt."""
    with open_jobs(retry=Retry(max_attempts=1)) as q:
        q.put("a")
        with pytest.raises(KeyboardInterrupt), q.process():
            raise KeyboardInterrupt
        with q.job() as job:
            assert 1 == job.attempt


def test_verbs_of_the_ack_queue(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        items = [["a"], ["b"], ["c"], ["d"]]
        q.put_many(items)
        a, b, c, d = (q.get() for _ in range(4))
        assert [1] == [q.ack(a)]
        assert q.ack(a) is None
        assert 2 == q.nack(b)
        assert 3 == q.ack_failed(c)
        assert 5 == q.nack(d, to="back")
        assert (2, 0, 0, 1) == q.stats()[:4]
        assert [["b"], ["d"]] == [q.get(), q.get()]
        assert 2 == q.ack(id=2)
        q.resume_unack_tasks()
        assert 1 == q.qsize()
        assert [3] == q.dead.requeue([3, 99])
        assert 2 == q.qsize()


def test_ack_many_of_jobs_and_of_items(open_jobs: Callable[..., Any]) -> None:
    """Jobs are acked as themselves, also where items are equal."""
    with open_jobs() as q:
        q.put_many([1, 1, 1, 1])
        jobs = q.take_many(4)
        assert [2, 3] == q.ack_many(jobs[1:3])
        assert [None, 4] == q.ack_many(jobs[2:])
        assert [1] == q.ack_many([1])
        assert (0, 0, 0, 0) == q.stats()[:4]


def test_cancel_and_reschedule(open_jobs: Callable[..., Any]) -> None:
    """Of jobs that wait; what a consumer holds stays as it is."""
    with open_jobs() as q:
        held, ready, late = q.put("held"), q.put("ready"), q.put("late", delay=HOUR)
        with q.process():
            assert not q.cancel(held)
            assert not q.reschedule(held, delay=5)
        assert q.reschedule(ready, delay=HOUR)
        assert q.reschedule(late)
        assert "late" == q.get(timeout=10)
        assert q.cancel(ready)
        assert not q.cancel(ready)
        assert not q.cancel(2**70)


def test_dead_jobs_are_kept_up_to_a_number(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(keep_dead=20, retry=Retry(max_attempts=1)) as q:
        q.put_many(range(60))
        for _ in range(60):
            fail(q, OSError())
        assert 20 <= q.stats().dead <= 22
        assert 59 == q.dead.browse()[-1].item
        assert 3 == len(q.dead.browse(3))
        assert 0 == q.dead.purge(older=HOUR)
        assert q.dead.purge() >= 20


def test_a_job_whose_worker_died_again_and_again_is_dead(open_jobs: Callable[..., Any]) -> None:
    """An attempt is counted when the job is handed out: nobody may be left to count it later."""
    q = open_jobs(retry=Retry(max_attempts=2), timeout=5)
    with q:
        q.put("poison")
        q.put("good")
        for _ in range(2):
            assert "poison" == q.get()
            q.resume_unack_tasks()
        assert "good" == q.get()
        assert ["handed out 2 times and never finished"] == [d.note for d in q.dead.browse()]


# -- with others --------------------------------------------------------------------------


def test_another_object_sees_a_delayed_job_and_waits_for_it(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as one, open_jobs() as other:
        call = Call(other.get, timeout=20)
        until(lambda: waiting_calls(other).gets == 1)
        one.put("a", delay=0.2)
        assert "a" == call.outcome()


def test_an_ack_queue_becomes_a_job_queue(open_jobs: Callable[..., Any], tmp_path: Path) -> None:
    """And goes on as an ack queue beside it; what is delayed or dead it leaves alone."""
    with SQLiteAckQueue(tmp_path, db_file_name="app.db") as acks:
        acks.put_many(["a", "b", "c"])
        acks.get()  # and dies with it
    with open_jobs() as q, SQLiteAckQueue(tmp_path, db_file_name="app.db") as acks:
        assert 3 == q.qsize()
        q.put("later", delay=HOUR)
        with q.process():
            raise Dead
        acks.put("from the ack queue")
        assert ["b", "c", "from the ack queue"] == [acks.get() for _ in range(3)]
        with pytest.raises(Empty):
            acks.get(block=False)
        acks.ack("b")
        acks.nack("c")
        assert ["c"] == [job.item for job in q.take_many(5)]
        assert (0, 1, 2, 1) == q.stats()[:4]


_THEIRS = """
import sys
from persistqueue import SQLiteAckQueue
q = SQLiteAckQueue(sys.argv[1], db_file_name="app.db", auto_resume=False)
q.put("theirs")
mine, theirs = [q.get(block=False) for _ in range(q.size)]
print([mine, theirs])
q.ack(mine)
q.nack(theirs)
q.clear_acked_data(keep_latest=0)
"""


def test_persist_queue_beside_it(
    open_jobs: Callable[..., Any], tmp_path: Path, upstream: Upstream
) -> None:
    """Its puts run at priority 0; it leaves delayed and dead jobs alone."""
    with open_jobs() as q:
        q.put("later", delay=HOUR, priority=-1)
        q.put("dead")
        with q.process():
            raise Dead
        q.put("mine")
    done = upstream.run(_THEIRS, tmp_path)
    assert ("['mine', 'theirs']\n", "") == (done.stdout, done.stderr)
    with open_jobs() as q:
        q.put("first", priority=-1)
        assert ["first", "theirs"] == [job.item for job in q.take_many(9)]
        assert (0, 1, 2, 1) == q.stats()[:4]


_THEIR_VERBS = """
import sys
from persistqueue import SQLiteAckQueue
from persistqueue.exceptions import Empty
q = SQLiteAckQueue(sys.argv[1], db_file_name="app.db", auto_resume=False)
for number in range(1, 5):
    try:
        eval(sys.argv[2])
    except Empty:
        pass
"""
#: what persist-queue calls -> the states behind it of a ready, delayed, held and dead job
_STATES = [
    ("q.put(5)", "ready delayed held dead ready ready ready ready"),
    ("q.get(block=False)", "held delayed held dead"),
    ("q.get(block=False, id=number)", "held held held held"),
    ("q.ack(id=number)", "acked acked acked acked"),
    ("q.nack(id=number)", "ready ready ready ready"),
    ("q.ack_failed(id=number)", "dead dead dead dead"),
    ("q.update(7, id=number)", "ready delayed held dead"),
    ("q.resume_unack_tasks()", "ready delayed ready dead"),
    ("q.clear_acked_data(keep_latest=0)", "ready delayed held dead"),
    ("q.clear_acked_data(keep_latest=0, clear_ack_failed=True)", "ready delayed held"),
]


@pytest.mark.parametrize(("verb", "states"), _STATES)
def test_each_verb_of_persist_queue_beside_it(
    tmp_path: Path, upstream: Upstream, verb: str, states: str
) -> None:
    """Of a ready, a delayed, a held and a dead job; docs/migrating.rst has the table."""
    with JobQueue[int](tmp_path / "app.db", durability="process") as q:
        q.put_many([Put(1), Put(2, delay=HOUR), Put(3, priority=-1)])
        assert 3 == q.get()
        q.put(4, priority=-1)
        with q.process():
            raise Dead
        done = upstream.run(_THEIR_VERBS, tmp_path, verb)
        assert ("", "") == (done.stdout, done.stderr)
        with sqlite3.connect(tmp_path / "app.db") as db:
            rows = db.execute("SELECT status FROM ack_queue_default ORDER BY _id").fetchall()
        db.close()
        names = {0: "ready", 1: "ready", 2: "held", 3: "delayed", 5: "acked", 9: "dead"}
        assert states == " ".join(names[status] for (status,) in rows)


def test_columns_that_mean_nothing(open_jobs: Callable[..., Any], tmp_path: Path) -> None:
    """What another program leaves in the other columns of a ready row is not looked at."""
    with open_jobs() as q:
        q.put("a", headers={"a": "b"})
    with sqlite3.connect(tmp_path / "app.db") as db:
        db.execute("UPDATE ack_queue_default SET due = 1e300, owner = 'x', note = 5, headers = 'x'")
    db.close()
    with open_jobs() as q, q.job() as job:
        assert ("a", {}) == (job.item, job.headers)


def test_memory(open_jobs: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    family = JOB_FAMILIES[request.node.callspec.params["open_jobs"]]
    with family(":memory:") as q:
        q.put("a", delay=60)
        set_clock_forward(q, 61)
        with q.process(timeout=5) as item:
            assert "a" == item


# -- workers ------------------------------------------------------------------------------


def test_a_worker_runs_the_handler_for_each_job(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(retry=NEVER_LATER) as q:
        q.put_many(range(50))
        got: list[int] = []

        def handle(n: int) -> None:
            got.append(n)
            if n == 7:
                raise ValueError("seven")
            if n == 8 and got.count(8) == 1:
                raise Snooze(0)
            if n == 9:
                raise Dead("nine")

        with q.worker(handle, concurrency=4):
            q.join()
        assert 3 == got.count(7)
        assert 2 == got.count(8)
        assert sorted({*got}) == list(range(50))
        assert ["nine", "ValueError: seven"] == sorted(
            (dead.note for dead in q.dead.browse()), reverse=True
        )


def test_a_worker_logs_why_a_handler_failed(
    open_jobs: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Each time, with a traceback; what the handler said on purpose is no failure."""
    caplog.set_level("INFO", logger="persistqueue")
    with open_jobs(retry=Retry(max_attempts=2, first=0)) as q:
        q.put_many(["bad", "dead"])

        def handle(item: str) -> None:
            if item == "dead":
                raise Dead("on purpose")
            raise ValueError("this went wrong")

        with q.worker(handle):
            q.join()
    assert ["INFO", "INFO"] == [record.levelname for record in caplog.records]
    assert 2 == caplog.text.count("a handler failed")
    assert 2 == caplog.text.count("ValueError: this went wrong")
    assert "on purpose" not in caplog.text


def test_as_many_handlers_run_at_a_time(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        q.put_many(range(9))
        barrier, running, most = Runs(), 0, 0
        with q.worker(barrier.handle, concurrency=3, grace=0):
            until(lambda: barrier.running == 3)
            time.sleep(0.1)
            running, most = barrier.running, len(barrier.seen)
            assert (3, 3) == (running, most)
            barrier.open()
            q.join()
        assert list(range(9)) == sorted(barrier.seen)


class Runs:
    """A handler that goes on when it is told to; for both families."""

    def __init__(self) -> None:
        self.running = 0
        self.seen: list[Any] = []
        self._open = threading.Event()

    def handle(self, item: Any) -> Any:
        self.seen.append(item)
        self.running += 1
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._open.wait(30)
            self.running -= 1
            return None
        return self._wait()

    async def _wait(self) -> None:
        try:
            while not self._open.is_set():  # noqa: ASYNC110 - another thread opens it
                await asyncio.sleep(0.005)
        finally:
            self.running -= 1

    def open(self) -> None:
        self._open.set()


def test_the_end_of_a_worker_gives_back_what_is_not_done(open_jobs: Callable[..., Any]) -> None:
    """After ``grace``; no attempt is counted; what ends in time is done."""
    with open_jobs(retry=Retry(max_attempts=1)) as q:
        q.put_many(["a", "b", "c"])
        runs = Runs()
        with q.worker(runs.handle, concurrency=2, grace=0.05):
            until(lambda: runs.running == 2)
        assert ["a", "b"] == sorted(runs.seen)
        assert (3, 0, 0, 0) == q.stats()[:4]
        runs.open()
        time.sleep(0.1)  # a thread's handler ends now: too late
        assert (3, 0, 0, 0) == q.stats()[:4]
        with q.worker(runs.handle, concurrency=2, grace=30):
            until(lambda: len(runs.seen) == 5)
        assert (0, 0, 0, 0) == q.stats()[:4]


def test_a_handler_that_takes_too_long_has_failed(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(retry=Retry(max_attempts=1)) as q:
        q.put("slow")
        runs = Runs()
        with q.worker(runs.handle, timeout=0.1):
            q.join()
            q.put("quick")
            runs.open()
            q.join()
        assert ["TimeoutError: the handler did not end within 0.1 s"] == [
            dead.note for dead in q.dead.browse()
        ]


def test_what_a_worker_took_when_it_had_ended_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with JobQueue[str](tmp_path / "app.db") as q:
        take, begun, over = q._store.take, threading.Event(), threading.Event()

        def slow(most: int) -> Any:
            taken = take(most)
            if taken:
                begun.set()
                over.wait(30)
            return taken

        monkeypatch.setattr(q._store, "take", slow)
        seen: list[str] = []
        q.put("a")
        with q.worker(seen.append, grace=0):
            assert begun.wait(30)
        over.set()
        until(lambda: q.qsize() == 1)
        assert not seen


@pytest.mark.parametrize("family", sorted(JOB_FAMILIES))
def test_a_handler_that_ends_its_program_counts_as_an_attempt(family: str, tmp_path: Path) -> None:
    """Such a job would end each program that works on it, for ever."""

    def handle(_: str) -> None:
        raise SystemExit(3)

    async def handle_async(item: str) -> None:
        handle(item)

    async def main() -> None:
        async with AsyncJobQueue[str](tmp_path / "app.db") as q:
            await q.work(handle_async)

    with JobQueue[str](tmp_path / "app.db") as q:
        q.put("a", max_attempts=1)
        with pytest.raises(SystemExit):
            asyncio.run(main()) if family == "AsyncJobQueue" else q.work(handle)
        assert ["SystemExit: 3"] == [dead.note for dead in q.dead.browse()]


def test_a_worker_that_is_hurried_does_not_wait_any_longer(open_jobs: Callable[..., Any]) -> None:
    """As a second signal does."""
    with open_jobs() as q:
        q.put("a")
        runs = Runs()
        with q.worker(runs.handle, grace=HOUR) as worker:
            until(lambda: runs.running == 1)
            threading.Timer(0.2, worker.hurry).start()
        assert (1, 0, 0, 0) == q.stats()[:4]
        runs.open()


def test_a_handler_may_await_what_was_cancelled(tmp_path: Path) -> None:
    """That is a failure like any other: the worker goes on."""

    async def handle(_: int) -> None:
        other = asyncio.create_task(asyncio.sleep(HOUR))
        other.cancel()
        await other

    async def main() -> list[str]:
        async with AsyncJobQueue[int](tmp_path / "app.db", retry=Retry(max_attempts=1)) as q:
            await q.put_many(range(3))
            async with q.worker(handle):
                await asyncio.wait_for(q.join(), 30)
            return [dead.note for dead in await q.dead.browse()]

    assert ["CancelledError"] * 3 == asyncio.run(main())


def test_many_jobs_that_are_over_lie_in_front(open_jobs: Callable[..., Any]) -> None:
    with open_jobs(keep_dead=50) as q:
        q.put_many([Put(n, ttl=1) for n in range(5000)])
        q.put("a")
        set_clock_forward(q, 2)
        assert "a" == q.get(timeout=10)
        assert (0, 0, 1) == q.stats()[:3]
        assert 50 <= q.stats().dead <= 60


def test_a_worker_ends_when_its_queue_is_shut_down(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        q.put_many(range(5))
        got: list[int] = []
        with q.worker(got.append, concurrency=2) as worker:
            q.shutdown()
            worker.wait()
        assert list(range(5)) == sorted(got)


def test_a_handler_of_the_other_family_is_refused(tmp_path: Path) -> None:
    """A coroutine that a thread does not await would be a job that is done without any work."""

    async def handle(item: Any) -> None:
        raise AssertionError(item)

    class Handler:
        async def __call__(self, item: Any) -> None:
            raise AssertionError(item)

    with JobQueue[str](tmp_path / "app.db") as q:
        q.put("a")
        for handler in (handle, partial(handle), Handler()):
            with pytest.raises(TypeError, match="async def"):
                q.worker(handler)
        assert 1 == q.qsize()
    with pytest.raises(TypeError, match="async def"):
        AsyncJobQueue[str](tmp_path / "app.db").worker(print)  # type: ignore[arg-type]


def test_a_worker_may_have_the_whole_job(open_jobs: Callable[..., Any]) -> None:
    with open_jobs() as q:
        q.put("a", headers={"h": "1"}, key="k")
        seen: list[Any] = []
        with q.worker(seen.append, whole_job=True):
            q.join()
        assert [("a", 1, "k", {"h": "1"})] == [
            (job.item, job.attempt, job.key, job.headers) for job in seen
        ]


def test_a_worker_goes_on_when_the_trouble_is_over(
    open_jobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a lock that is held for too long: jobs wait, and none is lost."""
    with open_jobs() as q:
        commit, failures = q._store.conn.commit, [OSError(28, "No space left on device")] * 2
        monkeypatch.setattr("persistqueue._core.work_tasks.PAUSE", 0.01)
        monkeypatch.setattr("persistqueue._core.work_threads.PAUSE", 0.01)
        q.put_many(range(5))

        def failing() -> None:
            if failures:
                raise failures.pop()
            commit()

        monkeypatch.setattr(q._store.conn, "commit", failing)
        got: list[int] = []
        with q.worker(got.append):
            until(lambda: len({*got}) == 5)
        assert not failures


@pytest.mark.parametrize("delay", range(12))
def test_a_cancelled_end_of_a_job_is_an_end(tmp_path: Path, delay: int) -> None:
    """Or none: the job is gone, delayed or dead, or ready again; and held by no caller."""

    async def life() -> None:
        async with AsyncJobQueue[str](tmp_path / "app.db", durability="process") as q:
            for way in ("ack", "retry", "fail"):
                await q.put(way)

                async def end(way: str) -> None:
                    async with q.job() as job:
                        await getattr(job, way)()

                task = asyncio.ensure_future(end(way))
                for _ in range(delay):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                stats = await q.stats()
                assert 0 == stats.held
                assert stats.ready + stats.delayed + stats.dead <= 1
                for number in range(1, 9):
                    await q.cancel(number)
                await q.dead.purge()

    asyncio.run(life())


def test_a_worker_of_a_closed_queue_is_an_error(open_jobs: Callable[..., Any]) -> None:
    q = open_jobs()
    q.close()
    with pytest.raises(QueueClosed), q.worker(print):
        pass
