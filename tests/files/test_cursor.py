"""The cursor: what undo returns to, and what given-back items cost."""

from __future__ import annotations

import random

import pytest
from steps import steps

from persistqueue._core.cursor import Cursor, Position, State
from persistqueue._core.store import Record

_SIZE = 10  # records in a chunk


def place(number: int) -> Position:
    """Return where item ``number`` begins."""
    return Position(number // _SIZE, number % _SIZE, 7 * (number % _SIZE))


def taken(cursor: Cursor, state: State) -> Record | None:
    """Take the next item as the store does, or None at the head."""
    if cursor.front is not None or cursor.homeless is not None:
        return cursor.known()
    number = state.ordinal(cursor.read)
    if number == state.ordinal(state.head):
        return None
    record = Record(cursor.read, place(number + 1), number)
    cursor.read = record.end
    return record


@pytest.mark.parametrize("autosave", [False, True])
def test_draining_what_was_given_back_is_linear(autosave: bool) -> None:
    """Twice as many given-back items cost twice as many steps to take one by one."""

    def drain(count: int) -> int:
        state = State(_SIZE, head=place(count))
        cursor = Cursor(state, autosave, lambda chunk: True)
        records = [record for _ in range(count) if (record := taken(cursor, state))]
        cursor.untake(records)

        def one_by_one() -> None:
            for record in records:
                cursor.begin()
                again = taken(cursor, state)
                assert again is not None
                assert record.start == again.start
                cursor.counts(state.head)

        return steps(one_by_one)

    assert drain(400) <= 2.1 * drain(200)


def test_beginning_copies_nothing() -> None:
    """What a transaction returns to is the list itself, however long it is."""
    state = State(_SIZE, head=place(50))
    cursor = Cursor(state, False, lambda chunk: True)
    cursor.untake([record for _ in range(50) if (record := taken(cursor, state))])
    cursor.begin()
    assert cursor._before[1] is cursor.front


def test_a_long_list_is_let_go_of() -> None:
    """A hundred thousand items that were given back are forgotten without recursion."""
    state = State(_SIZE, head=place(100_000))
    cursor = Cursor(state, False, lambda chunk: True)
    cursor.untake([record for _ in range(100_000) if (record := taken(cursor, state))])
    assert (100_000, 100_000) == cursor.counts(state.head)
    cursor.follow(state, state._replace(tail=state.head))
    assert (0, 0) == cursor.counts(state.head)


@pytest.mark.parametrize("seed", range(40))
def test_undo_is_exact(seed: int) -> None:
    """After undo the same items come, and the same are settled, as without the transaction."""
    chance = random.Random(seed)
    state = State(_SIZE, head=place(60))
    cursor = Cursor(state, False, lambda chunk: True)
    out: list[Record] = []
    settled: set[int] = set()
    for _ in range(60):
        cursor.begin()
        before = list(out), set(settled), cursor.counts(state.head), cursor.done()
        for _ in range(chance.randrange(1, 6)):
            step = chance.random()
            if step < 0.5:
                record = taken(cursor, state)
                if record is not None:
                    out.append(record)
            elif out:
                some = chance.sample(out, min(2, len(out)))
                out = [record for record in out if record not in some]
                if step < 0.75:
                    cursor.untake(some)
                else:
                    cursor.settle(some + some)  # twice is harmless
                    settled.update(record.item for record in some)
        if chance.random() < 0.5:
            cursor.undo()
            out, settled, counts, done = before
            assert (counts, done) == (cursor.counts(state.head), cursor.done())
        else:
            state = state.with_ends(cursor.done(), state.head)
            cursor.landed(state)
        oldest = next(number for number in range(61) if number not in settled)
        assert place(oldest) == cursor.done()
        left = 60 - len(settled)
        assert (left - len(out), left) == cursor.counts(state.head)
    rest = []
    while (record := taken(cursor, state)) is not None:
        rest.append(record.item)
    assert sorted(set(range(60)) - settled - {record.item for record in out}) == rest
