"""What both brokers promise, on files and in memory."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from brokers import BROKERS
from waiting import Call, until

from persistqueue import (
    Broker,
    BrokerConfig,
    Empty,
    FormatError,
    ItemTooLarge,
    NoSuchQueue,
    PersistQueueError,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SerializationError,
    SQLiteQueue,
)
from persistqueue.serializers import json as json_serializer
from persistqueue.testing import waiting_calls

Open = Callable[..., Any]


@pytest.fixture(params=sorted(BROKERS))
def opens(request: pytest.FixtureRequest) -> Open:
    return BROKERS[request.param]


@pytest.fixture(params=["AsyncBroker", "Broker", "in memory"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "in memory":
        with BROKERS["AsyncBroker"](":memory:") as broker:
            yield broker
    else:
        with BROKERS[request.param](tmp_path / "app.db") as broker:
            yield broker


@pytest.fixture
def stored(opens: Open, tmp_path: Path) -> Iterator[Any]:
    """A broker on the file app.db."""
    with opens(tmp_path / "app.db") as broker:
        yield broker


def shape(broker: Any) -> dict[str, tuple[int, int]]:
    return {queue.name: (queue.waiting, queue.held) for queue in broker.list_queues()}


# -- items ------------------------------------------------------------------------------


def test_items_come_in_the_order_in_which_they_were_written(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write({"n": 1})
    tasks.write_many([2, None, "three"])
    assert [{"n": 1}, 2, None, "three"] == tasks.read_all()
    assert tasks.read() is None
    assert [] == tasks.read_all()


def start_of(path: Path) -> int:
    """Return where the page with the rows of the queue "q" begins."""
    find = "SELECT rootpage FROM sqlite_master WHERE name = 'queue_q'"
    with closing(sqlite3.connect(path)) as connection:
        page: int = connection.execute(find).fetchone()[0]
    return (page - 1) * 4096


def damage(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(data)


def ids_in(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT _id FROM queue_q ORDER BY _id")]


def process_one(queue: Any, _: Any) -> None:
    with queue.process(block=False):
        pass


def stream_one(queue: Any, _: Any) -> None:
    with queue.stream(commit_interval=2) as items:
        next(iter(items))


@pytest.mark.parametrize(
    "take",
    [
        lambda queue, _: queue.get(block=False),
        lambda queue, _: queue.read_all(),
        lambda queue, _: queue.get_many(2),
        lambda queue, _: queue.read(since=0),
        process_one,
        stream_one,
        lambda queue, _: queue.move_to("other"),
        lambda _, broker: broker.transact(lambda tx: tx.queue("q").read()),
    ],
    ids=["get", "read_all", "get_many", "since", "process", "stream", "move_to", "transact"],
)
def test_a_row_that_is_not_found_where_it_was_read(take: Any, opens: Open, tmp_path: Path) -> None:
    """Nothing of the call happens: the same item would come for ever."""
    path = tmp_path / "app.db"
    with opens(path) as broker:
        broker.queue("q").write_many(range(4))
    damage(path, start_of(path) + 3, 1)  # how many rows are in the page, which is searched by it
    left = ids_in(path)
    with opens(path) as broker:
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match="not found where it was read"):
                take(broker.queue("q"), broker)
        assert broker.queue("other").empty()
        assert [0] == [queue.held for queue in broker.list_queues() if queue.name == "q"]
    assert left == ids_in(path)


def test_rows_in_a_wrong_order_are_not_deleted_unread(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with opens(path) as broker:
        broker.queue("q").write_many(range(4))
    start = start_of(path)
    second = int.from_bytes(path.read_bytes()[start + 10 : start + 12], "big")
    damage(path, start + second + 1, 16)  # behind its length: its id
    left = ids_in(path)
    assert [1, 18, 3, 4] == left
    with opens(path) as broker:
        with pytest.raises(QueueCorrupt, match="not found where it was read"):
            broker.queue("q").get_many(2)
        broker.queue("other").write("stored all the same")
    assert left == ids_in(path)


def test_ids_ascend_over_all_queues(broker: Any) -> None:
    a, b = broker.queue("a"), broker.queue("b")
    ids = [a.write(1), b.write(2), *a.write_many([3, 4]), *broker.broadcast(5).values()]
    assert sorted(set(ids)) == ids
    a.read_all()
    b.purge()
    assert a.write(6) > max(ids)


def test_ids_go_on_after_everything_was_taken_and_closed(opens: Open, tmp_path: Path) -> None:
    with opens(tmp_path / "app.db") as broker:
        last = broker.queue("a").write(1)
        broker.delete("a")
    with opens(tmp_path / "app.db") as broker:
        assert broker.queue("b").write(2) > last


def test_looking_takes_nothing(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many("abc")
    assert ("a", "a", list("abc")) == (
        tasks.read(peek=True),
        tasks.peek(),
        tasks.read_all(peek=True),
    )
    with tasks.stream(peek=True) as stream:
        assert list("abc") == list(stream)
    assert 3 == tasks.size()


def test_reading_what_was_written_since_then(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many("abcde")
    for number, when in enumerate((10, 30, 20, 40, 50), 1):  # the clock was set back
        broker.transact(
            lambda tx, number=number, when=when: tx.execute(
                "UPDATE queue_tasks SET timestamp = ? WHERE _id = ?", (when, number)
            )
        )
    assert "b" == tasks.read(peek=True, since=30)
    assert "b" == tasks.read(since=30)
    assert ["d", "e"] == tasks.read_all(peek=True, since=21)
    assert ["d", "e"] == tasks.read_all(since=21)
    assert tasks.read(since=21) is None
    assert tasks.read(peek=True, since=21) is None
    assert ["a", "c"] == tasks.read_all(since=None)
    for wrong, error in (("now", TypeError), (True, TypeError), (float("nan"), ValueError)):
        with pytest.raises(error, match="since must be seconds"):
            tasks.read(since=wrong)
        with pytest.raises(error, match="until must be seconds"):
            tasks.browse(until=wrong)


def test_an_empty_queue(broker: Any) -> None:
    nothing = broker.queue("nothing")
    assert nothing.read(peek=True) is None
    for call in (nothing.peek, nothing.get_nowait, lambda: nothing.get(timeout=0)):
        with pytest.raises(Empty):
            call()
    assert (0, [], []) == (nothing.size(), nothing.browse(), broker.list_queues())


def test_get_takes_an_item_by_its_id(broker: Any) -> None:
    tasks = broker.queue("tasks")
    ids = tasks.write_many("abc")
    assert "b" == tasks.get(id=ids[1])
    with pytest.raises(Empty):
        tasks.get(id=ids[1])
    assert ["a", "c"] == tasks.get_many(9)


def test_pages_are_found_by_key(broker: Any) -> None:
    tasks = broker.queue("tasks")
    ids = tasks.write_many(range(10))
    first = tasks.browse(limit=4)
    second = tasks.browse(limit=4, after=first[-1].id)
    assert ids[:8] == [message.id for message in first + second]
    assert [7, 8] == [m.item for m in tasks.browse(after=ids[6], before=ids[9])]
    written = first[0].timestamp
    assert 10 == len(tasks.browse(since=written, until=written + 1))
    assert [] == tasks.browse(since=written + 1)


def test_a_get_waits_for_its_own_queue(broker: Any) -> None:
    """What is written elsewhere is not for it, and does not wake others in its place."""
    calls = {name: Call(broker.queue(name).get) for name in "abc"}
    until(lambda: waiting_calls(broker).gets == 3, "three waiting gets")
    for name in "cab":
        broker.queue(name).write(name)
        assert name == calls[name].outcome()


def test_what_is_finished_is_forgotten(broker: Any) -> None:
    """Streams and blocks leave nothing in memory."""
    tasks = broker.queue("tasks")
    tasks.write_many(range(10))
    with tasks.stream(commit_interval=3) as stream:
        assert 10 == len(list(stream))
    tasks.put("a")
    with tasks.process():
        pass
    tasks.put_nowait("b")
    assert "b" == tasks.get()
    inner = broker._queue if hasattr(broker, "_queue") else broker
    assert (0, 0) == (len(inner._session.inflight._held), len(inner._store._out))


def test_all_who_wait_are_served_in_the_order_of_their_coming(broker: Any) -> None:
    tasks = broker.queue("tasks")
    calls = []
    for number in range(4):
        calls.append(Call(tasks.get))
        until(lambda: waiting_calls(broker).gets == number + 1)  # noqa: B023
    tasks.write_many(range(4))
    assert [0, 1, 2, 3] == [call.outcome() for call in calls]


# -- finishing --------------------------------------------------------------------------


def test_a_block_finishes_its_item_or_gives_it_back(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many("ab")
    with pytest.raises(ZeroDivisionError), tasks.process() as item:
        raise ZeroDivisionError(item, shape(broker))
    assert {"tasks": (2, 0)} == shape(broker)
    assert "b" == tasks.read()
    with tasks.process() as item:
        assert "a" == item
    assert {"tasks": (0, 0)} == shape(broker)


@pytest.mark.parametrize("interval", [1, 2, 3, 7, 100])
def test_a_stream_gives_everything_once(broker: Any, interval: int) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many(range(20))
    with tasks.stream(commit_interval=interval) as stream:
        assert list(range(20)) == list(stream)
    assert {"tasks": (0, 0)} == shape(broker)


def test_leaving_a_stream_gives_back_what_the_body_has_not_got_through_with(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many(range(10))
    with tasks.stream(commit_interval=4) as stream:
        for item in stream:
            if item == 5:
                break
    assert {"tasks": (5, 0)} == shape(broker)
    assert [5, 6, 7, 8, 9] == tasks.read_all()


def test_the_body_of_a_stream_may_do_what_it_likes(broker: Any) -> None:
    """No lock and no transaction is held, and nothing is poisoned afterwards."""
    tasks, done, dead = (broker.queue(name) for name in ("tasks", "done", "dead"))
    tasks.write_many(range(10))
    with tasks.stream(commit_interval=50) as stream:
        for item in stream:
            (dead if item % 3 == 0 else done).write(item)
            assert Call(done.size).outcome() == done.size()
            if item == 1:
                assert 0 == dead.read()
                assert done.move_to("moved") is not None
            if item == 8:
                break
    assert {"tasks": (2, 0), "done": (5, 0), "dead": (2, 0), "moved": (1, 0)} == shape(broker)
    assert tasks.write("more")
    assert [8, 9, "more"] == tasks.read_all()


def test_nobody_else_gets_what_a_stream_holds(stored: Any, opens: Open, tmp_path: Path) -> None:
    tasks = stored.queue("tasks")
    tasks.write_many(range(6))
    with (
        opens(tmp_path / "app.db") as other,
        SQLiteQueue(tmp_path / "app.db", name="tasks") as plain,
        tasks.stream(commit_interval=4) as stream,
    ):
        assert 0 == next(stream)
        assert 4 == other.queue("tasks").read()
        assert 5 == plain.get()
        assert other.queue("tasks").read() is None
        assert [1, 2, 3] == list(stream)


def test_closing_gives_back_what_is_held(opens: Open, tmp_path: Path) -> None:
    """What the body was through with is finished all the same."""
    broker = opens(tmp_path / "app.db")
    broker.queue("tasks").write_many(range(5))
    with broker.queue("tasks").stream(commit_interval=5) as stream:
        assert [0, 1, 2] == [next(stream) for _ in range(3)]
        broker.close()
    with opens(tmp_path / "app.db") as again:
        assert [2, 3, 4] == again.queue("tasks").read_all()


def test_streams_that_share_a_queue_share_its_items(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write_many(range(12))
    with tasks.stream(commit_interval=3) as one, tasks.stream(commit_interval=3) as other:
        seen = [next(stream) for _ in range(5) for stream in (one, other)]
    assert [0, 3, 1, 4, 2, 5, 6, 9, 7, 10] == seen
    assert [7, 8, 10, 11] == tasks.read_all()  # what was in hand, and behind it


def test_a_stream_ends_with_its_broker_and_gives_out_nothing_that_was_given_back(
    opens: Open, tmp_path: Path
) -> None:
    """It says so: a loop that ends has seen everything."""
    broker, got = opens(tmp_path / "app.db"), []
    broker.queue("tasks").write_many(range(6))
    with broker.queue("tasks").stream(commit_interval=4) as stream:
        got += [next(stream), next(stream)]
        broker.close()
        with pytest.raises(QueueClosed):
            next(stream)
    for interval, peeks in ((1, False), (2, False), (1, True)):
        with broker.queue("tasks").stream(interval, peek=peeks) as stream:
            with pytest.raises(QueueClosed):
                next(stream)
    with opens(tmp_path / "app.db") as again:
        assert ([0, 1], [1, 2, 3, 4, 5]) == (got, again.queue("tasks").read_all())


@pytest.mark.parametrize("interval", [1, 2])
def test_a_stream_is_for_one_thread_at_a_time(tmp_path: Path, interval: int) -> None:
    with Broker(tmp_path / "app.db") as broker:
        tasks = broker.queue("tasks")
        stream = tasks.stream(commit_interval=interval, follow=True)
        call = Call(next, stream)
        until(lambda: waiting_calls(broker).parked)
        with pytest.raises(RuntimeError, match=r"stream\(\) for each"):
            Call(next, stream).outcome()
        tasks.write("a")
        assert "a" == call.outcome()
        tasks.write("b")
        assert "b" == next(stream)


@pytest.mark.parametrize("interval", [1, 2])
def test_a_stream_that_raised_may_be_asked_again(tmp_path: Path, interval: int) -> None:
    broker = Broker(tmp_path / "app.db")
    tasks = broker.queue("tasks")
    tasks.write_many("ab")
    with broker, tasks.stream(commit_interval=interval) as stream:
        assert ["a", "b"] == [next(stream), next(stream)]
        tasks.write("c")
        broker.transact(lambda tx: tx.execute("UPDATE queue_tasks SET data = x'00ff'"))
        for _ in range(3):
            with pytest.raises(QueueCorrupt):
                next(stream)
        tasks.purge()
        tasks.write_many("de")
        assert ["d", "e"] == list(stream)
        assert [] == list(stream)
        assert {"tasks": (0, 0)} == shape(broker)


def test_what_a_body_is_through_with_stays_finished_when_the_next_are_damaged(
    tmp_path: Path,
) -> None:
    broker = Broker(tmp_path / "app.db")
    tasks = broker.queue("tasks")
    tasks.write_many("ab")
    stream = tasks.stream(commit_interval=2)
    assert ["a", "b"] == [next(stream), next(stream)]
    tasks.write("c")
    broker.transact(lambda tx: tx.execute("UPDATE queue_tasks SET data = x'00ff'"))
    with pytest.raises(QueueCorrupt):
        next(stream)
    tasks.purge()
    broker.close()
    with Broker(tmp_path / "app.db") as again:
        assert [] == again.queue("tasks").read_all()


def test_a_stream_that_follows_waits_until_the_broker_is_closed(
    opens: Open, tmp_path: Path
) -> None:
    broker = opens(tmp_path / "app.db")
    seen: list[int] = []

    def follow() -> None:
        with broker.queue("tasks").stream(commit_interval=2, follow=True) as stream:
            seen.extend(stream)

    call = Call(follow)
    for number in range(5):
        broker.queue("tasks").write(number)
        until(lambda: len(seen) > number)  # noqa: B023
    broker.close()
    call.outcome()
    assert [0, 1, 2, 3, 4] == seen


# -- across queues ----------------------------------------------------------------------


def test_an_item_that_is_moved_keeps_its_id(broker: Any) -> None:
    tasks = broker.queue("tasks")
    ids = tasks.write_many("abcd")
    assert ids[1] == tasks.move_to("failed", ids[1])
    assert ids[0] == broker.move("tasks", "failed")
    assert ids[2:] == tasks.move_to("failed", limit=9)
    assert tasks.move_to("failed") is None
    assert [] == tasks.move_to("failed", limit=2)
    assert tasks.move_to("failed", 10**30) is None
    assert list("abcd") == broker.queue("failed").read_all()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_the_end_of_a_block_whose_item_was_taken_over(
    opens: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, fails: bool, again: bool
) -> None:
    """It changes nothing, and a warning says so, also when the same broker has the item again."""
    with opens(tmp_path) as a, opens(tmp_path) as b:
        a.queue("q").put("x")
        taker = (a if again else b).queue("q")
        with pytest.raises(KeyError) if fails else nullcontext(), a.queue("q").process(timeout=0):
            b.vacuum(force=True)
            second = taker.process(timeout=5)
            assert "x" == second.__enter__()
            if fails:
                raise KeyError
        assert "taken over" in caplog.text
        caplog.clear()
        assert 1 == b.list_queues()[0].held
        second.__exit__(None, None, None)
        assert (0, 0) == (b.list_queues()[0].held, taker.qsize())
        assert "" == caplog.text


def test_an_item_whose_id_is_taken_gets_a_new_one(stored: Any, tmp_path: Path) -> None:
    """Ids of other programs' queues are their own."""
    with (
        SQLiteQueue(tmp_path / "app.db", name="a") as a,
        SQLiteQueue(tmp_path / "app.db", name="b") as b,
    ):
        assert a.put("in a") == b.put("in b")
    moved = stored.queue("a").move_to("b")
    assert [("in b", 1), ("in a", moved)] == [(m.item, m.id) for m in stored.queue("b").browse()]


def test_moving_makes_sense_or_is_refused(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write("a")
    for call in (
        lambda: tasks.move_to("Tasks"),
        lambda: tasks.move_to("b", 1, 2),
        lambda: tasks.move_to("b", limit=0),
    ):
        with pytest.raises(ValueError, match=r"one queue|one of the two|at least 1"):
            call()
    with pytest.raises(TypeError):
        tasks.move_to("b", "1")
    assert {"tasks": (1, 0)} == shape(broker)


def test_a_broadcast_goes_to_all_or_to_none(broker: Any) -> None:
    for name in ("worker.1", "worker.2", "other"):
        broker.queue(name).write(0)
    assert {"worker.1", "worker.2"} == set(broker.broadcast("stop", pattern="worker.*"))
    assert {"worker.1", "worker.2", "other"} == set(broker.broadcast("all"))
    with pytest.raises(NoSuchQueue, match="new"):
        broker.broadcast("x", queues=["other", "new"])
    assert ["new", "other"] == sorted(broker.broadcast("x", queues=["other", "new"], create=True))
    assert {"worker.1": (3, 0), "worker.2": (3, 0), "other": (3, 0), "new": (1, 0)} == shape(broker)
    with pytest.raises(ValueError, match="one of the two"):
        broker.broadcast("x", pattern="*", queues=["other"])
    with pytest.raises(TypeError, match="not one str"):
        broker.broadcast("x", queues="other")


def test_queues_are_renamed_and_deleted(broker: Any) -> None:
    old = broker.queue("old")
    old.write_many("abc")
    broker.rename("old", "new")
    assert 0 == old.size()
    new = broker.queue("new")
    assert "a" == new.read()
    new.write("d")
    assert {"new": (3, 0)} == shape(broker)
    with pytest.raises(NoSuchQueue, match="'old'"):
        broker.rename("old", "x")
    old.write("again")
    with pytest.raises(ValueError, match="already"):
        broker.rename("old", "new")
    broker.rename("new", "NEW")
    assert {"NEW": (3, 0), "old": (1, 0)} == shape(broker)
    assert (3, 0, 0) == (broker.delete("new"), broker.delete("new"), new.size())
    assert {"old": (1, 0)} == shape(broker)
    assert new.write("and again")


def test_what_is_held_goes_back_to_its_queue_whatever_that_is_named_by_then(broker: Any) -> None:
    broker.queue("old").write_many("abc")
    with broker.queue("old").stream(commit_interval=2) as stream:
        assert "a" == next(stream)
        broker.rename("old", "new")
    assert {"new": (3, 0)} == shape(broker)
    with broker.queue("new").stream(commit_interval=2) as stream:
        assert "a" == next(stream)
        broker.delete("new")
    assert {} == shape(broker)


def test_items_are_deleted_by_their_ids(broker: Any) -> None:
    tasks = broker.queue("tasks")
    ids = tasks.write_many("abcd")
    assert (2, 0, 1) == (tasks.delete(ids[:2]), tasks.delete(ids[0]), tasks.delete([ids[3], 99999]))
    assert "c" == tasks.read()
    tasks.write_many("ef")
    assert (2, 0) == (tasks.purge(), tasks.size())


def test_lists_and_numbers(broker: Any) -> None:
    broker.queue("a.1").write_many(range(3))
    broker.queue("b").write(1)
    broker.queue("b").read()
    (first,) = broker.list_queues("a.*")
    assert ("a.1", 3, 0) == first[:3]
    assert 0 <= first.oldest_age < 60
    stats = broker.stats()
    assert (2, 3, 0) == stats[:3]
    assert broker.list_queues("b")[0].oldest_age is None


# -- transactions -----------------------------------------------------------------------


def test_a_transaction_is_one_commit_with_tables_of_ones_own(broker: Any) -> None:
    def order(tx: Any) -> int:
        tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
        tx.execute("INSERT INTO orders (what) VALUES (?)", ("tea",))
        tx.queue("mail").write_many(["a", "b", "c"])
        assert "a" == tx.queue("mail").read()
        tx.queue("mail").move_to("sent")
        assert ["c"] == tx.queue("mail").read_many(9)
        assert (0, 1) == (tx.queue("mail").size(), tx.queue("sent").size())
        return tx.execute("SELECT count(*) FROM orders")[0][0]

    assert 1 == broker.transact(order)
    assert {"mail": (0, 0), "sent": (1, 0)} == shape(broker)


def test_what_a_transaction_raises_undoes_it(broker: Any) -> None:
    tasks = broker.queue("tasks")
    tasks.write("a")

    def fails(tx: Any) -> None:
        tx.execute("CREATE TABLE orders (id)")
        tx.queue("tasks").read()
        tx.queue("new").write(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broker.transact(fails)
    assert {"tasks": (1, 0)} == shape(broker)
    with pytest.raises(PersistQueueError, match="orders"):
        broker.transact(lambda tx: tx.execute("SELECT * FROM orders"))
    assert broker.queue("new").write(2) > 1
    assert "a" == tasks.read()


def test_a_function_that_exits_is_undone_and_takes_nobody_with_it(tmp_path: Path) -> None:
    with Broker(tmp_path / "app.db") as broker:
        inside, go = threading.Event(), threading.Event()

        def holds_up(tx: Any) -> None:
            inside.set()
            assert go.wait(10)

        def exits(tx: Any) -> None:
            tx.queue("tasks").write("undone")
            sys.exit("enough")

        first = Call(broker.transact, holds_up)
        assert inside.wait(10)
        others = [Call(broker.queue("tasks").write, number) for number in range(4)]
        exiting = Call(broker.transact, exits)
        until(lambda: waiting_calls(broker).next == 5)
        go.set()
        with pytest.raises(SystemExit, match="enough"):
            exiting.outcome()
        assert first.outcome() is None
        assert 4 == len({other.outcome() for other in others})
        assert [0, 1, 2, 3] == sorted(broker.queue("tasks").read_all())


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT", " begin", "-- x\n/* y */ ROLLBACK", "SELECT 1; SELECT 2", "nonsense",
        "PRAGMA query_only = 1", "pragma/* */main . synchronous=OFF", "PRAGMA", "-- x\nPRAGMA 'a'",
        "SAVEPOINT a", "ATTACH ':memory:' AS b", "EXPLAIN COMMIT", "SELECT * FROM pragma_wal_checkpoint",
    ],
)  # fmt: skip
def test_what_cannot_run_inside_a_transaction(broker: Any, statement: str) -> None:
    broker.queue("tasks").write("a")

    def tries(tx: Any) -> None:
        tx.queue("tasks").read()
        tx.execute(statement)

    with pytest.raises((ValueError, PersistQueueError)):
        broker.transact(tries)
    assert {"tasks": (1, 0)} == shape(broker)


@pytest.mark.parametrize(
    "statement", ["PRAGMA table_info(orders)", "pragma main.table_info ( orders )"]
)
def test_a_transaction_may_look_at_tables(broker: Any, statement: str) -> None:
    def looks(tx: Any) -> Any:
        tx.execute("CREATE TABLE orders (what TEXT)")
        return tx.execute(statement)

    assert ["what"] == [row[1] for row in broker.transact(looks)]


def test_a_transaction_is_over_when_its_function_is(broker: Any) -> None:
    kept = []
    broker.transact(kept.append)
    with pytest.raises(RuntimeError, match="over"):
        kept[0].queue("a")

    async def coroutine(tx: Any) -> None: ...

    with pytest.raises(TypeError, match="ordinary function"):
        broker.transact(coroutine)
    with pytest.raises(TypeError, match="ordinary function"):
        broker.transact(lambda tx: (tx.queue("a").write(1), coroutine(tx))[1])
    assert {} == shape(broker)


def test_an_id_that_leaves_none_above_it_spoils_its_own_queue_only(broker: Any) -> None:
    broker.queue("tasks").write("a")
    broker.transact(lambda tx: tx.execute("UPDATE queue_tasks SET _id = ?", (2**63 - 1,)))
    for _ in range(2):
        with pytest.raises(PersistQueueError, match="queue_tasks has a row with the id"):
            broker.queue("tasks").write("b")
        broker.queue("other").write("c")
    assert "a" == broker.queue("tasks").read()
    broker.queue("tasks").write("d")
    assert ["d"] == broker.queue("tasks").read_all()
    assert {"tasks": (0, 0), "other": (2, 0)} == shape(broker)


# -- what can be stored -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "a b", "ä", 'quo"te', "semi;colon", "x" * 600, "a.b-c"])
def test_any_text_names_a_queue(broker: Any, name: str) -> None:
    queue = broker.queue(name)
    queue.write(name)
    assert [name] == [info.name for info in broker.list_queues()]
    assert [name] == queue.read_all()


@pytest.mark.parametrize(
    ("name", "error"), [("nul\0", ValueError), ("\ud800", ValueError), (3, TypeError)]
)
def test_what_cannot_name_a_queue(broker: Any, name: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        broker.queue(name)


def test_an_item_that_cannot_be_stored_changes_nothing(opens: Open, tmp_path: Path) -> None:
    with opens(tmp_path / "app.db", max_item_bytes=1000) as broker:
        tasks = broker.queue("tasks")
        with pytest.raises(SerializationError):
            tasks.write_many([1, lambda: None])
        with pytest.raises(ItemTooLarge, match="1000"):
            tasks.write("x" * 1001)
        with pytest.raises(ItemTooLarge):
            broker.transact(lambda tx: (tx.queue("a").write(1), tx.queue("a").write("x" * 1001)))
        assert [] == broker.list_queues()


def test_a_damaged_row_is_reported_and_can_be_skipped(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with opens(path) as broker:
        broker.queue("tasks").write_many("abc")
        connection = sqlite3.connect(path)
        connection.execute("UPDATE queue_tasks SET data = X'00ff' WHERE _id = 2")
        connection.commit()
        connection.close()
        tasks = broker.queue("tasks")
        with tasks.stream(commit_interval=3) as stream:
            assert "a" == next(stream)
            with pytest.raises(QueueCorrupt, match=r"queue_tasks, record 2.*skip"):
                next(stream)
        with pytest.raises(QueueCorrupt):
            tasks.read()
        with pytest.raises(QueueCorrupt):
            tasks.browse()
    with opens(path, on_corrupt="skip") as broker:
        assert ["c"] == broker.queue("tasks").read_all()
        assert (1, {"tasks": (0, 0)}) == (broker.skipped, shape(broker))


def test_a_closed_broker_says_so(opens: Open, tmp_path: Path) -> None:
    broker = opens(tmp_path / "app.db")
    tasks = broker.queue("tasks")
    call = Call(tasks.get)
    until(lambda: waiting_calls(broker).gets)
    broker.close()
    broker.close()
    for refused in (
        call.outcome,
        lambda: tasks.write(1),
        tasks.read,
        tasks.size,
        broker.list_queues,
    ):
        with pytest.raises(QueueClosed):
            refused()


def test_a_file_that_is_no_database_is_left_alone(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(FormatError, match="not an SQLite database"):
        opens(path)
    assert b"no database" * 100 == path.read_bytes()


def test_a_database_that_somebody_holds_is_tried_again_and_then_said_to_be(
    opens: Open, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    with opens(path, timeout=0.1) as broker:
        broker.queue("a").write(1)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueLocked):
            broker.queue("a").write(2)
        assert 1 == broker.queue("a").size()  # who looks waits for nobody
        with pytest.raises(QueueLocked):
            opens(path, timeout=0.1)
        holder.execute("ROLLBACK")
        holder.close()
        broker.queue("a").write(3)
        assert [1, 3] == broker.queue("a").read_all()


def test_a_newer_format_is_refused(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE persistqueue_format (version); INSERT INTO persistqueue_format VALUES (2)"
    )
    connection.close()
    with pytest.raises(FormatError, match="newer version"):
        opens(path)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed")
def test_a_database_that_was_removed_is_not_written_to(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with opens(path) as broker:
        broker.queue("a").write(1)
        for file in tmp_path.glob("app.db*"):
            file.unlink()
        for call in (lambda: broker.queue("a").write(2), broker.queue("a").size):
            with pytest.raises(QueueFailed, match="removed"):
                call()
    assert not path.exists()


# -- one format -------------------------------------------------------------------------


def test_plain_queues_and_the_broker_share_tables(opens: Open, tmp_path: Path) -> None:
    """Counts are right whoever writes, before the broker came and while it is there."""
    path = tmp_path / "app.db"
    path.touch()
    with SQLiteQueue(path, name="jobs") as plain:
        plain.put_many(range(5))
        with opens(path) as broker:
            jobs = broker.queue("jobs")
            assert (5, {"jobs": (5, 0)}) == (jobs.size(), shape(broker))
            assert 0 == jobs.read()
            plain.put(5)
            assert (1, 5) == (plain.get(), plain.qsize() + 1)
            assert {"jobs": (4, 0)} == shape(broker)
            assert jobs.write(6) > plain.put(7) - 2
            with SQLiteQueue(path, name="late") as late:
                late.put("x")
                assert {"jobs": (6, 0), "late": (1, 0)} == shape(broker)
            assert [2, 3, 4, 5, 6, 7] == plain.get_many(9)
            assert "x" == broker.queue("late").read()


def test_a_table_that_somebody_dropped_is_noticed(opens: Open, tmp_path: Path) -> None:
    """Counts are right whether or not it is made anew, and the name can be used again."""
    with opens(tmp_path / "app.db") as broker:
        for name in ("again", "gone"):
            broker.queue(name).write_many(range(3))
        with closing(sqlite3.connect(tmp_path / "app.db")) as other:
            other.execute("DROP TABLE queue_gone")
            other.execute("DROP TABLE queue_again")
        with SQLiteQueue(tmp_path / "app.db", name="again") as plain:
            plain.put("a")
            with pytest.raises(QueueCorrupt):
                broker.queue("gone").write(1)
            assert {"again": (1, 0)} == shape(broker)
            plain.put("b")
            assert ["a", "b"] == broker.queue("again").read_all()
        broker.queue("gone").write(1)
        assert {"again": (0, 0), "gone": (1, 0)} == shape(broker)


def test_tables_that_are_not_queues_are_left_alone(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE queue_mine (a, b)")
    connection.commit()
    connection.close()
    with opens(path) as broker:
        assert [] == broker.list_queues()
        assert broker.queue("mine").read() is None
        with pytest.raises(FormatError, match="queue_mine"):
            broker.queue("mine").write(1)


def test_upkeep_gives_space_back(opens: Open, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with opens(path) as broker:
        big = broker.queue("big")
        big.write_many(["x" * 1000] * 2000)
        big.purge()
        small = broker.queue("small")
        for _ in range(3):
            small.write_many(range(100))
        broker.vacuum()
    assert path.stat().st_size < 1_000_000
    with opens(path) as broker:
        broker.queue("big").write_many(["x" * 1000] * 2000)
        broker.queue("big").purge()
        broker.vacuum(compact=True)
    assert path.stat().st_size < 1_000_000


def test_names_of_one_queue_get_a_broadcast_once(broker: Any) -> None:
    assert {"a": 1, "b": 2} == broker.broadcast("x", queues=["a", "A", "b", "a"], create=True)
    assert ["x"] == broker.queue("A").read_all()


@pytest.mark.parametrize("pattern", [5, b"a*", ["a"]])
def test_a_pattern_is_text(pattern: Any, broker: Any) -> None:
    broker.queue("a").write(1)
    out = io.StringIO()
    for call in (
        lambda: broker.list_queues(pattern),
        lambda: broker.broadcast(1, pattern=pattern),
        lambda: broker.dump(out, pattern),
    ):
        with pytest.raises(TypeError, match="pattern must be a str"):
            call()
    assert "" == out.getvalue()


# -- dumps ------------------------------------------------------------------------------


def test_a_dump_brings_everything_back(opens: Open, tmp_path: Path) -> None:
    items = ["text", "", "zwei\nZeilen ü", {"a": (1, 2)}, None, b"\x00\xff", "\ud800"]
    with opens(tmp_path / "app.db") as broker:
        broker.queue("a").write_many(items)
        broker.queue("b").write_many(range(2500))
        broker.queue("left out").write(1)
        assert len(items) + 2500 == broker.dump(tmp_path / "dump", pattern="?")
    with opens(tmp_path / "other.db") as other:
        assert len(items) + 2500 == other.load(tmp_path / "dump")
        assert items == other.queue("a").read_all()
        assert list(range(2500)) == other.queue("b").read_all()
        with pytest.raises(FormatError, match="line 3000"):
            other.load(io.StringIO((tmp_path / "dump").read_text() + "\n" * 491 + "{"))
        with pytest.raises(FormatError, match="line 1 of the dump"):
            other.load(io.StringIO('{"type": "message"}'))
        with pytest.raises(FormatError, match="empty"):
            other.load(io.StringIO(""))
    with opens(tmp_path / "json.db", serializer=json_serializer) as other:
        with pytest.raises(FormatError, match="serializer"):
            other.load(tmp_path / "dump")


class _Meanwhile(io.StringIO):
    """A file in which something happens to the queues behind the first thousand items."""

    def __init__(self, happens: Callable[[], Any]) -> None:
        super().__init__()
        self._happens = happens

    def write(self, text: str) -> int:
        if text.count("\n") == 1000:
            self._happens()
        return super().write(text)


def test_a_dump_shows_one_moment(opens: Open, tmp_path: Path) -> None:
    """What moves while it is written is in it once, where it was."""
    path = tmp_path / "app.db"
    with opens(path) as broker, Broker(path) as other:
        broker.queue("a").write_many(range(1500))
        broker.queue("c").write("moves back")
        broker.queue("d").write("moves on")

        def happens() -> None:
            other.move("c", "a", limit=1)
            other.move("a", "z", limit=1200)
            other.move("d", "z")
            other.queue("a").write("new")
            other.rename("a", "another")

        out = _Meanwhile(happens)
        assert 1502 == broker.dump(out)
    _, *lines = map(json.loads, out.getvalue().splitlines())
    assert ["a"] * 1500 + ["c", "d"] == [line["queue"] for line in lines]


def test_a_dump_whose_broker_is_closed_says_so(opens: Open, tmp_path: Path) -> None:
    broker = opens(tmp_path / "app.db")
    broker.queue("a").write_many(range(2000))
    with pytest.raises(QueueClosed):
        broker.dump(_Meanwhile(broker.close))


def test_a_dump_in_memory_is_whole(opens: Open) -> None:
    with opens(":memory:") as broker:
        broker.queue("a").write_many("abc")
        out = io.StringIO()
        assert 3 == broker.dump(out)
        assert 3 == broker.load(io.StringIO(out.getvalue()))
        assert list("abcabc") == broker.queue("a").read_all()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('"encoding": 5', "line 2 of the dump: the item is encoded with 5"),
        ('"more": ' + "[" * 100_000, "line 2 of the dump"),
        ('"more": "\xff"', "not text in UTF-8"),
    ],
    ids=["encoding", "depth", "latin"],
)
def test_a_line_that_cannot_be_read_is_a_format_error(
    line: str, why: str, opens: Open, tmp_path: Path
) -> None:
    header = '{"type": "header", "format": "simplebroker-dump", "version": 1}\n'
    text = f'{header}{{"type": "message", "queue": "a", "body": "x", "id": "1", {line}}}\n'
    (tmp_path / "dump").write_bytes(text.encode("latin-1"))
    with opens(tmp_path / "app.db") as broker, pytest.raises(FormatError, match=why):
        broker.load(tmp_path / "dump")


def test_ids_of_a_dump_are_different_and_ascend_in_each_queue(opens: Open, tmp_path: Path) -> None:
    with opens(tmp_path / "app.db", serializer=json_serializer) as broker:
        broker.queue("a").write_many(["x"] * 50)
        broker.broadcast("y", queues=["a", "b", "c"], create=True)
        out = io.StringIO()
        broker.dump(out)
    header, *lines = map(json.loads, out.getvalue().splitlines())
    ids = [line["id"] for line in lines]
    assert {19} == {len(number) for number in ids}
    assert len(ids) == len(set(ids)) == 53
    assert sorted(ids[:51]) == ids[:51]
    assert max(ids) <= header["last_ts"]


def test_what_is_damaged_is_dumped_as_it_is(opens: Open, tmp_path: Path) -> None:
    with opens(tmp_path / "app.db") as broker:
        broker.queue("a").write_many("ab")
        broker.transact(lambda tx: tx.execute("UPDATE queue_a SET data = X'00ff' WHERE _id = 1"))
        assert 2 == broker.dump(tmp_path / "dump")
    with opens(tmp_path / "other.db", on_corrupt="skip") as other:
        other.load(tmp_path / "dump")
        assert (["b"], 1) == (other.queue("a").read_all(), other.skipped)


def test_many_queues_cost_one_nothing(opens: Open, tmp_path: Path) -> None:
    """SQLite looks for a table among all that count their rows; the busy ones stand in front."""
    with opens(tmp_path / "app.db") as broker:
        broker.transact(lambda tx: [tx.queue(f"q{n}").write(n) for n in range(200)])
        broker.queue("late").write(1)
        rows = broker.transact(
            lambda tx: tx.execute("SELECT name FROM sqlite_sequence ORDER BY rowid LIMIT 20")
        )
        assert ("queue_late",) in rows
        assert 201 == len(broker.list_queues())
    with opens(tmp_path / "app.db") as broker:
        assert 201 == broker.stats().waiting


# -- settings ---------------------------------------------------------------------------


def test_settings_come_from_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    assert BrokerConfig() == BrokerConfig.from_env({})
    found = BrokerConfig.from_env(
        {
            "BROKER_BUSY_TIMEOUT": "2500",
            "BROKER_CACHE_MB": "3",
            "BROKER_SYNC_MODE": "normal",
            "BROKER_AUTO_VACUUM": "0",
            "BROKER_AUTO_VACUUM_INTERVAL": "7",
            "BROKER_VACUUM_THRESHOLD": "50",
            "BROKER_MAX_MESSAGE_SIZE": "1024",
        }
    )
    assert BrokerConfig(2.5, 3, "process", False, 7, 50.0, 1024) == found
    assert [] == caplog.records


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BROKER_BUSY_TIMEOUT", "soon"),
        ("BROKER_CACHE_MB", "0"),
        ("BROKER_SYNC_MODE", "SOMETIMES"),
        ("BROKER_AUTO_VACUUM", "maybe"),
        ("BROKER_AUTO_VACUUM_INTERVAL", "-1"),
        ("BROKER_VACUUM_THRESHOLD", "nan"),
        ("BROKER_MAX_MESSAGE_SIZE", "1e6"),
    ],
)
def test_a_wrong_setting_is_a_warning_that_names_it(
    variable: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert BrokerConfig() == BrokerConfig.from_env({variable: value})
    assert [True] == [variable in record.message for record in caplog.records]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("timeout", "5"),
        ("timeout", None),
        ("timeout", True),
        ("vacuum_threshold", "10"),
        ("auto_vacuum", "0"),
        ("cache_mb", 1.5),
    ],
)
def test_a_setting_of_a_wrong_type_is_named(setting: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{setting} must be"):
        BrokerConfig(**{setting: value})


def test_settings_are_a_broker_config(opens: Open, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="config must be a BrokerConfig, not dict"):
        opens(tmp_path / "app.db", config={"timeout": 1})
