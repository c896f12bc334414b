"""How threads hold items: ``process`` blocks and loops over a queue, for every backend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from .. import exceptions
from . import call
from .deadline import FOREVER, Deadline
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .call import R
    from .store import Record
    from .threads import ThreadSession
    from .work import Work

S = TypeVar("S")
_ENDS = (exceptions.QueueShutDown, exceptions.QueueClosed)


def each(function: Callable[[S], R], items: Iterable[S]) -> list[R]:
    """Return the result of ``function`` for each of ``items``."""
    return [function(item) for item in items]


@contextmanager
def holding(
    queue: object, session: ThreadSession, work: Work, block: bool, timeout: float | None
) -> Iterator[Any]:
    """Hold an item for the length of a block."""
    deadline = Deadline.of(block, timeout)
    records: list[Record] = []
    working = False
    try:  # one for all of it: Ctrl-C may come between any two lines
        records = session.run(work.take(deadline))
        working = True
        records[0].spent = work.failed is None
        yield work.shown(records[0])
        working = False
        session.run(call.settle(records))
    except Exception as error:
        try:
            if working and work.failed is not None:
                _store_failure(queue, session, work.failed(records, error))
            elif records:
                session.strays.append((records, working))
                _give_back(queue, session, error)
        except BaseException as interrupt:
            session.strays.append((records, False))
            _give_back(queue, session, interrupt)
            raise
        if not isinstance(error, work.signals):
            raise
    except BaseException as error:
        if records:  # at once: a second interrupt finds it there
            session.strays.append((records, False))
            _give_back(queue, session, error)
        raise


def _store_failure(queue: object, session: ThreadSession, failure: call.Call[Any]) -> None:
    try:
        session.run(failure)
    except Exception:  # noqa: BLE001 - the error that led here must not be hidden
        warn("%s: an item could not be given back", repr(queue), traceback=True)


def _give_back(queue: object, session: ThreadSession, why: BaseException) -> None:
    try:
        if isinstance(why, GeneratorExit):
            session.collect_soon()
        else:
            session.collect_strays()
    except Exception:  # noqa: BLE001 - the error that led here must not be hidden
        warn("%s: an item could not be given back", repr(queue), traceback=True)
    session.back_off.say(queue)


def loop(queue: object, session: ThreadSession) -> Iterator[Any]:
    """Run one ``for`` over a queue."""
    while True:
        session.back_off.say(queue)
        records: list[Record] = []
        try:
            records = session.run(call.take(1, FOREVER, holds=True))
            records[0].spent = True
            yield records[0].item
            session.run(call.settle(records))
        except BaseException as error:
            if records:
                if isinstance(error, GeneratorExit):
                    session.back_off.left(records)
                session.strays.append((records, False))
                _give_back(queue, session, error)
            elif isinstance(error, _ENDS):
                return
            raise
