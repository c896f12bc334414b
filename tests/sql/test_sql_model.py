"""A random life of an SQLite queue against a model of its table.

The model is what a person would write down: each row's item and what has become of it.
The object is closed, or left as it is, and opened again in either family; another object
works on the same table meanwhile.  What is stored is compared after every step.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
from families import SQL_KINDS, open_sql
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from waiting import Interrupt, interrupt

from persistqueue import Empty
from persistqueue._sql.sqlite.others import Others
from persistqueue._sql.statements import ACKED, FAILED, HELD, NEW, READY

WAITING = (NEW, READY)

PICK = st.integers(0, 9)


@dataclass
class Row:
    """A row of the table.

    Attributes:
        holder: the object that has handed it out, if it is alive.
    """

    item: Any
    priority: int = 0
    status: int = NEW
    holder: Any = None


class SqlLife(RuleBasedStateMachine):
    """One table, whose rows are gone when they are taken."""

    kind = "SQLiteQueue"
    twin = False  # whether it begins with the async class
    arguments: dict[str, Any] = {"auto_commit": True}  # noqa: RUF012 - nobody changes it

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.file = Path(self.folder) / "jobs.db"
        self.file.touch()  # so that both families take it for the database
        self.unique, self.newest_first = "Unique" in self.kind, "FILO" in self.kind
        self.abandoned: list[Any] = []
        self.rows: dict[int, Row] = {}  # by id
        self.hands: list[tuple[int, Any]] = []  # id and object of what is not finished
        self.stale: list[Any] = []  # objects of what is
        self.next = 0  # the next item
        self.last_id = 0
        self.q = self.opened(self.twin)

    def opened(self, twin: bool) -> Any:
        return open_sql(
            "Async" * twin + self.kind, self.file, durability="process", **self.arguments
        )

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for q in (self.q, *self.abandoned):
                q.close()
            shutil.rmtree(self.folder)

    # -- the model ----------------------------------------------------------------------

    def place(self, number: int) -> tuple[int, int]:
        """Return what rows are ordered by."""
        return self.rows[number].priority, -number if self.newest_first else number

    def waiting(self) -> list[int]:
        """Return the ids of what can be taken, in order."""
        return self.in_order(number for number, row in self.rows.items() if row.status in WAITING)

    def in_order(self, numbers: Any) -> list[int]:
        return sorted(numbers, key=self.place)

    def items(self, numbers: list[int]) -> list[Any]:
        return [self.rows[number].item for number in numbers]

    def unfinished(self) -> int:
        return sum(row.status < ACKED for row in self.rows.values())

    def new_item(self, pick: int) -> Any:
        """Return an item; in a unique queue it may be there already."""
        self.next += 1
        return {"b": pick, "a": [pick]} if self.unique else [self.next]

    def is_there(self, item: Any) -> bool:
        return self.unique and any(row.item == item for row in self.rows.values())

    def stored(self, number: int | None, item: Any, priority: int, status: int = NEW) -> None:
        """Note what a put returned."""
        assert (number is None) == self.is_there(item)
        if number is not None:
            assert number > self.last_id
            self.last_id = number
            self.rows[number] = Row(item, priority, status)

    def took(self, numbers: list[int], items: list[Any]) -> None:
        """Note what a get returned."""
        assert self.items(numbers) == items
        self.hands += zip(numbers, items, strict=True)
        for number in numbers:
            self.hand_out(number)

    def hand_out(self, number: int) -> None:
        del self.rows[number]
        self.let_go(number)

    def let_go(self, number: int) -> None:
        """Note that this object does not hold a row any more."""
        self.stale += [item for held, item in self.hands if held == number]
        self.hands = [(held, item) for held, item in self.hands if held != number]

    def finish(self, number: int) -> None:
        """Note that a row was settled by a block or a loop."""

    def give_back(self, number: int, row: Row) -> None:
        """Note that a row was given back by a block or a loop."""
        if not self.is_there(row.item):
            self.rows[number] = row

    def forget(self, q: Any) -> None:
        """Note that an object is closed."""

    def resumed(self) -> None:
        """Note that an object was opened."""

    # -- what callers do ----------------------------------------------------------------

    @rule(pick=PICK, priority=st.integers(-1, 1))
    def put(self, pick: int, priority: int) -> None:
        item = self.new_item(pick)
        options = {"priority": priority} if self.kind == "PriorityQueue" else {}
        self.stored(self.q.put(item, **options), item, options.get("priority", 0))

    @rule(picks=st.lists(PICK, max_size=15))
    def put_many(self, picks: list[int]) -> None:
        self.put_many_through(self.q, picks)

    def put_many_through(self, q: Any, picks: list[int]) -> None:
        items = [self.new_item(pick) for pick in picks]
        ids = q.put_many(items)
        assert len(items) == len(ids)
        for number, item in zip(ids, items, strict=True):
            self.stored(number, item, 0)

    @rule(most=st.integers(1, 6))
    def get_many(self, most: int) -> None:
        expected = self.waiting()[:most]
        if expected:
            self.took(expected, self.q.get_many(most))
        else:
            with pytest.raises(Empty):
                self.q.get_nowait()

    @rule(count=st.integers(2, 6))
    def get_one_by_one(self, count: int) -> None:
        """As a consumer does; then rows are read ahead."""
        for _ in self.waiting()[:count]:
            self.get_many(1)

    @rule()
    def get_raw(self) -> None:
        for number in self.waiting()[:1]:
            raw = self.q.get(raw=True)
            assert number == raw["pqid"]
            assert self.rows[number].priority == raw.get("priority", 0)
            self.took([number], [raw["data"]])

    @rule(pick=PICK)
    def get_by_id(self, pick: int) -> None:
        number = self.some_id(pick)
        if number in self.waiting():
            self.took([number], [self.q.get(id=number)])
        else:
            with pytest.raises(Empty):
                self.q.get(id=number)

    def some_id(self, pick: int) -> int:
        """Return the id of what is next, or of any row, or one that no row has."""
        if pick < 3 and len(self.waiting()) > pick:
            return self.waiting()[pick]
        return [*sorted(self.rows), self.last_id + 1][-1 - pick % (len(self.rows) + 1)]

    @rule()
    def peek(self) -> None:
        for number in self.waiting()[:1]:
            assert self.rows[number].item == self.q.peek()

    @rule(pick=PICK, what=PICK)
    def update(self, pick: int, what: int) -> None:
        number, item = self.some_id(pick), self.new_item(what)
        if number not in self.rows:
            assert number == self.q.update(item, number)
        elif self.is_there(item) and item != self.rows[number].item:
            with pytest.raises(ValueError, match="equal"):
                self.q.update(item, number)
        else:
            assert number == self.q.update(item, number)
            self.rows[number].item = item

    @rule(fails=st.booleans(), picks=st.lists(PICK, max_size=2), most=st.integers(0, 2))
    def process(self, fails: bool, picks: list[int], most: int) -> None:
        if not self.waiting():
            return
        first = self.waiting()[0]
        row = self.rows[first]
        try:
            with self.q.process() as item:
                self.took([first], [item])
                self.put_many(picks)
                if most:
                    self.get_many(most)
                interrupt(fails)
        except Interrupt:
            self.let_go(first)
            self.give_back(first, row)
        else:
            self.let_go(first)
            self.finish(first)

    @rule(most=st.integers(1, 4))
    def iterate(self, most: int) -> None:
        numbers = self.waiting()[:most]
        rows = [self.rows[number] for number in numbers]
        left = list(numbers)
        for item in self.q if numbers else ():
            number = left.pop(0)
            self.took([number], [item])
            self.let_go(number)
            if not left:
                break
            self.finish(number)
        for number, row in list(zip(numbers, rows, strict=True))[-1:]:
            self.give_back(number, row)

    @rule()
    def tidy(self) -> None:
        self.q.sync()
        self.q.shrink_disk_usage()

    @rule(crash=st.booleans(), twin=st.booleans())
    def reopen(self, crash: bool, twin: bool) -> None:
        if crash:
            self.abandoned.append(self.q)
        else:
            self.q.close()
            self.forget(self.q)
        self.hands, self.stale = [], []
        self.q = self.opened(twin)
        self.resumed()

    @rule()
    def close_what_was_left(self) -> None:
        if self.abandoned:
            q = self.abandoned.pop()
            q.close()
            self.forget(q)

    @rule(picks=st.lists(PICK, max_size=3), most=st.integers(0, 3), twin=st.booleans())
    def elsewhere(self, picks: list[int], most: int, twin: bool) -> None:
        """Another object puts, and takes and finishes."""
        with self.opened(twin) as other:
            self.resumed()
            self.put_many_through(other, picks)
            expected = self.waiting_elsewhere()[:most]
            if expected:
                taken = other.get_many(most)
                assert self.items(expected) == taken
                self.finish_elsewhere(other, expected, taken)

    def waiting_elsewhere(self) -> list[int]:
        """Return the ids of what another object can take, in order."""
        return self.waiting()

    def finish_elsewhere(self, other: Any, numbers: list[int], items: list[Any]) -> None:
        """Have another object finish what it took."""
        for number in numbers:
            del self.rows[number]

    @invariant()
    def what_is_stored_is_exact(self) -> None:
        if not hasattr(self, "q"):
            return
        assert len(self.waiting()) == self.q.qsize()
        assert self.unfinished() == self.q.unfinished_tasks
        found = {row["id"]: row["data"] for row in self.q.queue()}
        assert {number: row.item for number, row in sorted(self.rows.items())} == found
        assert sorted(found) == list(found)


class ReservingLife(SqlLife):
    """One table, whose rows are there until ``task_done``, and come again if it never is."""

    arguments = {"auto_commit": False}  # noqa: RUF012

    def hand_out(self, number: int) -> None:
        self.rows[number].status = HELD

    def finish(self, number: int) -> None:
        self.rows.pop(number, None)

    def give_back(self, number: int, row: Row) -> None:
        if number in self.rows:
            row.status = NEW

    def resumed(self) -> None:
        """Note that an object was opened; it knows nothing of what this one has handed out."""
        held = {number for number, _ in self.hands}
        for number, row in self.rows.items():
            if number not in held:
                row.status = NEW

    def waiting_elsewhere(self) -> list[int]:
        return self.in_order(self.rows)

    def finish_elsewhere(self, other: Any, numbers: list[int], items: list[Any]) -> None:
        other.task_done()
        super().finish_elsewhere(other, numbers, items)

    @rule(pick=PICK)
    def task_done_of_an_item(self, pick: int) -> None:
        if self.hands:
            number, item = self.hands[pick % len(self.hands)]
            self.q.task_done(item=item)
            self.finish(number)
            self.let_go(number)

    @rule(count=st.integers(1, 4))
    def task_done_of_some(self, count: int) -> None:
        if count > len(self.hands):
            with pytest.raises(ValueError, match="too many times"):
                self.q.task_done(count)
        else:
            self.q.task_done(count)
            for number, _ in self.hands[:count]:
                self.finish(number)
                self.let_go(number)

    @rule()
    def task_done(self) -> None:
        self.q.task_done()
        for number, _ in list(self.hands):
            self.finish(number)
            self.let_go(number)


#: verb -> the new status, and the old ones from which a row that is named by its id gets it.
VERBS: dict[str, tuple[int, set[int]]] = {
    "ack": (ACKED, {NEW, READY, HELD}),
    "ack_failed": (FAILED, {NEW, READY, HELD}),
    "nack": (READY, {HELD, FAILED}),
}
EACH_VERB = st.sampled_from(sorted(VERBS))


class AckLife(SqlLife):
    """One table, whose rows stay; what dead objects held is handed out again."""

    arguments: dict[str, Any] = {}  # noqa: RUF012

    def hand_out(self, number: int) -> None:
        self.rows[number].status, self.rows[number].holder = HELD, self.q

    def finish(self, number: int) -> None:
        self.become(number, ACKED)

    def become(self, number: int, status: int) -> None:
        row = self.rows[number]
        row.status, row.holder = status, None

    def give_back(self, number: int, row: Row) -> None:
        self.become(number, READY)

    def forget(self, q: Any) -> None:
        for row in self.rows.values():
            if row.holder is q:
                row.holder = None

    def resumed(self) -> None:
        for row in self.rows.values():
            if row.status == HELD and row.holder is None:
                row.status = READY

    def finish_elsewhere(self, other: Any, numbers: list[int], items: list[Any]) -> None:
        for number, item in zip(numbers, items, strict=True):
            assert number == other.ack(item)
            self.become(number, ACKED)

    def moved(self, number: int, status: int, found: int, to: str = "front") -> None:
        """Note that a row has another status, and perhaps another place."""
        self.let_go(number)
        self.become(number, status)
        if to == "front":
            assert number == found
        else:
            row = self.rows.pop(number)
            assert found not in self.rows
            self.rows[found] = row
            self.last_id = max(self.last_id, found)
            assert found == self.in_order(self.rows)[-1]

    @rule(verb=EACH_VERB, pick=PICK, same=st.booleans(), to=st.sampled_from(["front", "back"]))
    def finish_an_item(self, verb: str, pick: int, same: bool, to: str) -> None:
        """By the object, or by an equal one; one that is finished changes nothing."""
        objects = [*self.stale, *(item for _, item in self.hands)]
        if not objects:
            return
        item = objects[-1 - pick % len(objects)]
        held = [number for number, mine in self.hands if same and mine is item]
        held = held or [number for number, mine in self.hands if mine == item]
        options = {"to": to} if verb == "nack" else {}
        argument = item if same else type(item)(item)
        found = getattr(self.q, verb)(argument, **options)
        if not held:
            assert found is None
        elif options.get("to") == "back":
            stored = {row["id"] for row in self.q.queue()}
            [gone] = [number for number in held if number not in stored]
            self.moved(gone, READY, found, "back")
        else:
            assert found in held
            self.moved(found, VERBS[verb][0], found)

    @rule(verb=EACH_VERB, pick=PICK, raw=st.booleans(), to=st.sampled_from(["front", "back"]))
    def finish_a_row(self, verb: str, pick: int, raw: bool, to: str) -> None:
        """By its id, whoever holds it; a raw dict names a row that somebody holds."""
        number = self.some_id(pick)
        status, allowed = VERBS[verb]
        options: dict[str, Any] = {"to": to} if verb == "nack" else {}
        if raw:
            allowed = {HELD}
            options["item"] = {"pqid": number, "data": "as it was", "timestamp": 1.0}
        else:
            options["id"] = number
        found = getattr(self.q, verb)(**options)
        if number in self.rows and self.rows[number].status in allowed:
            self.moved(number, status, found, options.get("to", "front"))
        else:
            assert found is None

    @rule(pick=PICK)
    def get_next(self, pick: int) -> None:
        """The one behind a row in the queue's order; behind the last, the first."""
        number = self.some_id(pick)
        behind = [n for n in self.waiting() if (n < number if self.newest_first else n > number)]
        expected = (behind or self.waiting())[:1]
        if expected:
            self.took(expected, [self.q.get(id=number, next_in_order=True)])
        else:
            with pytest.raises(Empty):
                self.q.get(block=False, id=number, next_in_order=True)

    @rule()
    def resume(self) -> None:
        self.q.resume_unack_tasks()
        for number, _ in list(self.hands):
            self.let_go(number)
        self.forget(self.q)
        self.resumed()

    @rule(most=st.integers(0, 3), keep=st.integers(0, 3), failed_too=st.booleans())
    def clear(self, most: int, keep: int, failed_too: bool) -> None:
        over = (ACKED, FAILED) if failed_too else (ACKED,)
        numbers = [n for n in sorted(self.rows, reverse=True) if self.rows[n].status in over]
        gone = numbers[keep:][: most or None]
        assert len(gone) == self.q.clear_acked_data(most, keep, failed_too)
        for number in gone:
            del self.rows[number]

    @invariant()
    def every_status_is_exact(self) -> None:
        if not hasattr(self, "q"):
            return
        expected = {number: row.status for number, row in self.rows.items()}
        assert expected == {row["id"]: row["status"] for row in self.q.queue()}
        each = list(expected.values())
        assert [each.count(status) for status in (READY, HELD, ACKED, FAILED)] == [
            self.q.ready_count(), self.q.unack_count(),
            self.q.acked_count(), self.q.ack_failed_count(),
        ]  # fmt: skip


LIVES: dict[str, tuple[type[SqlLife], str]] = {
    **{kind: (AckLife if "Ack" in kind else SqlLife, kind) for kind in SQL_KINDS},
    **{
        f"{kind}, task_done": (ReservingLife, kind)
        for kind in SQL_KINDS
        if "Ack" not in kind
    },
}  # fmt: skip


@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("life", LIVES)
def test_a_random_life_loses_nothing(
    life: str, twin: bool, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored, in which order and with which status, is what was done, after any steps."""
    # What the dead held comes back at an opening, not 50 ms after the last look at them.
    monkeypatch.setattr(Others, "due", lambda _: inf)
    base, kind = LIVES[life]
    run_state_machine_as_test(
        type("Machine", (base,), {"kind": kind, "twin": twin}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
