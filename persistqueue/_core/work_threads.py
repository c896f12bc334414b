"""A worker for threads: ``concurrency`` threads that take jobs, call a handler, and finish them."""

from __future__ import annotations

import contextlib
import signal
import threading
from queue import Empty as NothingSaid
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ..exceptions import Empty, QueueClosed, QueueShutDown
from .arguments import whole
from .deadline import FOREVER, checked_timeout, monotonic
from .log import warn
from .work import PASSING, PAUSE, SIGNALS, ended, is_async, overtime, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from .call import Call
    from .store import Record
    from .threads import ThreadSession
    from .work import Work

_LOOK = 0.05  # s between two looks whether a handler has taken too long


class Worker:
    """Calls a handler with each job of a queue; made by ``worker`` of the queue.

    ``with`` starts it.  Its end takes no new job, lets the handlers that run go on for
    ``grace`` seconds, and gives the jobs of the others back; these cost no attempt.  A thread
    cannot be stopped: what such a handler does later with its job changes nothing.
    """

    def __init__(
        self,
        queue: object,
        session: ThreadSession,
        work: Work,
        handler: Callable[[Any], object],
        *,
        concurrency: int,
        timeout: float | None,
        grace: float,
    ) -> None:
        if not callable(handler):
            raise TypeError("the handler must be a function of one argument")
        if is_async(handler):
            raise TypeError("the handler is an 'async def' function, for AsyncJobQueue.worker")
        self._queue = queue
        self._session = session
        self._work = work
        self._handler = handler
        self._concurrency = whole("concurrency", concurrency, 1)
        self._timeout = None if timeout is None else checked_timeout(timeout)
        self._grace = checked_timeout(grace, "grace")
        self._mutex = threading.Lock()  # protects the three below
        self._hands: set[_Hand] = set()
        self._error: BaseException | None = None
        self._stopping = False
        self._news: SimpleQueue[None] = SimpleQueue()  # a thread has ended, or was told to

    def __enter__(self) -> Self:
        if self._hands or self._stopping:
            raise RuntimeError("a worker can be started once; make another one")
        self._session.check_open()
        for _ in range(self._concurrency):
            self._start()
        if self._timeout is not None:
            threading.Thread(target=self._watch, name="persistqueue-timeout", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None and self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait until the queue is shut down and empty, or closed.

        Raises:
            QueueCorrupt, SerializationError, FormatError: a job cannot be read; the worker has
                stopped.
        """
        while not self.is_over:
            self.listen()
        if self._error is not None:
            raise self._error

    @property
    def is_over(self) -> bool:
        """Whether nothing is taken any more although the worker was not stopped."""
        return not self._hands or self._error is not None

    def stop(self) -> None:
        """Take nothing new, wait ``grace`` seconds for handlers, give the rest back unspent."""
        with self._mutex:
            self._stopping = True
            hands = list(self._hands)
        for hand in hands:
            if hand.taking is not None:
                self._session.expire(hand.taking)
        began = monotonic()
        while self._hands and (left := began + self._grace - monotonic()) > 0:  # see ``hurry``
            self.listen(min(left, _LOOK))
        for hand in list(self._hands):
            self._let_go(hand)

    def hurry(self) -> None:
        """Do not wait for the handlers that run any longer."""
        self._grace = 0.0

    def listen(self, seconds: float = 1.0) -> None:
        """Wait until a thread has ended or ``poke`` was called, for so many seconds at the most."""
        with contextlib.suppress(NothingSaid):
            self._news.get(timeout=seconds)

    def poke(self) -> None:
        """End ``listen``; callable in a signal handler: no lock is taken in Python."""
        self._news.put(None)

    # -- the threads ----------------------------------------------------------------

    def _start(self) -> None:
        hand = _Hand()
        with self._mutex:
            if self._stopping:
                return
            self._hands.add(hand)
        name = "persistqueue-worker"
        threading.Thread(target=self._run, args=(hand,), name=name, daemon=True).start()

    def _run(self, hand: _Hand) -> None:
        try:
            while not (self._stopping or hand.late):
                if records := self._take(hand):
                    self._handle(hand, records)
        except (QueueShutDown, QueueClosed):
            pass
        except BaseException as error:  # noqa: BLE001 - ``wait`` raises it
            self._error = self._error or error
        finally:
            with self._mutex:
                self._hands.discard(hand)
            self.poke()

    def _take(self, hand: _Hand) -> list[Record]:
        hand.taking = self._work.take(FOREVER)
        if self._stopping:  # before ``taking`` was seen
            return []
        try:
            return self._session.run(hand.taking)
        except Empty:  # the worker stops
            return []
        except PASSING as error:
            warn("%s: a worker tries again: %s", repr(self._queue), error)
            threading.Event().wait(PAUSE)
            return []
        finally:
            hand.taking = None

    def _handle(self, hand: _Hand, records: list[Record]) -> None:
        with self._mutex:
            mine = not (hand.late or self._stopping)
            if mine:
                hand.records = records
                if self._timeout is not None:
                    hand.end = monotonic() + self._timeout
        if not mine:  # it came when the worker had been told to stop
            self._session.give_back(records)
            return
        failure: BaseException | None = None
        try:
            self._handler(self._work.shown(records[0]))
        except BaseException as error:  # noqa: BLE001 - it is stored with the job
            failure = error
        with self._mutex:
            hand.end, mine = None, not hand.late
        if mine:
            self._conclude(records, failure)
        hand.records = []
        if failure is not None and not isinstance(failure, Exception):
            raise failure  # SystemExit, say: its attempt counts, or it would come for ever

    def _conclude(self, records: list[Record], failure: BaseException | None) -> None:
        """Finish a job, or store that it failed; a full disk is waited for."""
        say(self._queue, self._work, failure)
        while True:
            try:
                self._session.run(ended(self._work, records, failure))
            except QueueClosed:
                return
            except PASSING as error:
                warn("%s: a worker tries again: %s", repr(self._queue), error)
                if self._stopping:
                    return
                threading.Event().wait(PAUSE)
            else:
                return

    def _let_go(self, hand: _Hand) -> None:
        """Give back the job of a handler that has not ended."""
        with self._mutex:
            hand.late = True
            records, hand.records = hand.records, []
            self._hands.discard(hand)
        if records:
            try:
                self._session.give_back(records)
            except Exception:  # noqa: BLE001 - the others are to be given back, too
                warn("%s: a job could not be given back", repr(self._queue), traceback=True)

    # -- handlers that take too long --------------------------------------------------

    def _watch(self) -> None:
        assert self._timeout is not None
        error = overtime(self._timeout, TimeoutError())
        try:
            while not self._stopping:
                threading.Event().wait(_LOOK)
                for hand in list(self._hands):
                    if records := self._overdue(hand):
                        self._conclude(records, error)
                        self._start()
                        with self._mutex:
                            self._hands.discard(hand)
        except BaseException as error:  # noqa: BLE001 - ``wait`` raises it
            self._error = self._error or error
            self.poke()

    def _overdue(self, hand: _Hand) -> list[Record]:
        """Take a job from a handler that has taken too long; nothing if it has not."""
        with self._mutex:
            if hand.end is None or hand.end >= monotonic() or hand.late:
                return []
            hand.late = True  # its thread ends when the handler does
            return hand.records


class _Hand:
    """One thread of a worker.

    Attributes:
        taking: the call in which it waits for a job.
        records: of the job that its handler works on.
        end: when that handler has taken too long.
        late: the job is not this thread's any more.
    """

    def __init__(self) -> None:
        self.taking: Call[list[Record]] | None = None
        self.records: list[Record] = []
        self.end: float | None = None
        self.late = False


def run(worker: Worker) -> None:
    """Run a worker until SIGTERM or SIGINT, or until its queue is shut down and empty.

    A second signal does not wait for the handlers that run.
    """
    stop: list[int] = []

    def told(number: int, _: object) -> None:
        if stop:
            worker.hurry()
        stop.append(number)
        worker.poke()

    with _signals(told), worker:
        while not stop and not worker.is_over:
            worker.listen()


@contextlib.contextmanager
def _signals(told: Callable[[int, object], None]) -> Iterator[None]:
    """Call ``told`` at each signal that ends a program, where this thread may be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, told) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
