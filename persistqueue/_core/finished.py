"""Which items behind the tail are finished: ranges of ordinals, and how ``info`` writes them.

An ordinal says how many records were ever stored before an item.  Ranges are sorted and do not
touch.  They cost as much as there are gaps between them, however many items they hold.

A range is written as the gap in front of it and its length, oldest first.  The first gap counts
from the tail and is written 1 larger, because a range may begin at the tail: an object need not
know the place at which a range ends that another object has finished.  ::

    00 .. ef       gap 1 to 4, length 1 to 60: (gap - 1) * 60 + length - 1
    f0 .. fb, ..   gap 1 to 4, length 61 to 828: f0 + (gap - 1) * 3 + (length - 61) // 256,
                   and (length - 61) % 256
    fc .. ..       any gap and length, seven bits a byte, the lowest first
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    # The first ordinal, the one behind the last, the place of that if it is known, and the bytes.
    _Range: TypeAlias = tuple[int, int, Any, bytes]
    _Change: TypeAlias = tuple[int, list[_Range], list[_Range]]

_GAPS, _RUNS = 4, 60
_LONGER, _LONGEST = 0xF0, _RUNS + 3 * 256
_ANY = 0xFC
_SHORT = [bytes((number,)) for number in range(_GAPS * _RUNS)]
AVOIDED = b"pqI"  # what begins the trailer of info, and is searched for from the right
_code_of = itemgetter(3)


class Finished:
    """The finished items behind the tail, with a way back to the beginning of a transaction.

    Attributes:
        ranges: in order; each change of it is one step, which Ctrl-C cannot cut in two.
        total: how many items they hold.
        changes: what this transaction has replaced: at which index, which ranges, by which.
    """

    def __init__(self) -> None:
        self.ranges: list[_Range] = []
        self.total = 0
        self.changes: list[_Change] = []

    def add(self, first: int, end: int, place: Any = None) -> None:
        """Note that the items from ``first`` up to ``end`` are finished.

        Args:
            place: of ``end``; None: not known.
        """
        ranges = self.ranges
        low = bisect_left(ranges, (first,))
        high = bisect_left(ranges, (end + 1,), low)  # those between touch it
        if low and ranges[low - 1][1] >= first:
            low -= 1
        if low < high:
            begin, _, _, _ = ranges[low]
            _, stop, known, _ = ranges[high - 1]
            first = min(first, begin)
            if stop > end or (stop == end and place is None):
                end, place = stop, known
            if high - low == 1 and (first, end, place) == (begin, stop, known):
                return
        self._replace(low, high, [(first, end, place)])

    def cut(self, low: int, high: int) -> None:
        """Forget what is finished from ``low`` up to ``high``."""
        ranges = self.ranges
        start = bisect_left(ranges, (low,))
        if start and ranges[start - 1][1] > low:
            start -= 1
        stop = bisect_left(ranges, (high,), start)
        if start == stop:
            return
        first, (_, end, place, _) = ranges[start][0], ranges[stop - 1]
        left: list[tuple[int, int, Any]] = [(first, low, None)] if first < low else []
        if end > high:
            left.append((high, end, place))
        self._replace(start, stop, left)

    def clip(self, low: int, high: int) -> None:
        """Forget what is finished outside of two ordinals."""
        self.cut(0, low)
        if self.ranges and self.ranges[-1][1] > high:
            self.cut(high, self.ranges[-1][1])

    def advance(self, tail: int) -> Any:
        """Forget what is in front of ``tail``, and the range that begins there.

        Returns:
            the place at which that range ends.  None: there is none, or its end is not known;
            then it stays.
        """
        ranges, place, stop = self.ranges, None, 0
        while stop < len(ranges) and ranges[stop][0] <= tail and place is None:
            _, end, place, _ = ranges[stop]
            if end <= tail:
                place = None
            elif place is None:
                self.cut(0, tail)
                return None
            stop += 1
        if stop:
            self._replace(0, stop, [])
        return place

    def end_of(self, ordinal: int) -> int:
        """Return the end of the range in which an item is; 0: it is not finished."""
        index = bisect_right(self.ranges, (ordinal + 1,))
        end = self.ranges[index - 1][1] if index else 0
        return end if end > ordinal else 0

    def end_known(self, end: int, place: Any) -> None:
        """Note the place at which a range ends, if one ends at this ordinal."""
        index = bisect_left(self.ranges, (end,)) - 1
        if index >= 0:
            first, stop, known, code = self.ranges[index]
            if stop == end and known is None:
                self.ranges[index] = first, stop, place, code

    def behind(self, ordinal: int) -> int:
        """Return how many items are finished from an ordinal on."""
        index = bisect_left(self.ranges, (ordinal,))
        count = sum(end - first for first, end, _, _ in self.ranges[index:])
        return count + max(self.ranges[index - 1][1] - ordinal, 0) if index else count

    def begin(self) -> None:
        """Begin a transaction: ``undo`` comes back to here."""
        self.changes = []

    def undo(self) -> None:
        """Be as at the beginning of the transaction."""
        for index, old, new in reversed(self.changes):
            there = self.ranges[index : index + 1]
            # Ctrl-C may have come between the note of a change and the change.
            done = there[:1] != old[:1] if old else bool(there) and there[0][0] == new[0][0]
            if done:
                self.ranges[index : index + len(new)] = old
        self.changes = []
        self.total = sum(end - first for first, end, _, _ in self.ranges)

    def _replace(self, low: int, high: int, new: Sequence[tuple[int, int, Any]]) -> None:
        """Put ranges in the place of those between two indexes."""
        ranges = self.ranges
        before = ranges[low - 1][1] if low else None
        coded: list[_Range] = []
        if high < len(ranges):  # the gap in front of it is another one
            first, end, place, _ = ranges[high]
            new, high = [*new, (first, end, place)], high + 1
        for first, end, place in new:
            code = b"" if before is None else _code(first - before, end - first)
            coded.append((first, end, place, code))
            before = end
        old = ranges[low:high]
        self.changes.append((low, old, coded))
        ranges[low:high] = coded
        self.total += sum(r[1] - r[0] for r in coded) - sum(r[1] - r[0] for r in old)

    def encode(self, tail: int, room: int) -> bytes:
        """Return the ranges behind ``tail`` as bytes, the oldest of them, as many as fit."""
        if not self.ranges or room <= 0:
            return b""
        first, end, _, _ = self.ranges[0]
        first = max(first, tail)
        codes = [_code(first - tail + 1, end - first)]
        codes += map(_code_of, self.ranges[1:room])  # each has one byte at least
        data = b"".join(codes)
        if AVOIDED in data:  # in any other code its last byte stands behind other bytes
            gap, run, _ = _decode_one(AVOIDED, len(AVOIDED) - 1)
            codes = [_long_code(gap, run) if each == AVOIDED[-1:] else each for each in codes]
            data = b"".join(codes)
        if len(data) > room:
            sizes = list(accumulate(map(len, codes)))
            data = b"".join(codes[: bisect_right(sizes, room)])
        return data


def decode(data: bytes, tail: int, head: int) -> list[tuple[int, int]]:
    """Return the ranges that ``encode`` has written, between two ordinals.

    Raises:
        ValueError: it did not write these bytes.
    """
    found, at, behind = [], 0, tail - 1
    while at < len(data):
        gap, run, at = _decode_one(data, at)
        first = behind + gap
        behind = first + run
        if gap < 1 or run < 1 or behind > head:
            raise ValueError("no ranges between tail and head")
        found.append((first, behind))
    return found


def _code(gap: int, run: int) -> bytes:
    """Return the shortest bytes of one range."""
    if gap <= _GAPS and run <= _LONGEST:
        if run <= _RUNS:
            return _SHORT[(gap - 1) * _RUNS + run - 1]
        more, rest = divmod(run - _RUNS - 1, 256)
        return bytes((_LONGER + (gap - 1) * 3 + more, rest))
    return _long_code(gap, run)


def _long_code(gap: int, run: int) -> bytes:
    """Return the bytes of one range in the form that fits any."""
    return bytes(chain((_ANY,), _varint(gap), _varint(run)))


def numbers_without_letters(*numbers: int) -> bytes:
    """Return numbers that ``decode_number`` reads, of whose bytes none is below 128 but 0."""
    digits: list[int] = []
    for number in numbers:
        *front, last = _varint(number)
        digits += [*front, last | 0x80, 0]
    return bytes(digits)


def _varint(number: int) -> list[int]:
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return [*digits, number]


def _decode_one(data: bytes, at: int) -> tuple[int, int, int]:
    """Return a gap, a length, and where the next one begins."""
    byte = data[at]
    at += 1
    if byte < _LONGER:
        gap, run = divmod(byte, _RUNS)
        return gap + 1, run + 1, at
    if byte < _ANY:
        if at == len(data):
            raise ValueError("it ends in the middle of a range")
        gap, more = divmod(byte - _LONGER, 3)
        return gap + 1, _RUNS + 1 + more * 256 + data[at], at + 1
    if byte > _ANY:
        raise ValueError("an unknown byte")
    gap, at = decode_number(data, at)
    run, at = decode_number(data, at)
    return gap, run, at


def decode_number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where the next one begins."""
    number = shift = 0
    while at < len(data):
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    raise ValueError("it ends in the middle of a number")
