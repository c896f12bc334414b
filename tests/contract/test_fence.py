"""What an object does with an item that was taken from it changes nothing; hand-outs are counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from families import MYSQL_FAMILIES, SQL_FAMILIES

from persistqueue import (
    AsyncFILOSQLiteAckQueue,
    AsyncSQLiteAckQueue,
    AsyncUniqueAckQ,
    Empty,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Open = Callable[..., Any]

FAMILIES = {
    name: family for name, family in {**SQL_FAMILIES, **MYSQL_FAMILIES}.items() if "Ack" in name
}
VERBS = ("ack", "nack", "ack_failed")
NEW, READY, HELD, ACKED, FAILED = 0, 1, 2, 5, 9

each_verb = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture(params=sorted(FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Open:
    """Opens an ack queue in a table."""
    return FAMILIES[request.param]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns the warnings since this was asked for last."""

    def ask() -> list[str]:
        messages = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        caplog.clear()
        return messages

    return ask


def rows(q: Any, *keys: str) -> list[tuple[Any, ...]]:
    """Return columns of all rows."""
    return [tuple(row[key] for key in keys) for row in q.queue()]


# -- the fence ----------------------------------------------------------------------------


@each_verb
def test_what_waits_again_is_left_alone(
    open_queue: Open, path: Path, said: Callable[[], list[str]], verb: str
) -> None:
    """The item was taken from its worker, and no other one has it yet."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put({"n": 1})
        item = a.get(timeout=0)
        b.resume_unack_tasks(force=True)
        before = rows(b, "id", "status", "takes", "attempts")
        assert [] == said()
        assert getattr(a, verb)(item) is None
        (warning,) = said()
        assert "taken over" in warning
        assert before == rows(b, "id", "status", "takes", "attempts") == [(1, READY, 1, 1)]
        assert getattr(a, verb)(item) is None
        (warning,) = said()
        assert "finished already" in warning


@each_verb
@pytest.mark.parametrize("raw", [False, True])
def test_what_another_worker_has_is_left_alone(
    open_queue: Open, path: Path, said: Callable[[], list[str]], verb: str, raw: bool
) -> None:
    """It goes on, and its own ack counts."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put({"n": 1})
        item = a.get(timeout=0, raw=raw)
        b.resume_unack_tasks(force=True)
        again = b.get(timeout=0)
        assert getattr(a, verb)(item) is None
        (warning,) = said()
        assert "taken over" in warning
        assert [(HELD, 2)] == rows(b, "status", "takes")
        assert 1 == b.ack(again)
        assert [] == said()


@each_verb
@pytest.mark.parametrize("raw", [False, True])
def test_the_first_of_two_hand_outs_to_one_object(
    open_queue: Open, path: Path, said: Callable[[], list[str]], verb: str, raw: bool
) -> None:
    """The same object has the item again: what it does with the first one changes nothing."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put({"n": 1})
        first = a.get(timeout=0, raw=raw)
        b.resume_unack_tasks(force=True)
        second = a.get(timeout=0, raw=raw)
        assert getattr(a, verb)(first) is None
        (warning,) = said()
        assert "taken over" in warning
        assert [(HELD, 2)] == rows(b, "status", "takes")
        assert getattr(a, verb)(first if raw else {"n": 2}) is None  # once more: it is unknown
        assert [(HELD, 2)] == rows(b, "status", "takes")
        assert 1 == len(said())
        assert 1 == getattr(a, verb)(second)
        assert [{"ack": ACKED, "nack": READY, "ack_failed": FAILED}[verb]] == [
            row["status"] for row in b.queue()
        ]


def test_the_second_hand_out_first(open_queue: Open, path: Path) -> None:
    """By raw dict, by id: the number of the hand-out says which one is meant."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put("x")
        first = a.get(timeout=0, raw=True)
        b.resume_unack_tasks(force=True)
        second = a.get(timeout=0, raw=True)
        assert (1, 2) == (first["takes"], second["takes"])
        assert 1 == a.ack(dict(second))
        assert a.ack(first) is None


def test_a_raw_dict_of_another_object_is_of_one_hand_out(open_queue: Open, path: Path) -> None:
    """As with persist-queue, any object may ack it; but not when the item was handed out since."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put_many(["x", "y"])
        stale, raw = (a.get(id=number, raw=True) for number in (1, 2))
        assert 2 == b.ack(raw)
        b.resume_unack_tasks(force=True)
        a.get(timeout=0)
        assert b.ack(stale) is None
        assert 1 == b.ack({"pqid": 1, "data": "x", "timestamp": 0})


@each_verb
def test_ids_mean_the_row_whoever_has_it(open_queue: Open, path: Path, verb: str) -> None:
    """As with persist-queue: an id has no fence."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put("x")
        a.get(timeout=0)
        assert 1 == getattr(b, verb)(id=1)


def test_a_block_whose_item_was_taken_over(
    open_queue: Open, path: Path, said: Callable[[], list[str]]
) -> None:
    """Its end, or its error, changes nothing, and a warning says so."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put("x")
        with a.process(timeout=0):
            b.resume_unack_tasks(force=True)
            item = b.get(timeout=0)
        (warning,) = said()
        assert "taken over" in warning
        assert [(HELD, 2)] == rows(b, "status", "takes")
        b.nack(item)

        def take_over() -> None:
            b.resume_unack_tasks(force=True)
            b.get(timeout=0)

        with pytest.raises(KeyError):
            fail(a, take_over)
        assert "taken over" in said()[0]
        assert [(HELD, 4, 4)] == rows(b, "status", "takes", "attempts")


def test_several_of_which_one_was_taken_over(
    open_queue: Open, path: Path, said: Callable[[], list[str]]
) -> None:
    """The others are finished; the answer has None in its place."""
    with open_queue(path) as a, open_queue(path) as b:
        ids = a.put_many([[n] for n in range(5)])
        items = [a.get(id=number) for number in ids]
        b.ack(id=ids[2])
        b.nack(id=ids[3])
        expected = [ids[0], ids[1], None, None, ids[4]]
        assert expected == a.ack_many(items)
        assert "taken over" in said()[0]
        statuses = [ACKED, ACKED, ACKED, READY, ACKED]
        assert statuses == [row["status"] for row in b.queue()]
        assert 1 == a.qsize()
        assert 1 == a.active_size()


# -- counting -----------------------------------------------------------------------------


def test_every_hand_out_counts(open_queue: Open, path: Path) -> None:
    """Each is one more of both; what is put back was an attempt."""
    with open_queue(path) as q:
        q.put("x")
        assert [(NEW, 0, 0, None)] == rows(q, "status", "takes", "attempts", "note")
        for count in (1, 2, 3):
            raw = q.get(timeout=0, raw=True)
            assert (count, count) == (raw["takes"], raw["attempts"])
            assert ["pqid", "data", "timestamp", "takes", "attempts"] == list(raw)
            q.nack(raw)
        q.put("y")
        assert {"x", "y"} == {*q.get_many(2)}
        assert [(HELD, 4, 4, None), (HELD, 1, 1, None)] == rows(
            q, "status", "takes", "attempts", "note"
        )


def fail(q: Any, during: Callable[[], Any] = lambda: None) -> None:
    """Take an item for a block that raises.

    Args:
        during: called before that.
    """
    with q.process(timeout=0):
        during()
        raise KeyError


def test_a_block_that_raises_was_an_attempt(open_queue: Open, path: Path) -> None:
    """So was a loop that was left."""
    with open_queue(path) as q:
        q.put("x")
        with pytest.raises(KeyError):
            fail(q)
        assert [(READY, 1, 1)] == rows(q, "status", "takes", "attempts")
        q.put("y")
        loop = iter(q)
        assert "y" == next(loop)
        loop.close()
        del loop
        assert (READY, 1, 1) == rows(q, "status", "takes", "attempts")[1]


ASYNC = {
    "AsyncSQLiteAckQueue": AsyncSQLiteAckQueue,
    "AsyncFILOSQLiteAckQueue": AsyncFILOSQLiteAckQueue,
    "AsyncUniqueAckQ": AsyncUniqueAckQ,
}


@pytest.mark.parametrize("kind", ASYNC)
def test_a_get_that_is_cancelled_was_no_attempt(path: Path, kind: str) -> None:
    """Its item is back, unseen: it was handed out, and that does not count."""

    async def main() -> list[dict[str, Any]]:
        async with ASYNC[kind](path, max_attempts=1) as q:
            await q.put("x")
            for turns in range(12):
                task = asyncio.ensure_future(q.get())
                for _ in range(turns % 3):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            return await q.queue()

    (row,) = asyncio.run(main())
    assert row["takes"] > 0
    assert 0 == row["attempts"]
    assert row["status"] < HELD


def test_a_body_that_is_cancelled_was_an_attempt(path: Path) -> None:
    """Its caller had the item: what hangs until it is cancelled fails in the end."""

    async def main() -> list[dict[str, Any]]:
        async with AsyncSQLiteAckQueue(path, max_attempts=2) as q:
            await q.put("x")
            for _ in range(2):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(_hang(q), 0.05)
            return await q.queue()

    (row,) = asyncio.run(main())
    assert (FAILED, 2) == (row["status"], row["attempts"])


async def _hang(q: Any) -> None:
    async with q.process():
        await asyncio.sleep(60)


def test_to_the_back_keeps_the_count(open_queue: Open, path: Path) -> None:
    """The row has a new id; how often it was handed out goes with it."""
    with open_queue(path) as q:
        q.put("x")
        (number,) = [q.nack(q.get(timeout=0), to="back")]
        assert 1 != number
        assert [(number, READY, 1, 1)] == rows(q, "id", "status", "takes", "attempts")


def test_the_last_attempt(open_queue: Open, path: Path) -> None:
    """An item that was handed out as often as it may be has failed when it comes back."""
    with open_queue(path, max_attempts=2) as q:
        q.put_many(["x", "y"])
        first = q.get(id=1)
        q.nack(first)
        q.nack(q.get(id=1))
        assert (1, 1, 1) == (q.qsize(), q.ack_failed_count(), q.active_size())
        note = "handed out 2 times and never acknowledged"
        assert (FAILED, 2, 2, note) in rows(q, "status", "takes", "attempts", "note")
        assert "y" == q.get(timeout=0)
        with pytest.raises(Empty):
            q.get(block=False)


@pytest.mark.parametrize("way", ["to the back", "a block", "many"])
def test_other_ways_back_from_the_last_attempt(open_queue: Open, path: Path, way: str) -> None:
    """So it is at the end of a block that raises, and where it was to go behind all others."""
    with open_queue(path, max_attempts=1) as q:
        q.put("x")
        if way == "a block":
            with pytest.raises(KeyError):
                fail(q)
        elif way == "many":
            assert [1] == q.nack_many([q.get(timeout=0)])
        else:
            assert 1 == q.nack(q.get(timeout=0), to="back")
        assert [(1, FAILED)] == rows(q, "id", "status")
        assert (0, 0) == (q.qsize(), q.active_size())


def test_an_item_that_kills_its_workers(open_queue: Open, path: Path) -> None:
    """It comes back by itself so often; then the next take passes it by, and those behind go on."""
    with open_queue(path, max_attempts=3) as q, open_queue(path) as other:
        bad = q.put("bad")
        for _ in range(3):
            q.get(id=bad)
            other.resume_unack_tasks(force=True)  # as when a worker was found dead
        good = q.put_many(["good", "too"])
        assert 3 == q.qsize()
        assert {"good", "too"} == {*q.get_many(9)}
        with pytest.raises(Empty):
            q.get(id=bad)
        assert (0, 1, 2) == (q.qsize(), q.ack_failed_count(), q.unack_count())
        note = "handed out 3 times and never acknowledged"
        assert (bad, FAILED, 3, note) in rows(q, "id", "status", "attempts", "note")
        assert [*good] == sorted(q.ack_many(ids=good))
        q.join()


def test_an_item_by_its_id_that_was_handed_out_too_often(open_queue: Open, path: Path) -> None:
    """It fails instead of being handed out again."""
    with open_queue(path, max_attempts=1) as q, open_queue(path) as other:
        q.put("x")
        q.get(timeout=0)
        other.resume_unack_tasks(force=True)
        with pytest.raises(Empty):
            q.get(id=1)
        assert 1 == q.ack_failed_count()


@pytest.mark.parametrize("by_id", [False, True])
def test_what_a_program_put_away_says_so(open_queue: Open, path: Path, by_id: bool) -> None:
    """The note of ``ack_failed``, by item and by id."""
    with open_queue(path) as q:
        q.put("x")
        item = q.get(timeout=0)
        assert 1 == (q.ack_failed(id=1) if by_id else q.ack_failed(item))
        assert [(FAILED, 1, "ack_failed() was called")] == rows(q, "status", "attempts", "note")


def test_what_failed_begins_anew_when_it_is_put_back(open_queue: Open, path: Path) -> None:
    """``nack`` by id counts its attempts anew; how often it was handed out stays."""
    with open_queue(path, max_attempts=1) as q:
        q.put("x")
        q.nack(q.get(timeout=0))
        assert 1 == q.nack(id=1)
        assert [(READY, 1, 0, None)] == rows(q, "status", "takes", "attempts", "note")
        assert 1 == q.ack(q.get(timeout=0))


def test_a_unique_queue_refuses_what_failed(path: Path) -> None:
    """An equal item cannot be put until the failed one is cleared."""
    for name, family in FAMILIES.items():
        if "Unique" not in name:
            continue
        path.mkdir(exist_ok=True)
        with family(path / name, max_attempts=1) as q:
            q.put("x")
            q.nack(q.get(timeout=0))
            assert q.put("x") is None
            assert 1 == q.clear_acked_data(keep_latest=0, clear_ack_failed=True)
            assert q.put("x") is not None


def test_without_a_bound_nothing_fails(open_queue: Open, path: Path) -> None:
    """The default: an item comes back for ever."""
    with open_queue(path) as q:
        q.put("x")
        for _ in range(20):
            q.nack(q.get(timeout=0))
        assert (1, 0) == (q.qsize(), q.ack_failed_count())


@pytest.mark.parametrize("wrong", [0, -1, True, "3", 1.5])
def test_no_number_of_attempts(open_queue: Open, path: Path, wrong: Any) -> None:
    """It is a whole number, 1 or more."""
    with pytest.raises((TypeError, ValueError), match="max_attempts"):
        open_queue(path, max_attempts=wrong)
