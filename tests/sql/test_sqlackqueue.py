"""The ack queues: who holds what, and what becomes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from interpreter import start
from sqlite_objects import open_any
from waiting import Call, until

from persistqueue import (
    AckStatus,
    Broker,
    Empty,
    FILOSQLiteAckQueue,
    QueueCorrupt,
    QueueLocked,
    SerializationError,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    serializers,
)
from persistqueue._sql.sqlite.owners import FileOwner

KINDS = [FILOSQLiteAckQueue, SQLiteAckQueue, UniqueAckQ]


def counts(q: Any) -> dict[str, int]:
    """Return every count of a queue that is not 0."""
    named = {
        "size": q.qsize(), "unack": q.unack_count(), "ready": q.ready_count(),
        "acked": q.acked_count(), "failed": q.ack_failed_count(), "active": q.active_size(),
    }  # fmt: skip
    return {name: count for name, count in named.items() if count}


# -- one item -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_on_its_way(kind: Any, path: Path) -> None:
    """New, handed out, back, handed out, acked: every count follows."""
    with kind(path) as q:
        number = q.put({"n": 1})
        assert {"size": 1, "active": 1} == counts(q)
        item = q.get()
        assert {"unack": 1, "active": 1} == counts(q)
        assert number == q.nack(item)
        assert {"size": 1, "ready": 1, "active": 1} == counts(q)
        item = q.get()
        assert number == q.ack(item)
        assert {"acked": 1} == counts(q)
        assert [AckStatus.acked] == [str(row["status"]) for row in q.queue()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["ack", "nack", "ack_failed"])
def test_twice_changes_nothing(kind: Any, path: Path, verb: str) -> None:
    """A second ack, nack or ack_failed returns None, by item and by raw dict."""
    with kind(path) as q:
        q.put_many(["a", "b"])
        raw = q.get(raw=True)
        item = q.get()
        assert {raw["pqid"], 3 - raw["pqid"]} == {getattr(q, verb)(raw), getattr(q, verb)(item)}
        before = counts(q)
        for other in ("ack", "nack", "ack_failed"):
            assert getattr(q, other)(raw) is None
            assert getattr(q, other)(item) is None
        assert before == counts(q)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_item_changes_nothing(kind: Any, path: Path) -> None:
    """What was not handed out is not found: None, by item, raw dict or id."""
    with kind(path) as q:
        q.put("a")
        q.get()
        before = counts(q)
        for wrong in ("b", ["a"], 1, {"pqid": 99}, {"pqid": 2**70}):
            for verb in (q.ack, q.nack, q.ack_failed):
                assert verb(wrong) is None
        assert q.ack(id=99) is None
        assert before == counts(q)
        with pytest.raises(ValueError, match="one of the two"):
            q.ack()
        with pytest.raises(ValueError, match="one of the two"):
            q.ack("a", id=1)


def test_an_item_is_found_by_equality(path: Path) -> None:
    """An equal object does when the very one is not known: dicts, lists, sets, what is nested."""
    items: list[Any] = [
        {"a": [1, {"b": {2}}]}, [1, [2]], (1, [2]), {1, 2}, bytearray(b"x"), 1.0, "text", b"bytes",
    ]  # fmt: skip
    again: list[Any] = [
        {"a": [1, {"b": {2}}]}, [1, [2]], (1, [2]), {2, 1}, bytearray(b"x"), 1, "text", b"bytes",
    ]  # fmt: skip
    with SQLiteAckQueue(path) as q:
        numbers = q.put_many(items)
        q.get_many(len(items))
        assert numbers == [q.ack(item) for item in again]
        assert {"acked": len(items)} == counts(q)


def test_equal_items_are_two(path: Path) -> None:
    """Of equal items, an ack finishes one: the very object if it is known."""
    with SQLiteAckQueue(path) as q:
        q.put_many([["a"], ["a"], ["a"]])
        first, second, third = q.get_many(3)
        assert [2, 1, 3] == [q.ack(second), q.ack(first), q.ack(third)]


def test_an_item_that_was_changed_is_still_found(path: Path) -> None:
    """The very object is found by identity whatever was done to it."""
    with SQLiteAckQueue(path) as q:
        q.put({"n": 1})
        item = q.get()
        item["n"] = 2
        assert 1 == q.ack(item)
        assert q.ack(item) is None


class Counted(dict[str, int]):
    """A dict that counts comparisons."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]


def test_equal_items_are_compared_with_one(path: Path) -> None:
    """However many equal items are held, the first is enough."""
    count = 300
    with SQLiteAckQueue[Any](path, durability="process") as q:
        q.put_many([Counted(n=1)] * count)
        q.get_many(count)
        Counted.compared = 0
        assert list(range(1, count + 1)) == [q.ack({"n": 1}) for _ in range(count)]
        assert 2 * count >= Counted.compared


def test_acks_take_constant_time(path: Path) -> None:
    """An item that is acked by equality is compared with its like, not with all of them."""
    count = 2000
    with SQLiteAckQueue[Any](path, durability="process") as q:
        q.put_many([Counted(n=n) for n in range(count)])
        q.get_many(count)
        Counted.compared = 0
        acked = [q.ack({"n": n}) for n in range(count)]
        assert list(range(1, count + 1)) == acked
        assert 2 * count >= Counted.compared


def test_by_id(path: Path) -> None:
    """By id, what nobody holds can be acked too, and what failed can be brought back."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        assert 1 == q.ack(id=1)
        assert q.nack(id=2) is None
        assert 2 == q.ack_failed(id="2")
        assert {"size": 1, "acked": 1, "failed": 1, "active": 1} == counts(q)
        assert 2 == q.nack(id=2)
        assert q.nack(id=1) is None
        assert "b" == q.get()
        assert 2 == q.ack(id={"pqid": 2})


def test_none_is_an_item(path: Path) -> None:
    """None is an item like any other, for every verb; beside an id it is no item."""
    with SQLiteAckQueue(path) as q:
        q.put_many([None] * 5)
        assert 1 == q.ack(q.get(raw=True))
        assert q.ack(None) is None
        assert [None] * 4 == q.get_many(4)
        assert [2, 3, 4] == [q.nack(None), q.ack(None), q.ack_failed(None)]
        q.task_done(item=None)
        assert 2 == q.ack(None, id=2)
        assert {"acked": 4, "failed": 1} == counts(q)


def test_an_item_may_have_a_key_pqid(path: Path) -> None:
    """What was handed out wins; then what get(raw=True) returned, or an id in a dict; then likeness."""
    items: list[Any] = [{"pqid": 2, "job": "A"}, {"pqid": 1}, {"pqid": "x"}, {"pqid": 9, "n": 1}]
    raw = {"pqid": 1, "data": 0, "timestamp": 0}
    with SQLiteAckQueue(path) as q:
        q.put_many([*items, raw, "last"])
        got = q.get_many(6)
        for verb in (q.ack, q.nack, q.ack_failed):
            assert verb({"pqid": 9, "n": 2}) is None
        assert [2, 3, 5] == [q.ack(got[1]), q.ack_failed(got[2]), q.ack(got[4])]
        assert [1, 4] == [q.ack(got[0]), q.ack({"pqid": 9, "n": 1})]
        assert 6 == q.ack({"pqid": 6})
        assert {"acked": 5, "failed": 1} == counts(q)


# -- order --------------------------------------------------------------------------


def test_nack_to_the_front_and_to_the_back(path: Path) -> None:
    """An item goes back to its own place, or behind all others with a new id."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        assert 1 == q.nack(q.get())
        assert "a" == q.get()
        assert 4 == q.nack("a", to="back")
        assert ["b", "c", "a"] == q.get_many(9)
        assert 4 == q.ack("a")
        assert 5 == q.put("d")
        with pytest.raises(ValueError, match="'front' or 'back'"):
            q.nack("b", to="top")
    with FILOSQLiteAckQueue(path) as q:
        q.put_many("abc")
        q.nack(q.get(), to="back")
        assert ["b", "a", "c"] == q.get_many(9)
        assert 0 == q.ack("c")
        assert 4 == q.put("d")
    with UniqueAckQ(path) as q:
        q.put_many("ab")
        q.nack(q.get(), to="back")
        assert q.put("a") is None
        assert ["b", "a"] == q.get_many(9)


def test_next_in_order(path: Path) -> None:
    """get(id, next_in_order=True) goes on behind that id, and begins anew at the end."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abcd")
        assert "c" == q.get(id=2, next_in_order=True)
        assert "d" == q.get(id=2, next_in_order=True)
        assert "a" == q.get(id=4, next_in_order=True)
        assert "b" == q.get(id=2**70, next_in_order=True)
        with pytest.raises(Empty):
            q.get(block=False, id=1, next_in_order=True)
        call = Call(q.get, id=1, next_in_order=True)
        q.put("e")
        assert "e" == call.outcome()
        with pytest.raises(ValueError, match="needs the 'id'"):
            q.get(next_in_order=True)
        with pytest.raises(ValueError, match="True or False"):
            q.get(id=1, next_in_order="yes")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_cannot_be_got_by_id(kind: Any, path: Path) -> None:
    """get(id=...) of an item that somebody holds, or that is acked, raises Empty."""
    with kind(path) as q:
        q.put("a")
        item = q.get(id=1)
        with pytest.raises(Empty):
            q.get(id=1)
        q.ack(item)
        with pytest.raises(Empty):
            q.get(id=1)


# -- what all queues have -----------------------------------------------------------


def test_process_acks_and_nacks(path: Path) -> None:
    """A block that ends acks, one that raises puts back; a loop acks what it goes past."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abcd")
        with q.process():
            pass
        with pytest.raises(KeyboardInterrupt), q.process():
            raise KeyboardInterrupt  # no failure of the item, so it is not held back
        assert {"size": 3, "ready": 1, "acked": 1, "active": 3} == counts(q)
        for item in q:
            if item == "c":
                q.ack_failed(item)
            if item == "d":
                break
        assert {"size": 1, "ready": 1, "acked": 2, "failed": 1, "active": 1} == counts(q)


def test_join_waits_for_the_last_ack(path: Path) -> None:
    """join returns when nothing waits and nothing is handed out; failed items are over."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        call = Call(q.join)
        a, b, c = q.get_many(3)
        q.ack(a)
        q.ack_failed(b)
        q.nack(c)
        assert call.is_alive()
        q.ack(q.get())
        call.outcome()


def test_task_done_without_an_item_does_nothing(path: Path) -> None:
    """Programs call it behind ack: that must not ack what else is handed out."""
    with SQLiteAckQueue(path) as q:
        q.put_many("ab")
        a = q.get()
        q.get()
        q.ack(a)
        q.task_done()
        assert {"unack": 1, "acked": 1, "active": 1} == counts(q)


def test_room_is_made_by_get(path: Path) -> None:
    """maxsize bounds what waits."""
    with SQLiteAckQueue(path, maxsize=1) as q:
        q.put("a")
        call = Call(q.put, "b")
        q.get()
        assert 2 == call.outcome()


def test_auto_commit_cannot_be_switched_off(path: Path) -> None:
    """A warning, as in persist-queue, and the queue commits."""
    with pytest.warns(UserWarning, match="auto_commit"):
        q = SQLiteAckQueue(path, auto_commit=False)
    assert q.auto_commit
    q.close()


# -- acked rows ---------------------------------------------------------------------


def test_clear_acked_data(path: Path) -> None:
    """Deletes the older acked rows, so many at the most; failed ones only when asked."""
    with SQLiteAckQueue(path) as q:
        q.put_many(range(20))
        for item in q.get_many(20):
            (q.ack_failed if item % 2 else q.ack)(item)
        assert 4 == q.clear_acked_data(keep_latest=6)
        assert {"acked": 6, "failed": 10} == counts(q)
        assert 2 == q.clear_acked_data(max_delete=2, keep_latest=0)
        assert 4 == q.clear_acked_data(max_delete=0, keep_latest=0)
        assert {"failed": 10} == counts(q)
        assert 10 == q.clear_acked_data(keep_latest=0, clear_ack_failed=True)
        assert {} == counts(q)


def test_keep_acked_bounds_what_is_kept(path: Path) -> None:
    """Never more than a tenth above the bound; 0 keeps none."""
    for keep in (0, 5, 50):
        with SQLiteAckQueue(path, name=str(keep), keep_acked=keep, durability="process") as q:
            q.put_many(range(200))
            most = 0
            for item in q.get_many(200):
                q.ack(item)
                most = max(most, q.acked_count())
            assert keep <= most <= keep + keep // 10
            assert {"acked": q.acked_count()} == counts(q) or keep == 0


def test_keep_acked_bounds_short_lives(path: Path) -> None:
    """The first ack of an object deletes what those before it left."""
    kept = []
    for _ in range(6):
        with SQLiteAckQueue(path, keep_acked=10, durability="process") as q:
            q.put_many("abcd")
            for item in q.get_many(4):
                q.ack(item)
            kept.append(q.acked_count())
    assert [4, 8, 10, 10, 10, 10] == kept


# -- owners -------------------------------------------------------------------------

_HOLD = """
import os, sys
from persistqueue import SQLiteAckQueue
q = SQLiteAckQueue(sys.argv[1])
print([q.get(), q.get()], flush=True)
os._exit(1)
"""


def test_a_second_worker_leaves_the_first_what_it_holds(path: Path) -> None:
    """auto_resume, and resume_unack_tasks, take nothing from an object that is alive."""
    with SQLiteAckQueue(path) as a:
        a.put_many("abc")
        held = a.get()
        with SQLiteAckQueue(path) as b:
            b.resume_unack_tasks()
            assert {"size": 2, "unack": 1, "active": 3} == counts(b)
            assert "b" == b.get()
            assert b.ack("a") is None
        assert 1 == a.ack(held)
        with SQLiteAckQueue(path) as b:
            assert {"size": 2, "ready": 1, "acked": 1, "active": 2} == counts(b)


def test_what_a_dead_worker_held_comes_again(path: Path) -> None:
    """A process that ended without a word is dead, and leaves no file behind for long."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        assert "['a', 'b']\n" == start(_HOLD, path).stdout
        assert {"size": 1, "unack": 2, "active": 3} == counts(q)
        assert any("owner" in name for name in os.listdir(path))
        q.resume_unack_tasks()
        assert {"size": 3, "ready": 2, "active": 3} == counts(q)
        assert ["a", "b", "c"] == q.get_many(9)
    with SQLiteAckQueue(path) as q:
        assert 3 == q.ready_count()
    assert ["data.db"] == os.listdir(path)


def test_auto_resume_is_optional(path: Path) -> None:
    """Without it, what is held stays held, and can be acked by id."""
    with SQLiteAckQueue(path) as q:
        q.put_many("ab")
        q.get_many(2)
    with SQLiteAckQueue(path, auto_resume=False) as q:
        assert {"unack": 2, "active": 2} == counts(q)
        assert 1 == q.ack(id=1)
        q.resume_unack_tasks()
        assert {"size": 1, "ready": 1, "acked": 1, "active": 1} == counts(q)


def test_resume_takes_back_ones_own(path: Path) -> None:
    """resume_unack_tasks of an object makes its own items ready; acks of them find nothing."""
    with SQLiteAckQueue(path) as q:
        q.put("a")
        item = q.get()
        q.resume_unack_tasks()
        assert q.ack(item) is None
        assert "a" == q.get()
        assert 1 == q.ack("a")


def test_a_resume_that_fails_changes_nothing(path: Path) -> None:
    """What was held can still be acked."""
    with SQLiteAckQueue(path, timeout=0) as q, SQLiteQueue(path) as other:
        q.put("a")
        item = q.get()
        other._conn.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueLocked):
            q.resume_unack_tasks()
        other._conn.execute("ROLLBACK")
        assert 1 == q.ack(item)


def test_owners_that_held_nothing_are_swept_up(path: Path) -> None:
    """A dead owner's file goes with the next object that opens; a living one's stays."""
    with SQLiteAckQueue(path) as q:
        q.put("a")
        q.ack(q.get())
        living = q._store._owner.name
        (path / f"data.db-owner-{living[:8]}{'0' * 24}").touch()
        others = ["data.db-owner-somebody", f"data.db-owner-{'0' * 32}"]  # of another table, say
        for name in others:
            (path / name).touch()
        with SQLiteAckQueue(path):
            left = {name for name in os.listdir(path) if "owner" in name}
        assert {*others, f"data.db-owner-{living}"} == left


def owners_in(path: Path) -> list[Path]:
    """Return the files that say who is alive."""
    return list(path.glob("data.db-owner-*"))


ack_ways = pytest.mark.parametrize(
    "kind", [f"{twin}{kind.__name__}" for kind in KINDS for twin in ("", "Async")]
)


@ack_ways
def test_the_file_of_a_living_worker_goes(kind: str, path: Path, caplog: Any) -> None:
    """A worker whose file is removed keeps what it holds, and makes the file anew."""
    a = open_any(kind, path, lease=1.5)
    a.put_many("abc")
    held = a.get()
    (file,) = owners_in(path)
    file.unlink()
    for _ in range(2):
        b = open_any(kind, path)
        b._queue.resume_unack_tasks()
        assert (2, 1) == (b.qsize(), b._queue.unack_count())
        b.close()
    assert 2 == sum("may be alive" in message for message in caplog.messages)  # once an object
    second = a.get()
    until(lambda: [file] == owners_in(path))  # with the next sign of life
    b = open_any(kind, path)
    assert (1, 2) == (b.qsize(), b._queue.unack_count())
    for item in (held, second):
        assert a._queue.ack(item) is not None
    a.close()
    b.close()


@ack_ways
@pytest.mark.parametrize("removed", [True, False])
def test_what_a_closed_worker_held(kind: str, removed: bool, path: Path) -> None:
    """Closing leaves what is in hand to the next one, whatever a cleaner has removed."""
    a = open_any(kind, path)
    a.put_many("ab")
    a.get()
    if removed:
        owners_in(path)[0].unlink()
    a.close()
    b = open_any(kind, path)
    assert 2 == b.qsize()
    b.close()
    assert [] == owners_in(path)


def test_a_worker_that_is_gone_with_its_file(path: Path) -> None:
    """What it held stays held until somebody says that it is to come again."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
        start(_HOLD, path)
        owners_in(path)[0].unlink()
    with SQLiteAckQueue(path) as q:
        q.resume_unack_tasks()
        assert {"size": 1, "unack": 2, "active": 3} == counts(q)
        q.resume_unack_tasks(force=True)
        assert {"size": 3, "ready": 2, "active": 3} == counts(q)


def test_another_table_leaves_the_dead_their_files(path: Path) -> None:
    """A file goes when no row carries its name, and only the queue's own objects see that."""
    with SQLiteAckQueue(path) as q:
        q.put_many("abc")
    start(_HOLD, path)
    for kind, name in ((SQLiteAckQueue, "other"), (UniqueAckQ, "default")):
        kind(path, name=name).close()
    Broker(path / "data.db").close()
    with SQLiteAckQueue(path) as q:
        assert {"size": 3, "ready": 2, "active": 3} == counts(q)


def test_an_owner_of_another_user_is_alive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be opened says nothing, so nothing is taken from it."""

    def refuse(*_: object) -> int:
        raise PermissionError

    with SQLiteQueue(path) as q:
        owner = FileOwner(q._store.conn.database, "table", "", (), 60)
        with monkeypatch.context() as patches:
            patches.setattr("persistqueue._sql.sqlite.owners.os.open", refuse)
            assert not owner.is_dead("0" * 32)


def test_raw_travels_between_objects(path: Path) -> None:
    """What one object handed out as a raw dict, another may ack."""
    with SQLiteAckQueue(path) as a, SQLiteAckQueue(path) as b:
        a.put("x")
        raw = a.get(raw=True)
        assert 1 == b.ack(raw)
        assert a.ack(raw) is None
        assert {"acked": 1} == counts(a) == counts(b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_another_worker(path: Path) -> None:
    """The child holds nothing of its parent's, and its end frees nothing of its parent's."""
    with SQLiteAckQueue(path) as q:
        q.put_many("ab")
        held = q.get()
        child = os.fork()
        if child == 0:
            fine = q.ack(held) is None and q.get() == "b"
            os._exit(0 if fine else 1)
        assert 0 == os.waitpid(child, 0)[1]
        with SQLiteAckQueue(path) as other:
            assert {"size": 1, "ready": 1, "unack": 1, "active": 2} == counts(other)
        assert 1 == q.ack(held)


def test_an_item_on_its_way_back_is_counted_once(path: Path) -> None:
    """What another worker takes or puts back before every statement is one item all along."""
    with SQLiteAckQueue[str](path) as q, SQLiteAckQueue[str](path) as other:
        q.put("job")
        held: list[str] = []

        def turn(_: str) -> None:
            if held:
                other.nack(held.pop())
            else:
                held.append(other.get())

        q._conn.set_trace_callback(turn)
        counted = [(q.active_size(), q.unfinished_tasks) for _ in range(4)]
        q._conn.set_trace_callback(None)
        assert [(1, 1)] * 4 == counted


# -- speed --------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["first", "count", "count_held"])
def test_acked_rows_are_not_looked_at(path: Path, statement: str) -> None:
    """What a get and a count read comes from an index that acked rows are not in."""
    with SQLiteAckQueue(path) as q:
        sql = getattr(q._store.table, statement)
        values = (1,) if "?" in sql else ()
        plan = q._conn.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        assert "index_" in plan[0][3]


# -- rows that are not what they should be ------------------------------------------

_ODD_ROWS = ["1", "1.5", "NULL", "CAST(x'80ff' AS TEXT)", "'text'", "x'4b01284b02756275622e'"]
# A pickle that sets the state of an int: an AttributeError that is about no class.
_STATE_OF_AN_INT = "x'80044b017d8c01614b0273622e'"


@pytest.mark.parametrize("value", [*_ODD_ROWS, _STATE_OF_AN_INT])
@pytest.mark.parametrize("kind", [SQLiteAckQueue, SQLiteQueue])
def test_whatever_a_row_holds_is_damage(kind: Any, path: Path, value: str) -> None:
    """Wrong types, text that is none, pickles that come to nothing: named, and skipped."""
    with kind(path) as q:
        q.put_many("ab")
        q._conn.execute(f"UPDATE {q._table_name} SET data = {value} WHERE _id = 1")
        with pytest.raises(QueueCorrupt, match="queue_default, record 1"):
            q.get()
    with kind(path, on_corrupt="skip") as q:
        assert "b" == q.get()
        assert 1 == q.skipped


@pytest.mark.parametrize("data", [b"cnowhere\nThing\n.", b"cos\nThing\n."])
def test_a_class_that_is_missing_stays(path: Path, data: bytes) -> None:
    """An item whose module or class is not there is no damage."""
    with SQLiteAckQueue(path, on_corrupt="skip") as q:
        q.put("a")
        q._conn.execute(f"UPDATE {q._table_name} SET data = ?", (data,))
        with pytest.raises(SerializationError, match="row 1"):
            q.get()
        assert (1, 0) == (q.qsize(), q.skipped)


def test_text_stays_text(path: Path) -> None:
    """A serializer that makes text gets text."""

    class Text:
        dumps = staticmethod(str)
        loads = staticmethod(lambda text: [text])

    with SQLiteQueue(path, serializer=Text) as q:
        q.put("ä")
        assert [["ä"]] == [row["data"] for row in q.queue()]
        assert ["ä"] == q.get()
    with SQLiteQueue(path, "json", serializer=serializers.json) as q:
        q.put("ä")
        assert "ä" == q.get()


def test_names_differ_in_the_case_of_other_letters(path: Path) -> None:
    """SQLite folds A to Z alone: these are two queues, those are one."""
    for kind in (SQLiteQueue, SQLiteAckQueue):
        with kind(path, name="ä") as a, kind(path, name="Ä") as b, kind(path, name="x") as x:
            a.put("a")
            b.put("b")
            x.put("x")
            assert ["a", "b"] == [a.get(), b.get()]
            with kind(path, name="X") as same:
                assert "x" == same.get()


def test_an_id_that_is_not_there_is_named(path: Path) -> None:
    """The error of get(id=...) says so."""
    for kind in (SQLiteQueue, SQLiteAckQueue):
        with kind(path) as q:
            q.put("a")
            for number in (99, 2**70):
                with pytest.raises(Empty, match=f"no row with the id {number}"):
                    q.get(id=number)


def test_update_with_an_id_takes_any_dict(path: Path) -> None:
    """The item is the item then; without an id, a dict needs both pqid and data."""
    with SQLiteQueue[Any](path) as q:
        number = q.put("a")
        assert number == q.update({"pqid": 77, "data": 1}, id=number)
        assert [{"pqid": 77, "data": 1}] == [row["data"] for row in q.queue()]
        for wrong in ({"pqid": number}, {"pqid": None, "data": 1}, "b"):
            with pytest.raises(ValueError, match="needs an id"):
                q.update(wrong)
        assert number == q.update({"pqid": number, "data": "b"})
        assert "b" == q.get()


# -- names of one thing -------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_database_behind_a_link_is_the_same(tmp_path: Path) -> None:
    """Both names lead to one log and one set of owners: workers hold different items."""
    real, link = tmp_path / "a.db", tmp_path / "link" / "b.db"
    real.touch()
    link.parent.mkdir()
    link.symlink_to(real)
    with SQLiteAckQueue(real) as a, SQLiteAckQueue(link) as b:
        a.put_many("xy")
        assert ["x", "y"] == [a.get(), b.get()]
        call = Call(b.get)
        a.put("z")
        assert "z" == call.outcome()
        assert ["b.db"] == os.listdir(link.parent)
