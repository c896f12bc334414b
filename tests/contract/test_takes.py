"""Who took what: the same answers as from a plain list, and no more steps than needed."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from persistqueue import Queue, SQLiteAckQueue, SQLiteQueue
from persistqueue._core.inflight import InFlight, InFlightAcks, InFlightRows
from persistqueue._core.store import Record


class Plain:
    """What ``InFlight`` promises, by looking through one list, oldest first."""

    def __init__(self, ended: set[str]) -> None:
        self.records: list[Record] = []
        self._ended = ended

    def oldest(self, owner: str) -> Record | None:
        if not self.records:
            return None
        if self.records[0].owner in self._ended:
            return self.records[0]
        own = [record for record in self.records if record.owner == owner]
        return (own or self.records)[0]

    def take_oldest(self, count: int, owner: str) -> list[Record]:
        found: list[Record] = []
        if count <= len(self.records):
            for _ in range(count):
                record = self.oldest(owner)
                assert record is not None
                self.records.remove(record)
                found.append(record)
        return found

    def rows(self, count: int, owner: str) -> list[Record]:
        own = [record for record in self.records if record.owner == owner]
        orphaned = [record for record in self.records if record.owner in self._ended]
        found = list(dict.fromkeys(own + orphaned + self.records))[:count]
        return found if len(found) == count else []

    def own_first(self, owner: str) -> list[Record]:
        own = [record for record in self.records if record.owner == owner]
        orphaned = [record for record in self.records if record.owner in self._ended]
        return own or orphaned or self.records

    def of_item(self, item: Any, owner: str) -> Record | None:
        same = [record for record in self.records if record.item is item]
        own = [record for record in same if record.owner == owner]
        return next(iter(own or same), None)


def picked(find: Any, *arguments: Any) -> list[Record]:
    """Return what a method of a book finds, and take it out: nothing if it is refused."""
    try:
        found = find(*arguments)
    except ValueError:
        return []
    for record in found:
        find.__self__.discard(record)
        find.__self__.discard(record)  # twice is harmless
    return list(found)


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_picked_for_the_caller_first(seed: int) -> None:
    """A bare task_done picks all of the caller's, one with a number its oldest; else what
    nobody alive holds, else the others'."""
    chance = random.Random(seed)
    ended: set[str] = set()
    takes, plain = InFlightRows(ended.__contains__), Plain(ended)
    for number in range(300):
        owner, step = chance.choice("abc"), chance.random()
        if step < 0.6:
            records = [Record(number, number + 1, object())]
            takes.add(records, owner)
            plain.records += records
        elif step < 0.9:
            count = chance.choice((1, 1, 3))
            expected = plain.rows(count, owner)
            assert expected == picked(takes.oldest, count, owner)
            plain.records = [record for record in plain.records if record not in expected]
        elif step < 0.95:
            expected = plain.own_first(owner)
            assert expected == picked(takes.all_of, owner)
            plain.records = [record for record in plain.records if record not in expected]
        else:
            ended.symmetric_difference_update(owner)


@pytest.mark.parametrize("seed", range(40))
def test_takes_answer_as_a_plain_list_does(seed: int) -> None:
    """Whatever the order of takes, picks and failures, the right record is picked."""
    chance = random.Random(seed)
    ended: set[str] = set()
    takes, plain = InFlight(ended.__contains__), Plain(ended)
    items, number = [object() for _ in range(4)], 0
    for _ in range(300):
        owner, step = chance.choice("abc"), chance.random()
        if step < 0.45:
            records = [Record(number, number + 1, chance.choice(items))]
            number += 1
            takes.add(records, owner)
            takes.add(records, owner)  # twice is harmless
            plain.records += records
        elif step < 0.65:
            count = chance.choice((1, 1, 3))
            assert plain.take_oldest(count, owner) == picked(takes.oldest, count, owner)
        elif step < 0.8:
            item = chance.choice(items)
            expected = plain.of_item(item, owner)
            assert ([expected] if expected else []) == picked(takes.of_item, item, owner)
            plain.records = [record for record in plain.records if record is not expected]
        elif step < 0.9 and plain.records:
            some = chance.sample(plain.records, min(3, len(plain.records)))
            assert some == picked(takes.still, some)
            assert [] == takes.still(some)
            takes.restore(some)  # settling them failed: they are the oldest now
            takes.restore(some)  # twice is harmless
            plain.records = some + [record for record in plain.records if record not in some]
        elif step < 0.92:
            ended.symmetric_difference_update(owner)


def test_a_lone_consumer_needs_no_index() -> None:
    """While one owner takes and settles in order, records are noted in one place only."""
    takes = InFlight(lambda owner: False)
    for number in range(3):
        takes.add([Record(number, number + 1, object())], "a")
    assert 2 == len(picked(takes.oldest, 2, "a"))
    assert not takes._indexes


def test_indexes_go_with_the_last_record() -> None:
    """When nothing is left that was taken, nothing is kept of it."""
    takes = InFlight(lambda owner: False)
    for owner in "ab":
        takes.add([Record(0, 1, object())], owner)
    assert ["b"] == [record.owner for record in picked(takes.oldest, 1, "b")]
    assert takes._indexes
    assert ["a"] == [record.owner for record in picked(takes.oldest, 1, "b")]
    assert not takes._indexes


class Watched(Record):
    """Counts how often somebody asks whose it is."""

    __slots__ = ("whose",)
    asked = 0

    @property
    def owner(self) -> Any:  # type: ignore[override]
        Watched.asked += 1
        return self.whose

    @owner.setter
    def owner(self, owner: Any) -> None:
        self.whose = owner


@pytest.mark.parametrize("find", ["same", "alike"])
def test_one_of_many_equal_items_is_found_at_once(find: str) -> None:
    """However many are held, the caller's first is enough; then anybody's."""
    held, count = InFlightAcks(lambda owner: False), 500
    held.add([Watched(number, None, None) for number in range(count)], "a")
    held.add([Watched(number, None, None) for number in range(count, 2 * count)], "b")

    def finish(owner: str) -> Any:
        record = getattr(held, find)(None, owner)
        held.discard(record)
        return record.start

    assert [0, count] == [finish("c"), finish("b")]  # the indexes are made at the first call
    Watched.asked = 0
    assert [count + 1, 1, count + 2] == [finish(owner) for owner in "bcb"]
    assert 20 > Watched.asked


@pytest.mark.parametrize("kind", ["Queue", "SQLiteAckQueue", "SQLiteQueue"])
def test_finishing_one_of_many_equal_items_takes_as_long_as_one_of_few(
    tmp_path: Path, kind: str
) -> None:
    """Small numbers are one object, however often they are handed out."""
    costs = []
    for count in (500, 20_000):
        path = tmp_path / str(count)
        with {
            "Queue": lambda path: Queue[int](path, durability="process"),
            "SQLiteAckQueue": lambda path: SQLiteAckQueue(path, durability="process"),
            "SQLiteQueue": lambda path: SQLiteQueue(path, auto_commit=False, durability="process"),
        }[kind](path) as q:
            q.put_many([5] * count)
            assert count == len(q.get_many(count))
            finish = q.ack if kind == "SQLiteAckQueue" else lambda item: q.task_done(item=item)
            finish(5)  # the first one makes an index
            began = time.thread_time()
            for _ in range(200):
                finish(5)
            costs.append(time.thread_time() - began)
    assert costs[1] < 4 * costs[0]
