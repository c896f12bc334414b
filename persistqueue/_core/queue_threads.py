"""What the queues for threads have in common, whatever they are stored in."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import exceptions
from . import call
from .arguments import T, uncopied, whole
from .deadline import FOREVER, Deadline
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from .store import Record
    from .threads import ThreadSession


R = TypeVar("R")
_ENDS = (exceptions.QueueShutDown, exceptions.QueueClosed)


def each(function: Callable[[Any], R], items: Iterable[Any]) -> list[R]:
    """Return what ``function`` makes of each of ``items``; the twin of ``turns.each``."""
    return [function(item) for item in items]


class Opened:
    """What its constructor opens, and what is closed in the end."""

    _session: ThreadSession
    __getstate__ = uncopied

    def close(self) -> None:
        """Let go of the files; a second call does nothing.

        Waiting callers wake up with ``QueueClosed``, later calls raise it.  Items that were
        taken and not finished are redelivered when the queue is opened again.
        """
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # None: the constructor raised
        if session is not None:
            with suppress(Exception):  # a destructor has no caller to tell
                session.close()


class Process(Generic[T]):
    """``process``, for whatever items are taken from."""

    _session: ThreadSession

    @contextmanager
    def process(self, block: bool = True, timeout: float | None = None) -> Iterator[T]:
        """Take an item for the length of a ``with`` block.

        It is finished when the block ends, and back in its place when the block
        raises.  After an ``Exception`` this object does not hand it out again for
        0.1 s, twice as long each time, 5 s at the most; other items come meanwhile, and
        other objects may take it.  Arguments and errors are those of ``get``.
        """
        deadline = Deadline.of(block, timeout)
        records: list[Record] = []
        working = False
        try:  # one for all of it: Ctrl-C may come between any two lines
            records = self._session.run(self._holding_one(deadline))
            working = True
            yield records[0].item
            working = False
            self._session.run(call.settle(records))
        except BaseException as error:
            if records:  # at once: a second interrupt finds it there
                self._session.strays.append((records, working and isinstance(error, Exception)))
                self._give_back(error)
            raise

    def _holding_one(self, deadline: Deadline) -> call.Call[list[Record]]:
        """Return the call that takes an item for a block."""
        return call.take(1, deadline, holds=True)

    def _give_back(self, why: BaseException) -> None:
        try:
            if isinstance(why, GeneratorExit):
                self._session.collect_soon()
            else:
                self._session.collect_strays()
        except Exception:  # noqa: BLE001 - the error that led here must not be hidden
            warn("%s: an item could not be given back", repr(self), traceback=True)
        self._session.back_off.say(self)


class QueueBase(Opened, Process[T]):
    """The methods that are about waiting and finishing; a subclass knows how to put."""

    path: str
    maxsize: int
    _store: Any

    # -- get ------------------------------------------------------------------------

    def get_many(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Wait for one item, then take what is there, in its order.

        Args:
            max_items: how many at the most, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.

        Raises:
            Everything that ``get`` raises.
        """
        most = whole("max_items", max_items, 1)
        return [
            record.item for record in self._session.run(call.take(most, Deadline.of(True, timeout)))
        ]

    def peek(self) -> T:
        """Return the next item and leave it in the queue.

        Raises:
            Empty: there is none.
        """
        item: T = self._session.run(call.peek())[0].item
        return item

    def __iter__(self) -> Iterator[T]:
        """Take items until the queue is shut down or closed, waiting for more.

        An item is finished when the next one is asked for.  Leaving the loop gives
        the last one back, unless it was finished inside.  After ten times at
        the same item it is held back as ``process`` says.
        """
        while True:
            self._session.back_off.say(self)
            records: list[Record] = []
            try:
                records = self._session.run(call.take(1, FOREVER, holds=True))
                yield records[0].item
                self._session.run(call.settle(records))
            except BaseException as error:
                if records:
                    if isinstance(error, GeneratorExit):
                        self._session.back_off.left(records)
                    self._session.strays.append((records, False))
                    self._give_back(error)
                elif isinstance(error, _ENDS):
                    return
                raise

    def set_aside(self) -> bool:
        """Get past the next item if it cannot be loaded: keep it beside the queue, and go on.

        For an item at which ``get`` raises ``QueueCorrupt``, ``SerializationError`` or
        ``ItemTooLarge`` each time.  Its bytes are kept: in a file ``*.corrupt-*`` beside those
        of the queue, in the table ``corrupt:...``, or in the list ``...-dead`` on Redis.
        ``skipped`` counts it.

        Returns:
            whether it was set aside; False if it can be loaded, or there is none.

        Raises:
            FormatError: another serializer wrote what is there.
        """
        done: bool = self._session.run(call.write(self._store.set_aside))
        return done

    def join(self) -> None:
        """Wait until every item that was put is finished."""
        self._session.run(call.join())

    # -- look -----------------------------------------------------------------------

    def qsize(self) -> int:
        """Return how many items could be taken now."""
        count: int = self._session.run(call.count())
        return count

    def empty(self) -> bool:
        """Return whether nothing could be taken now."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return whether ``put`` would have to wait now."""
        return 0 < self.maxsize <= self.qsize()

    def __len__(self) -> int:
        return self.qsize()

    # -- end ------------------------------------------------------------------------

    def sync(self) -> None:
        """Make everything so far safe against loss of power, at either durability."""
        self._session.run(call.sync())

    def shutdown(self, immediate: bool = False) -> None:
        """Refuse puts on this object from now on, and gets when nothing is left.

        Waiting callers wake up with ``QueueShutDown``.  Stored items stay stored.

        Args:
            immediate: refuse gets at once and let ``join`` return.
        """
        self._session.shutdown(immediate)
