"""What blocks and workers, for threads and for asyncio, decide alike."""

from __future__ import annotations

import inspect
import signal
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import QueueFailed, QueueLocked, QueueUnreachable
from .call import settle
from .call import take as _take
from .log import inform

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call
    from .deadline import Deadline
    from .store import Record

GRACE = 30.0  # s that handlers may go on after the worker was told to stop
PAUSE = 1.0  # s before a worker tries again what failed
PASSING = (QueueLocked, QueueFailed, QueueUnreachable, OSError)  # errors that pass
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Work(NamedTuple):
    """How a ``process`` block or a worker takes an item, and what becomes of it.

    Attributes:
        take: makes the call that takes one item.
        shown: what the block or the handler is given for a record.
        failed: makes the call that stores why working on it failed; None: it is given back.
        signals: exceptions that say what shall become of the item, and are no errors.
    """

    take: Callable[[Deadline], Call[list[Record]]] = partial(_take, 1, holds=True)
    shown: Callable[[Record], Any] = attrgetter("item")
    failed: Callable[[list[Record], BaseException], Call[Any]] | None = None
    signals: tuple[type[Exception], ...] = ()


WORK = Work()


def ended(work: Work, records: list[Record], failure: BaseException | None) -> Call[Any]:
    """Return the call that finishes an item, or stores that working on it failed."""
    if failure is None:
        return settle(records)
    assert work.failed is not None, "a worker's queue knows what becomes of a job that failed"
    return work.failed(records, failure)


def say(queue: object, work: Work, failure: BaseException | None) -> None:
    """Log why a handler failed; what it raised on purpose is no failure."""
    if failure is not None and not isinstance(failure, work.signals):
        inform("%s: a handler failed", repr(queue), error=failure)


def overtime(timeout: float, error: BaseException) -> BaseException:
    """Return what is said of a handler that took too long; its own error if it has a text."""
    return error if str(error) else TimeoutError(f"the handler did not end within {timeout:g} s")


def is_async(handler: object) -> bool:
    """Return whether a call of a handler has to be awaited."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object may have it as a coroutine
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
