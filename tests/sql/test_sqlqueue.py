"""The SQLite queues: what they have and the file queue has not."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import Call, until

from persistqueue import (
    Empty,
    FIFOSQLiteQueue,
    FILOSQLiteQueue,
    FormatError,
    Full,
    ItemTooLarge,
    PDict,
    PriorityQueue,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SerializationError,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
    serializers,
)
from persistqueue.testing import waiting_calls

PLAIN = [FILOSQLiteQueue, PriorityQueue, SQLiteQueue, UniqueQ]
ALL = [*PLAIN, SQLiteAckQueue, UniqueAckQ]


def waiting(q: Any, number: int) -> None:
    """Wait until ``number`` calls are parked inside ``q``."""
    until(lambda: waiting_calls(q).parked == number)


def database(path: Path) -> sqlite3.Connection:
    """Open the database behind a queue's back; every statement commits."""
    return sqlite3.connect(path / "data.db", isolation_level=None)


@pytest.fixture
def behind(path: Path) -> Iterator[Callable[..., list[Any]]]:
    """Runs SQL on the database behind a queue's back."""
    opened: list[sqlite3.Connection] = []

    def run(statement: str, *values: Any) -> list[Any]:
        if not opened:
            opened.append(database(path))
        return opened[0].execute(statement, values).fetchall()

    yield run
    for connection in opened:
        connection.close()


def raise_after(_: Any) -> None:
    raise ZeroDivisionError


# -- ids and raw --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_put_returns_the_row_id(kind: Any, path: Path) -> None:
    """put returns 1, 2, 3; put_many the ids of its rows."""
    with kind(path) as q:
        assert [1, 2] == [q.put("a"), q.put("b")]
        assert [3, 4, 5] == q.put_many("cde")
        assert 6 == q.put_nowait("f")


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", PLAIN)
def test_get_by_id(kind: Any, path: Path, auto_commit: bool) -> None:
    """get(id=...) takes that row, given as a number, digits or a raw dict, and only once."""
    with kind(path, auto_commit=auto_commit) as q:
        q.put_many("abcd")
        assert "b" == q.get(id=2)
        assert "c" == q.get(id="3")
        assert "d" == q.get(id={"pqid": 4})
        for gone in (2, 99, 0, -1, 2**70):
            with pytest.raises(Empty):
                q.get(id=gone)
        assert 1 == q.qsize()
        assert "a" == q.get()
        assert q.empty()


@pytest.mark.parametrize("kind", ALL)
def test_an_id_is_never_pasted_into_sql(kind: Any, path: Path) -> None:
    """What is no id raises before it comes near the database."""
    with kind(path) as q:
        q.put("a")
        for wrong in ("1; DROP TABLE x", {"pqid": "1 OR 1"}, {"no": 1}):
            with pytest.raises(ValueError, match="id"):
                q.get(id=wrong)
        for wrong in (1.5, [1], {"pqid": None}, True):
            with pytest.raises(TypeError, match="id must be an int"):
                q.get(id=wrong)
        assert "a" == q.get()


@pytest.mark.parametrize("kind", ALL)
def test_raw_shows_the_row(kind: Any, path: Path) -> None:
    """get(raw=True) returns id, item and time; priority queues the priority."""
    with kind(path) as q:
        q.put({"n": 1})
        raw = q.get(raw=True)
        assert (1, {"n": 1}) == (raw["pqid"], raw["data"])
        assert 1.6e9 < raw["timestamp"] < 1e11
        assert (kind is PriorityQueue) == ("priority" in raw)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("auto_commit", [True, False])
def test_queue_lists_everything(kind: Any, path: Path, auto_commit: bool) -> None:
    """queue() lists what is stored in order of id, and takes nothing."""
    if kind in (SQLiteAckQueue, UniqueAckQ) and not auto_commit:
        pytest.skip("an ack queue always commits")
    with kind(path, auto_commit=auto_commit) as q:
        q.put_many("abc")
        assert [(1, "a"), (2, "b"), (3, "c")] == [(row["id"], row["data"]) for row in q.queue()]
        assert 3 == q.qsize()


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", PLAIN)
def test_update_replaces_an_item(kind: Any, path: Path, auto_commit: bool) -> None:
    """update by id or raw dict changes what get returns, also when it was read ahead."""
    with kind(path, auto_commit=auto_commit) as q:
        q.put_many("abc")
        q.peek()
        assert 2 == q.update("B", 2)
        assert 2 == q.update("B", id=2)
        assert 1 == q.update({"pqid": 1, "data": "A"})
        assert 99 == q.update("nobody", 99)
        assert {"A", "B", "c"} == set(q.get_many(9))
        with pytest.raises(ValueError, match="id"):
            q.update("x")


def test_update_to_an_equal_item_is_refused(path: Path) -> None:
    """A unique queue never holds an item twice, not by update either."""
    with UniqueQ(path) as q:
        q.put_many("ab")
        with pytest.raises(ValueError, match="equal"):
            q.update("a", 2)
        assert ["a", "b"] == q.get_many(9)


# -- order --------------------------------------------------------------------------


@pytest.mark.parametrize("auto_commit", [True, False])
def test_last_in_first_out(path: Path, auto_commit: bool) -> None:
    """A FILO queue hands out the newest, also what is put in between."""
    with FILOSQLiteQueue(path, auto_commit=auto_commit) as q:
        q.put_many("abc")
        assert "c" == q.get()
        q.put("d")
        assert ["d", "b", "a"] == q.get_many(9)


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_given_back_is_next(kind: Any, path: Path) -> None:
    """A process block that raises gives the item back to its place, in any order of queue."""
    for auto_commit in (True, False):
        with kind(path, name=str(auto_commit), auto_commit=auto_commit) as q:
            q.put_many("abc")
            first = q.peek()
            with pytest.raises(KeyboardInterrupt), q.process() as item:  # noqa: PT012 - the body is the case
                assert first == item
                raise KeyboardInterrupt  # no failure of the item, so it is not held back
            assert first == q.get()


def test_a_row_that_was_given_back_keeps_its_id_and_time(path: Path) -> None:
    """Giving back restores the row, not a copy with another id."""
    with SQLiteQueue(path) as q:
        q.put_many("ab")
        before = q.queue()
        with pytest.raises(ZeroDivisionError), q.process():
            raise ZeroDivisionError
        assert before == q.queue()


# -- auto_commit=False --------------------------------------------------------------


@pytest.mark.parametrize("kind", PLAIN)
def test_what_was_not_finished_comes_again(kind: Any, path: Path) -> None:
    """Without auto_commit a get deletes nothing; task_done deletes what was taken."""
    with kind(path, auto_commit=False) as q:
        q.put_many("abcd")
        done = q.get_many(2)
        q.task_done()
        q.get()
        assert (1, 2) == (q.qsize(), q.unfinished_tasks)
    with kind(path, auto_commit=False) as q:
        left = q.get_many(9)
        assert sorted("abcd") == sorted(done + left)


def test_a_bare_task_done_is_for_all_when_the_caller_took_nothing(path: Path) -> None:
    """What another thread took is finished by a task_done of one that took nothing."""
    with SQLiteQueue(path, auto_commit=False) as q:
        q.put_many("abc")
        Call(q.get_many, 2).outcome()
        q.task_done()
        assert 1 == q.unfinished_tasks
        q.task_done()  # nothing taken: nothing happens
        assert 1 == q.unfinished_tasks


def test_a_bare_task_done_leaves_a_living_thread_its_items(path: Path) -> None:
    """A thread finishes its own items first, then those of one that has ended."""
    with SQLiteQueue(path, auto_commit=False) as q:
        q.put_many("abc")
        taken, go_on = threading.Event(), threading.Event()

        def work() -> None:
            q.get()
            taken.set()
            go_on.wait(20)

        other = Call(work)
        taken.wait(20)
        Call(q.get).outcome()  # by a thread that has ended
        q.get()
        q.task_done()
        assert ["a", "b"] == [row["data"] for row in q.queue()]
        q.task_done()
        assert ["a"] == [row["data"] for row in q.queue()]
        go_on.set()
        other.outcome()


@pytest.mark.parametrize("kind", PLAIN)
def test_items_are_finished_one_by_one(kind: Any, path: Path) -> None:
    """task_done(item=...) finishes that item in any order."""
    with kind(path, auto_commit=False) as q:
        q.put_many([["a"], ["b"], ["c"]])
        taken = q.get_many(3)
        q.task_done(item=taken[1])
        with pytest.raises(ValueError, match="very object"):
            q.task_done(item=["x"])
    with kind(path, auto_commit=False) as q:
        assert [taken[0], taken[2]] == q.get_many(9)


def test_a_restart_after_many_gets_begins_at_the_first_unfinished(path: Path) -> None:
    """More rows than the window holds, finished in part: the rest comes, in order."""
    with SQLiteQueue(path, auto_commit=False) as q:
        q.put_many(range(1000))
        taken = [q.get() for _ in range(700)]
        q.task_done(300)
        assert list(range(700)) == taken
        assert (300, 700) == (q.qsize(), q.unfinished_tasks)
    with SQLiteQueue(path, auto_commit=False) as q:
        assert list(range(300, 1000)) == q.get_many(1000)


def test_get_many_takes_all_that_is_there(path: Path) -> None:
    """Not only what was read ahead, whatever was handed out before."""
    with SQLiteQueue(path, auto_commit=False) as q:
        q.put_many(range(700))
        assert list(range(5)) == [q.get() for _ in range(5)]
        assert 600 == q.get(id=601)
        assert [n for n in range(5, 700) if n != 600] == q.get_many(1000)


def test_another_objects_deletes_are_seen_through_the_window(path: Path) -> None:
    """Rows that were read ahead and are deleted by somebody else are not handed out."""
    with SQLiteQueue(path, auto_commit=False) as a, SQLiteQueue(path) as b:
        a.put_many(range(10))
        assert [0, 1] == [a.get(), a.get()]
        assert list(range(10)) == b.get_many(10)
        with pytest.raises(Empty):
            a.get(block=False)
        a.task_done()
        assert (0, 0) == (a.qsize(), a.unfinished_tasks)


# -- auto_commit=True ---------------------------------------------------------------


def test_task_done_is_a_courtesy_where_gets_commit(path: Path) -> None:
    """With auto_commit=True task_done does nothing, and join waits until nothing is stored."""
    with SQLiteQueue(path) as q:
        q.task_done()
        q.put_many("ab")
        call = Call(q.join)
        waiting(q, 1)
        q.get_many(2)
        call.outcome()
        q.task_done()
        q.task_done(2)
        q.task_done(item="a")


# -- counting -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_sizes_are_exact_under_others_writes(kind: Any, path: Path) -> None:
    """qsize, size, total and len agree with what another object has just committed."""
    with kind(path) as a, kind(path) as b:
        a.put_many("abc")
        assert [3, 3, 3, 3] == [b.qsize(), b.size, b.total, len(b)]
        b.get()
        b.put("d")
        b.get()
        assert 2 == a.qsize()
        assert not a.empty()
        assert not a.full()
        a.get_many(2)
        assert b.empty()
        assert not b  # as in persist-queue


def test_sizes_are_exact_when_others_take_what_was_taken(path: Path) -> None:
    """What this object has handed out and somebody else deleted is not counted twice."""
    with SQLiteQueue(path, auto_commit=False) as a, SQLiteQueue(path) as b:
        a.put_many(range(5))
        a.get_many(3)
        assert 2 == a.qsize()
        b.get_many(4)
        assert (1, 1) == (a.qsize(), a.unfinished_tasks)
        assert 4 == a.get()


@pytest.mark.parametrize("kind", PLAIN)
def test_maxsize_holds_between_objects(kind: Any, path: Path) -> None:
    """Room is counted with what others have put, and put_many waits for all of it."""
    with kind(path, maxsize=3) as a, kind(path) as b:
        b.put_many("xy")
        a.put("a")
        assert a.full()
        call = Call(a.put_many, "bc")
        waiting(a, 1)
        b.get_many(2)
        assert 2 == len(call.outcome())
        assert 3 == b.qsize()


@pytest.mark.parametrize("kind", PLAIN)
def test_sizes_are_of_one_moment(kind: Any, path: Path) -> None:
    """What another object takes between two statements is not counted as waiting."""
    with kind(path, auto_commit=False) as q, kind(path) as other:
        q.put_many(range(6))
        assert [0, 1] == [q.get(id=1), q.get(id=2)]
        other.get(id=6)  # so that q has to count again

        def take(statement: str) -> None:
            if "IN (" in statement:
                q._conn.set_trace_callback(None)
                other.get(id=1)
                other.get(id=2)

        q._conn.set_trace_callback(take)
        assert [3, 3] == [q.qsize(), q.qsize()]


def steps(q: Any, call: Callable[[], Any]) -> int:
    """Return how many steps SQLite does for a call, in hundreds."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1

    q._conn.set_progress_handler(step, 100)
    call()
    q._conn.set_progress_handler(None, 100)
    return done


@pytest.mark.parametrize("kind", [FILOSQLiteQueue, PriorityQueue, SQLiteQueue])
def test_what_is_handed_out_costs_nothing(kind: Any, path: Path) -> None:
    """A get, also behind a put, takes as many steps when thousands are handed out as at first."""
    with kind(path, auto_commit=False, durability="process") as q:
        q.put_many(range(4000))

        def turns() -> None:
            for number in range(100):
                q.get()
                q.put(number)
                q.get()

        few = steps(q, turns)
        q.get_many(3000)
        assert few + 1000 > steps(q, turns)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", [FILOSQLiteQueue, PriorityQueue])
def test_the_order_holds_whatever_happens(kind: Any, path: Path, seed: int) -> None:
    """Puts by two objects, gets, items given back, finished: the next one is always the right one."""
    chance = random.Random(seed)
    waits: list[tuple[int, ...]] = []  # in the queue's order
    with kind(path, auto_commit=False, durability="process") as q, kind(path) as other:

        def put(to: Any) -> None:
            items = "x" * chance.choice((1, 1, 1, 3, 300))
            if kind is PriorityQueue:
                priority = chance.randrange(4)
                waits.extend((priority, number) for number in to.put_many(items, priority))
            else:
                waits.extend((-number, number) for number in to.put_many(items))
            waits.sort()

        for _ in range(150):
            step = chance.random()
            if step < 0.25:
                put(q)
            elif step < 0.3:
                put(other)
            elif step < 0.4 and waits:
                with pytest.raises(KeyboardInterrupt), q.process():
                    raise KeyboardInterrupt
            elif step < 0.45:
                q.task_done()
            elif waits:
                assert waits.pop(0)[-1] == q.get(raw=True)["pqid"]
        assert len(waits) == q.qsize()
        left = [q.get(raw=True)["pqid"] for _ in waits]
        assert [place[-1] for place in waits] == left
        assert q.empty()


def test_a_priority_of_another_program(path: Path, behind: Callable[..., Any]) -> None:
    """persist-queue stores whatever it is given as a priority: SQLite's order is the order."""
    with PriorityQueue(path, auto_commit=False) as q:
        for priority, item in enumerate("abc"):
            q.put(item, 3 * priority)
        behind(
            f"UPDATE {q._table_name} SET priority = NULL WHERE data = ?", q._rows.codec.encode("c")
        )
        behind(
            f"UPDATE {q._table_name} SET priority = 'x' WHERE data = ?", q._rows.codec.encode("a")
        )
        assert "c" == q.peek()
        q.put("d", 1)
        assert ["c", "d", "b", "a"] == [q.get() for _ in range(4)]


@pytest.mark.parametrize("kind", ALL)
def test_room_is_not_counted_while_there_is_plenty(kind: Any, path: Path) -> None:
    """A put with a maxsize takes no more steps for thousands of rows, though others write."""
    with kind(path, maxsize=10**6) as q, kind(path) as other:
        counts = iter(range(10**6))

        def turn() -> None:
            other.put(next(counts))
            q.put(next(counts))

        q.put(next(counts))
        few = steps(q, turn)
        q.put_many([next(counts) for _ in range(20_000)])
        assert few + 100 > steps(q, turn)


# -- unique -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [UniqueQ, UniqueAckQ])
@pytest.mark.parametrize("name", ["cbor2", "json", "msgpack", "pickle"])
def test_equal_dicts_are_one_item_at_every_depth(kind: Any, path: Path, name: str) -> None:
    """The order of keys makes no difference, inside lists and dicts either."""
    serializer = getattr(serializers, name)
    with kind(path, serializer=serializer) as q:
        assert 1 == q.put({"a": {"x": 1, "y": [{"p": 1, "q": 2}]}, "b": 2})
        assert q.put({"b": 2, "a": {"y": [{"q": 2, "p": 1}], "x": 1}}) is None
        assert 1 == q.size
        ids = q.put_many([{"c": 1}, {"b": 2, "a": 1}, {"a": 1, "b": 2}])
        assert [False, False, True] == [number is None for number in ids]
        assert 3 == q.size


def test_what_has_no_order_is_compared_by_bytes(path: Path) -> None:
    """Keys that cannot be compared, and structures that hold themselves, can be put."""
    loop: list[Any] = []
    loop.append(loop)
    with UniqueQ(path) as q:
        for item in ({1: "a", "b": 2}, loop, {"x": {1: 1, "a": 2}}):
            assert q.put(item) is not None
            assert q.put(item) is None


def test_an_item_that_left_can_be_put_again(path: Path) -> None:
    """A unique queue forgets what was taken."""
    with UniqueQ(path) as q:
        q.put("a")
        q.get()
        assert 2 == q.put("a")


def test_a_unique_item_given_back_beside_an_equal_one_is_stored_once(path: Path) -> None:
    """Meanwhile somebody put an equal item: giving back leaves one."""
    with UniqueQ(path) as q:
        q.put("a")
        with pytest.raises(ZeroDivisionError), q.process() as item:
            raise_after(q.put(item))
        assert ["a"] == q.get_many(9)


@pytest.mark.parametrize("kind", [UniqueQ, UniqueAckQ])
def test_what_is_there_already_needs_no_room(kind: Any, path: Path) -> None:
    """A full unique queue takes what it holds, and says None; anything new is too much."""
    with kind(path, maxsize=2) as q:
        q.put_many("ab")
        assert q.put("a") is None
        assert [None, None] == q.put_many("ba", block=False)
        with pytest.raises(Full):
            q.put("c", block=False)
        q.get()
        known, new = q.put_many("bc", block=False)
        assert (None, True) == (known, isinstance(new, int))
        with pytest.raises(Full):
            q.put_many("bd", block=False)


# -- damage -------------------------------------------------------------------------


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", PLAIN)
def test_a_row_that_cannot_be_decoded_stays(
    kind: Any, path: Path, auto_commit: bool, behind: Callable[..., Any]
) -> None:
    """QueueCorrupt names table and id, again and again, until the row is repaired."""
    with kind(path, auto_commit=auto_commit) as q:
        q.put("a")
        table = q._table_name
        behind(f"UPDATE {table} SET data = x'00'")
        for call in (q.get_nowait, q.peek, lambda: q.get(id=1), q.queue):
            with pytest.raises(QueueCorrupt, match=f"{kind._KIND.prefix}_default, record 1"):
                call()
        assert 1 == q.qsize()
        q.update("A", 1)
        assert "A" == q.get()


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", [*PLAIN, SQLiteAckQueue])
def test_a_damaged_row_can_be_skipped(
    kind: Any, path: Path, auto_commit: bool, behind: Callable[..., Any]
) -> None:
    """on_corrupt="skip" sets the row aside in a table of its own and goes on."""
    if kind is SQLiteAckQueue and not auto_commit:
        pytest.skip("an ack queue always commits")
    with kind(path, auto_commit=auto_commit, on_corrupt="skip") as q:
        q.put_many("abc")
        behind(f"UPDATE {q._table_name} SET data = x'ff' WHERE _id = 2")
        assert [(1, "a"), (3, "c")] == [(row["id"], row["data"]) for row in q.queue()]
        assert {"a", "c"} == {q.get(), q.get()}
        assert (1, 0) == (q.skipped, q.qsize())
        aside = f'"corrupt:{kind._KIND.prefix}_default"'
        assert [(2, b"\xff")] == behind(f"SELECT _id, data FROM {aside}")


def test_what_comes_before_a_damaged_row_is_handed_out(
    path: Path, behind: Callable[..., Any]
) -> None:
    """get_many returns what is whole up to the damage; then it raises."""
    for auto_commit in (True, False):
        with SQLiteQueue(path, name=str(auto_commit), auto_commit=auto_commit) as q:
            q.put_many("abcd")
            behind(
                f"UPDATE {q._table_name} SET data = x'ff' WHERE data = ?", q._rows.codec.encode("c")
            )
            assert ["a", "b"] == q.get_many(9)
            with pytest.raises(QueueCorrupt):
                q.get_many(9)
            assert "d" == q.get(id=4)


def test_a_class_that_is_missing_is_no_damage(path: Path) -> None:
    """An item whose class cannot be imported stays, skip or not."""
    with SQLiteQueue(path, on_corrupt="skip") as q:
        q.put("a")
        q._conn.execute(f"UPDATE {q._table_name} SET data = ?", (b"cnowhere\nThing\n.",))
        with pytest.raises(SerializationError, match="queue_default, row 1"):
            q.get()
        assert (1, 0) == (q.qsize(), q.skipped)


def test_the_list_names_what_cannot_be_loaded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """queue() says which row lacks its class; with skip it leaves it out, and it stays."""
    with SQLiteQueue(path) as q, SQLiteQueue(path, on_corrupt="skip") as skipping:
        q.put_many("abc")
        q._conn.execute(f"UPDATE {q._table_name} SET data = ? WHERE _id = 2", (b"cno\nThing\n.",))
        with pytest.raises(SerializationError, match="queue_default, row 2"):
            q.queue()
        assert not caplog.records
        assert ["a", "c"] == [row["data"] for row in skipping.queue()]
        assert ["queue_default, row 2" in record.getMessage() for record in caplog.records]
        assert (3, 0) == (skipping.qsize(), skipping.skipped)


@pytest.mark.parametrize("kind", PLAIN)
def test_nothing_is_passed_over_behind_an_error(
    kind: Any, path: Path, behind: Callable[..., Any]
) -> None:
    """Whatever was read ahead, a damaged row is in the way until it is repaired."""
    with kind(path, auto_commit=False) as q:
        q.put_many(range(40))
        for _ in range(20):
            q.get()
        bad = q.peek() + 1
        behind(f"UPDATE {q._table_name} SET data = x'ff' WHERE _id = ?", bad)
        for _ in range(3):
            with pytest.raises(QueueCorrupt, match=f"record {bad}"):
                q.get()
        q.update("mended", bad)
        assert "mended" == q.get()
        assert 19 == len(q.get_many(99))


def test_items_may_be_too_large(path: Path) -> None:
    """max_item_bytes bounds what is written and what is loaded."""
    with SQLiteQueue(path, max_item_bytes=100) as q:
        with pytest.raises(ItemTooLarge):
            q.put("x" * 200)
        assert q.empty()
    with SQLiteQueue(path) as q:
        q.put("x" * 200)
    with SQLiteQueue(path, max_item_bytes=100) as q:
        with pytest.raises(ItemTooLarge):
            q.get()
        assert 1 == q.qsize()


@pytest.mark.parametrize("kind", ALL)
def test_an_item_that_cannot_be_encoded_stores_nothing(kind: Any, path: Path) -> None:
    """A lambda is refused with an error that names its type."""
    with kind(path) as q:
        with pytest.raises(SerializationError, match="function"):
            q.put(lambda: None)
        assert q.empty()


# -- databases that are not as they should be ---------------------------------------


@pytest.mark.parametrize("made", [None, 5, "half \ud800", ["list"]])
@pytest.mark.parametrize("kind", ALL)
def test_a_serializer_that_makes_no_bytes(kind: Any, path: Path, made: Any) -> None:
    """SerializationError for that item; the queue and the others' items are as they were."""

    class Odd:
        loads = staticmethod(bytes.decode)

        @staticmethod
        def dumps(value: Any) -> Any:
            return made if value == "odd" else value.encode()

    with kind(path, serializer=Odd) as q:
        q.put("a")
        calls = [lambda: q.put("odd"), lambda: q.put_many(["b", "odd"]), lambda: q.update("odd", 1)]
        for call in calls:
            with pytest.raises(SerializationError, match="Odd cannot encode this item of type str"):
                call()
        assert ["a"] == q.get_many(9)


@pytest.mark.parametrize("view", [bytearray, memoryview])
def test_a_serializer_that_uses_its_buffer_again(path: Path, view: Any) -> None:
    """What a row holds is what was in the buffer when the item was encoded."""
    buffer = bytearray(1)

    class Reusing:
        @staticmethod
        def dumps(value: int) -> Any:
            buffer[0] = value
            return buffer if view is bytearray else memoryview(buffer)

        @staticmethod
        def loads(data: bytes) -> int:
            return data[0]

    with SQLiteQueue(path, serializer=Reusing) as q:
        q.put_many([1, 2, 3])
        assert [1, 2, 3] == q.get_many(9)


def test_text_is_measured_in_bytes(path: Path) -> None:
    """max_item_bytes bounds what a row takes, whatever the serializer makes."""
    with SQLiteQueue(path, serializer=Text, max_item_bytes=4) as q:
        q.put("üü")
        with pytest.raises(ItemTooLarge, match="6 bytes"):
            q.put("üüü")


class Text:
    """A serializer for text, which stays as it is."""

    dumps = loads = str


def test_a_file_that_is_no_database(path: Path) -> None:
    """FormatError says so, and the file is left alone."""
    path.write_bytes(b"something else altogether" * 100)
    with pytest.raises(FormatError, match="not an SQLite database"):
        SQLiteQueue(path)
    assert b"something else altogether" * 100 == path.read_bytes()


def test_a_table_that_is_something_else(path: Path) -> None:
    """A table of our name with other columns is refused."""
    path.mkdir()
    with database(path) as connection:
        connection.execute("CREATE TABLE queue_default (a, b)")
    connection.close()
    with pytest.raises(FormatError, match="has the columns a, b"):
        SQLiteQueue(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    """FormatError names both versions."""
    SQLiteQueue(path).close()
    with database(path) as connection:
        connection.execute("CREATE TABLE persistqueue_format (version)")
        connection.execute("INSERT INTO persistqueue_format VALUES (7)")
    connection.close()
    with pytest.raises(FormatError, match=r"7.* 1"):
        SQLiteQueue(path)


def test_a_locked_database(path: Path, behind: Callable[..., Any]) -> None:
    """QueueLocked after the timeout; nothing was stored; then it works again."""
    with SQLiteQueue(path, timeout=0.05) as q:
        behind("BEGIN IMMEDIATE")
        with pytest.raises(QueueLocked):
            q.put("a")
        with pytest.raises(QueueLocked):
            q.get(block=False)
        assert 0 == q.qsize()
        behind("ROLLBACK")
        q.put("b")
        assert "b" == q.get()


def test_a_database_that_was_removed(path: Path) -> None:
    """A put into a file that is gone is not acknowledged."""
    with SQLiteQueue(path) as q:
        q.put("a")
        for file in path.iterdir():
            file.unlink()
        with pytest.raises(QueueFailed, match="removed or replaced"):
            q.put("b")
    with SQLiteQueue(path) as q:
        assert q.empty()


def test_a_dropped_table(path: Path, behind: Callable[..., Any]) -> None:
    """An error of this package, not of sqlite3."""
    with SQLiteQueue(path) as q:
        behind("DROP TABLE queue_default")
        with pytest.raises(QueueCorrupt, match="dropped"):
            q.put("a")


def test_a_full_disk(path: Path) -> None:
    """OSError; nothing of the call is stored; the queue works when there is room."""
    with SQLiteQueue(path) as q:
        q.put("first")
        pages = q._conn.execute("PRAGMA page_count").fetchone()[0]
        q._conn.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(OSError, match="No space left"):
            q.put_many(["x" * 5000] * 20)
        assert 1 == q.qsize()
        q._conn.execute("PRAGMA max_page_count = 100000")
        q.put("second")
        assert ["first", "second"] == q.get_many(9)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_a_directory_without_permission(path: Path) -> None:
    """PermissionError, as from the operating system."""
    path.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        SQLiteQueue(path)


# -- paths, names, memory -----------------------------------------------------------


def test_path_rule(tmp_path: Path) -> None:
    """A directory holds data.db, a file is the database, what is missing becomes a directory."""
    SQLiteQueue(tmp_path / "new" / "deep").close()
    assert (tmp_path / "new" / "deep" / "data.db").is_file()
    SQLiteQueue(tmp_path / "new", db_file_name="mine.db").close()
    assert (tmp_path / "new" / "mine.db").is_file()
    with SQLiteQueue(tmp_path / "new" / "mine.db") as q:
        q.put("a")
    with SQLiteQueue(tmp_path / "new", db_file_name="mine.db") as q:
        assert "a" == q.get()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs, and links need a right")
@pytest.mark.parametrize("kind", [SQLiteQueue, lambda path: PDict(path, "d")])
def test_a_path_that_can_be_no_database(kind: Any, tmp_path: Path) -> None:
    """The error says what is there; nothing is created or opened."""
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "dir" / "data.db")
    with pytest.raises(FileNotFoundError, match="link leads to nothing"):
        kind(tmp_path / "link")
    for path in ("fifo", "dir"):
        with pytest.raises(OSError, match="a regular file"):
            kind(tmp_path / path)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("path", ["nul\0", "half \ud800"])
def test_what_cannot_be_a_path(path: str) -> None:
    """A ValueError that says why."""
    with pytest.raises(ValueError, match="a path cannot hold"):
        SQLiteQueue(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_what_is_created_is_private(path: Path) -> None:
    """The directory is 0700, its files are 0600."""
    with SQLiteQueue(path) as q:
        q.put("a")
        assert 0o700 == path.stat().st_mode & 0o777
        assert {0o600} == {file.stat().st_mode & 0o777 for file in path.iterdir()}


@pytest.mark.parametrize(
    "name",
    ["", "x", "with space", "semi;colon", 'quo"te', "back`tick", "it's", "--", "/* */", "ünï",
     "名前", "[br]", "a" * 1000, "new\nline", "%s{}", "index", "SELECT", "\x01", "🎉"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ALL)
def test_any_text_is_a_name(kind: Any, path: Path, name: str) -> None:
    """Every name has a table of its own, with its indexes, and is found again."""
    with kind(path, name=name) as q, kind(path, name=name + "2") as other:
        q.put("a")
        other.put("b")
    with kind(path, name=name) as q:
        assert ["a"] == q.get_many(9)


@pytest.mark.parametrize("name", ["nul\0", "half \ud800"])
def test_what_cannot_be_a_name(path: Path, name: str) -> None:
    """ValueError, before anything is created."""
    with pytest.raises(ValueError, match="table's name"):
        SQLiteQueue(path, name=name)
    assert not path.exists()


@pytest.mark.parametrize("kind", ALL)
def test_memory_is_private(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue in memory leaves no file, is shared by threads and seen by nobody else."""
    monkeypatch.chdir(tmp_path)
    with kind(":memory:") as a, kind(":memory:") as b:
        Call(a.put, "x").outcome()
        assert (1, 0) == (a.qsize(), b.qsize())
        call = Call(b.get)
        waiting(b, 1)
        b.put("y")
        assert "y" == call.outcome()
        a.shrink_disk_usage()
        assert ["x"] == [row["data"] for row in a.queue()]
        assert "x" == a.get()
    assert [] == list(tmp_path.iterdir())


# -- arguments and small things -----------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [("maxsize", "1", TypeError), ("durability", "none", ValueError), ("timeout", -1, ValueError),
     ("timeout", float("nan"), ValueError), ("timeout", "3", TypeError), ("timeout", None, TypeError),
     ("on_corrupt", "x", ValueError), ("max_item_bytes", 0, ValueError),
     ("serializer", object(), AttributeError)],
)  # fmt: skip
def test_wrong_arguments_are_named(
    path: Path, argument: str, value: Any, error: type[Exception]
) -> None:
    """An error says which argument is wrong; nothing is created."""
    with pytest.raises(error, match=argument if argument != "serializer" else "no serializer"):
        SQLiteQueue(path, **{argument: value})
    if argument == "timeout":
        with pytest.raises(error, match=argument):
            PDict(path, "d", **{argument: value})
    assert not path.exists()


@pytest.mark.parametrize("timeout", [3e6, float("inf"), 10**400])
def test_a_patience_without_an_end(path: Path, behind: Callable[..., Any], timeout: float) -> None:
    """However long the timeout is, SQLite waits where it waits by itself."""
    with SQLiteQueue(path, timeout=timeout) as q:
        q.put("a")
        behind("BEGIN IMMEDIATE")
        call = Call(q.shrink_disk_usage)
        call.join(0.1)
        behind("ROLLBACK")
        call.outcome()


@pytest.mark.parametrize(("durability", "level"), [("power", 2), ("process", 1)])
def test_durability_is_what_sqlite_is_told(path: Path, durability: str, level: int) -> None:
    """synchronous is FULL or NORMAL, on a write-ahead log."""
    with SQLiteQueue(path, durability=durability) as q:
        assert (level,) == q._conn.execute("PRAGMA synchronous").fetchone()
        assert ("wal",) == q._conn.execute("PRAGMA journal_mode").fetchone()
        q.put("a")
        q.sync()


def test_names_of_persist_queue(path: Path) -> None:
    """What its users look at is there."""
    from persistqueue import pdict, priorityqueue, sqlackqueue, sqlbase, sqlqueue

    assert FIFOSQLiteQueue is SQLiteQueue is sqlqueue.SQLiteQueue
    assert sqlackqueue.FIFOSQLiteAckQueue is SQLiteAckQueue
    assert issubclass(priorityqueue.PriorityQueue, sqlbase.SQLiteBase)
    assert pdict.PDict is not None
    with SQLiteQueue(path, "jobs", True, 5, True) as q:
        assert ("jobs", True, 5, "data.db") == (q.name, q.multithreading, q.timeout, q.db_file_name)
        assert 4 == q._serializer.protocol
        assert isinstance(q._conn, sqlite3.Connection)
        with pytest.raises(TypeError, match="'in'"):
            print("a" in q)
    assert q._conn is None
    with pytest.raises(QueueClosed):
        q.put("a")
    with pytest.raises(QueueClosed):
        q.queue()


def test_a_user_serializer(path: Path) -> None:
    """dumps and loads are enough, dump and load too; text is stored as text."""
    import json as standard
    import pickle as standard_pickle

    class Streams:
        def dump(self, value: Any, fp: Any) -> None:
            fp.write(repr(value).encode())

        def load(self, fp: Any) -> Any:
            return int(fp.read())

    for name, serializer in (("json", standard), ("pickle", standard_pickle), ("own", Streams())):
        with UniqueQ(path, name=name, serializer=serializer) as q:
            assert [1, None] == [q.put(5), q.put(5)]
            assert 5 == q.get()


def test_shrinking_gives_space_back(path: Path) -> None:
    """The database's file is smaller afterwards, and the log is empty."""
    with SQLiteQueue(path, durability="process") as q:
        q.put_many(["x" * 10_000] * 500)
        q.get_many(500)
        q.sync()
        q.put("last")
        q.shrink_disk_usage()
        assert 100_000 > (path / "data.db").stat().st_size
        assert 0 == (path / "data.db-wal").stat().st_size
        assert "last" == q.get()


def test_put_many_is_all_or_nothing(path: Path) -> None:
    """An iterable that raises half-way stores nothing."""

    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with SQLiteQueue(path) as q:
        with pytest.raises(ZeroDivisionError):
            q.put_many(items())
        assert [] == q.put_many([])
        assert q.empty()


def test_a_queue_that_is_dropped_lets_go(path: Path) -> None:
    """Without close(), the last reference closes the database."""
    q = SQLiteQueue(path)
    q.put("a")
    del q
    assert ["data.db"] == os.listdir(path)
