"""Means of the tests in ``testing``: a child that dies, calls that raise, damage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

TIME = 60  # s that a child or an event loop may take
#: A program that works on a queue as it is told, then dies without a word.
CHILD = """
import json, os, pickle, sys
sys.path[:] = json.loads(sys.argv[1])
from persistqueue import Queue
engine = pickle.loads(bytes.fromhex(sys.argv[2]))
queue = Queue(sys.argv[3], engine=engine, durability="process")
for verb, *arguments in json.loads(sys.argv[4]):
    getattr(queue, verb)(*arguments)
os._exit(9)
"""


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on an event loop of its own, with a bound on its time."""
    return asyncio.run(asyncio.wait_for(work(), TIME))


def raises(
    error: type[Exception], call: Callable[..., Any], *args: Any, **options: Any
) -> Exception:
    """Return the error that a call raises; it must be of that class."""
    try:
        call(*args, **options)
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def flip_a_bit(record: bytes) -> bytes:
    """Return a record with another last byte but one."""
    return record[:-2] + bytes([record[-2] ^ 1]) + record[-1:]


def lose(_: bytes) -> None:
    """Return no record."""
    return
