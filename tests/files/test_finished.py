"""Finished items as ranges: against a plain set, with undo; and as bytes."""

from __future__ import annotations

import itertools
import random

import pytest
from steps import steps

from persistqueue._core.finished import AVOIDED, Finished, decode

_HEAD = 400


def numbers_of(finished: Finished) -> set[int]:
    """Return the items that the ranges hold."""
    return {n for first, end, _, _ in finished.ranges for n in range(first, end)}


def check(finished: Finished, model: set[int], tail: int) -> None:
    """Compare the ranges with a set."""
    assert model == numbers_of(finished)
    assert len(model) == finished.total
    ranges = [(first, end) for first, end, _, _ in finished.ranges]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ranges)), "they touch"
    assert [(max(first, tail), end) for first, end in ranges] == decode(
        finished.encode(tail, 10_000), tail, _HEAD
    )


@pytest.mark.parametrize("seed", range(60))
def test_ranges_are_a_set_of_items(seed: int) -> None:
    """After any additions, cuts, advances and undone transactions they hold what a set would."""
    chance = random.Random(seed)
    finished, model, tail = Finished(), set[int](), 0
    spread = chance.choice([20, 100, _HEAD])
    for _ in range(40):
        finished.begin()
        before = set(model), tail, list(finished.ranges)
        for _ in range(chance.randrange(1, 6)):
            first = tail + chance.randrange(spread)
            end = min(first + chance.choice([1, 1, 1, 2, 7, 70]), _HEAD)
            if chance.random() < 0.75 and first < end:
                finished.add(first, end, chance.choice([None, end]))
                model.update(range(first, end))
            elif chance.random() < 0.3:
                finished.cut(first, end)
                model.difference_update(range(first, end))
            else:
                tail = min(tail + chance.randrange(4), _HEAD)
                while (place := finished.advance(tail)) is not None:
                    assert place not in model
                    assert set(range(tail, place)) <= model
                    tail = place
                model = {n for n in model if n >= tail}
            check(finished, model, tail)
            some = chance.randrange(tail, _HEAD + 1)
            assert sum(n >= some for n in model) == finished.behind(some)
            stop = finished.end_of(some)
            assert (some in model) == bool(stop)
            assert set(range(some, stop)) <= model
            assert stop not in model or not stop
            finished.end_known(stop, stop)
        if chance.random() < 0.5:
            finished.undo()
            model, tail, ranges = before
            assert [one[:2] for one in ranges] == [one[:2] for one in finished.ranges]
            check(finished, model, tail)


def test_an_interrupted_change_is_undone() -> None:
    """Ctrl-C between the note of a change and the change leaves what was there."""
    for first, end in ((0, 2), (5, 9), (8, 12), (9, 11), (30, 31)):
        finished = Finished()
        for range_ in ((3, 4), (8, 9), (20, 25)):
            finished.add(*range_)
        before = list(finished.ranges)
        finished.begin()
        finished.add(first, end)
        after = list(finished.ranges)
        finished.ranges[:] = before
        finished.undo()
        assert before == finished.ranges
        finished.add(first, end)
        assert after == finished.ranges
        finished.undo()
        assert before == finished.ranges


@pytest.mark.parametrize("seed", range(12))
def test_bytes_are_read_as_they_were_written(seed: int) -> None:
    """Whatever the gaps and lengths are; the trailer's magic is not in them."""
    chance = random.Random(seed)
    finished, at = Finished(), 7
    for _ in range(300):
        first = at + chance.choice([1, 2, 4, 5, 112, 113, 200, 10**18])
        at = first + chance.choice([1, 14, 53, 54, 60, 61, 113, 828, 829, 10**20])
        finished.add(first, at)
    data = finished.encode(7, 10**6)
    assert AVOIDED not in data
    ranges = [one[:2] for one in finished.ranges]
    assert ranges == decode(data, 7, at)
    for room in range(0, 600, 7):
        part = finished.encode(7, room)
        assert len(part) <= room
        read = decode(part, 7, at)
        assert ranges[: len(read)] == read, "the oldest"
        assert len(read) == len(ranges) or len(finished.encode(7, room + 23)) > len(part)


def test_the_magic_of_the_trailer_is_avoided() -> None:
    """Gaps and lengths whose short codes would be the magic are written in another way."""
    finished, at = Finished(), 0
    for run in (53, 54, 14) * 3:
        finished.add(at + 2, at + 2 + run)
        at += 2 + run
    finished.add(at + 112, at + 112 + 113)
    finished.add(at + 227, at + 227 + 14)
    data = finished.encode(1, 400)
    assert AVOIDED not in data
    assert [one[:2] for one in finished.ranges] == decode(data, 1, 10_000)


@pytest.mark.parametrize("data", [b"\xff", b"\xf0", b"\xfc", b"\xfc\x01", b"\xfc\x80", b"\xfc\0\1",
                                  b"\xfc\1\0", b"\xef" * 9])  # fmt: skip
def test_other_bytes_are_refused(data: bytes) -> None:
    """Half a range, an unknown byte, an empty range and one behind the head are no ranges."""
    with pytest.raises(ValueError, match=r"."):
        decode(data, 5, 100)


def test_the_cost_is_that_of_the_gaps() -> None:
    """Behind one abandoned item each item costs the same, however many there are."""

    def cost(count: int) -> int:
        finished = Finished()

        def finish() -> None:
            for number in range(1, count):
                finished.begin()
                finished.add(number, number + 1, number + 1)
                finished.encode(0, 400)

        return steps(finish)

    assert cost(2000) <= 2.3 * cost(1000)


def test_a_few_gaps_more_cost_little() -> None:
    """With 20,000 gaps one more item takes as many steps as with 200."""

    def cost(count: int) -> int:
        finished = Finished()
        for number in range(1, count):
            finished.add(5 * number, 5 * number + 4)
        return steps(lambda: finished.add(5 * count // 2 + 4, 5 * count // 2 + 5))

    assert abs(cost(20_000) - cost(200)) < 10
