"""Head, tail and size of a file queue: pure arithmetic, no I/O.

Source of the rules: format 1, the ``info`` mapping of persist-queue 1.1.0::

    {"chunksize": 100, "size": 1, "tail": [0, 0, 0], "head": [0, 1, 16]}

``head`` is where the next item goes, ``tail`` the next one to read, each as chunk
number, records in that chunk before it, byte offset.  A chunk is full when it
holds ``chunksize`` records; positions then move to ``[chunk + 1, 0, 0]``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

_new = tuple.__new__  # what a NamedTuple calls; its own __new__ is a Python function (0.1 us)


class Position(NamedTuple):
    """A place between two records."""

    chunk: int
    records: int  # in that chunk before it; ``count`` would hide a method of tuples
    offset: int


MOST_RECORDS = 2**63 - 1  # the largest chunk size; people pass sys.maxsize for "one chunk"
START = Position(0, 0, 0)
_LONGEST_MOVED = 64  # characters: ``info`` has 512 bytes for everything


class State(NamedTuple):
    """What ``info`` holds.  ``size`` is derived: it is the records in between.

    Attributes:
        moved: which batch of a move was stored last (see ``_commands.transfer``); mostly none.
    """

    chunksize: int
    tail: Position = START
    head: Position = START
    moved: str = ""

    @property
    def size(self) -> int:
        head, tail = self.head, self.tail
        return (head[0] - tail[0]) * self.chunksize + head[1] - tail[1]

    def ordinal(self, position: Position) -> int:
        """Return how many records were ever stored before ``position``."""
        return position[0] * self.chunksize + position[1]

    def after(self, position: Position, offset: int, count: int = 1) -> Position:
        """Return the position ``count`` records on, in the same chunk, at ``offset``."""
        count += position[1]
        if count < self[0]:
            return _new(Position, (position[0], count, offset))
        return Position(position[0] + 1, 0, 0)

    def with_ends(self, tail: Position, head: Position, moved: str) -> State:
        """Return the state with other ends."""
        return _new(State, (self[0], tail, head, moved))

    def mapping(self) -> dict[str, Any]:
        """Return the value of ``info``, keys in upstream's order."""
        chunksize, tail, head, moved = self
        value = {
            "chunksize": chunksize,
            "size": (head[0] - tail[0]) * chunksize + head[1] - tail[1],
            "tail": list(tail),
            "head": list(head),
        }
        if moved:
            value["moved"] = moved
        return value


def parse(value: Any) -> State:
    """Check the value of an ``info`` file, field by field.

    Raises:
        ValueError: it is not what a queue can have written; says which field.
    """
    if not isinstance(value, dict):
        raise ValueError("it holds no mapping")
    chunksize = value.get("chunksize")
    if type(chunksize) is not int or not 1 <= chunksize <= MOST_RECORDS:
        raise ValueError(f"'chunksize' is {_say(chunksize)}")
    size = value.get("size")
    tail, head = (_position(value, key, chunksize) for key in ("tail", "head"))
    moved = value.get("moved", "")
    if type(moved) is not str or len(moved) > _LONGEST_MOVED:
        raise ValueError(f"'moved' is of type {type(moved).__name__}, or too long")
    state = State(chunksize, tail, head, moved)
    if state.tail > state.head or type(size) is not int or state.size != size:
        raise ValueError(f"'size' is {_say(size)}, but head and tail are {state.size} items apart")
    if size > MOST_RECORDS:
        raise ValueError("'size' is more than a disk can hold")
    return state


def _position(value: dict[Any, Any], key: str, chunksize: int) -> Position:
    found = value.get(key)
    if not isinstance(found, (list, tuple)) or len(found) != 3 or not all(map(_is_whole, found)):
        raise ValueError(f"{key!r} is not three whole numbers")
    position = Position(*found)
    if position.records >= chunksize or (position.records == 0 and position.offset != 0):
        raise ValueError(f"{key!r} is {list(position)} at a chunk size of {chunksize}")
    return position


def _is_whole(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 <= number < 1 << 62


def _say(value: object) -> str:
    """Name a value without trusting it: the repr of a small nest can be gigabytes."""
    return str(value) if _is_whole(value) else f"of type {type(value).__name__}"
