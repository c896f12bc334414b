"""The calls of a job queue: rows of what is put, and what becomes of a job that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import whole
from .._core.work import WORK
from ..jobs import (
    Dead,
    Put,
    Retry,
    Snooze,
    checked_key,
    moment_of,
    note_of,
    packed,
    seconds_of,
    shortened,
)
from .ackcalls import AckCalls
from .jobstatements import ATTEMPTS
from .rows import checked_priority
from .statements import ACKED, DELAYED, NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.call import Call
    from .._core.codec import RowCodec
    from .._core.store import Record
    from .._core.work import Work
    from .jobs import Ending, JobStore
    from .rowstore import Row


class JobCalls(AckCalls):
    """Makes the calls of one job queue."""

    _store: JobStore

    def __init__(self, store: JobStore, place: str, retry: Retry, codec: RowCodec) -> None:
        super().__init__(store, place)
        self._retry = retry
        self._codec = codec

    def row(self, put: Put[Any]) -> tuple[object, ...]:
        """Return the row of a job that is put now; see ``row_of``."""
        return row_of(self._codec, put, self._store.clock())

    # -- the end of an attempt ----------------------------------------------------------

    def end(self, records: Sequence[Record], ending: Callable[[Record], Ending]) -> Call[int]:
        """Let jobs end in one way: gives how many this object still held.

        Also if the caller is cancelled: no consumer would hold the jobs any more.
        """

        def act(still: Sequence[Record]) -> int:
            return sum(not self._store.end([record], ending(record)) for record in still)

        return call.finish(act, lambda book, _: book.still(records), withdraws=False)

    def done(self, records: Sequence[Record]) -> Call[int]:
        """Finish jobs."""
        return self.end(records, lambda _: self._store.done())

    def done_each(self, records: Sequence[Record]) -> Call[list[int]]:
        """Finish jobs: gives the ids of those that this object still held."""

        def act(still: Sequence[Record]) -> list[int]:
            lost = self._store.finish(still, ACKED)
            return [record.start for record in still if record not in lost]

        return call.finish(act, lambda book, _: book.still(records))

    def most_of(self, row: Row) -> int | None:
        """Return how often a job may be handed out; None for no limit."""
        return self._store.most_of(row)

    def failed(self, records: Sequence[Record], error: BaseException) -> Call[int]:
        """Store that a handler raised: the job is tried again later, or is dead."""
        note = note_of(error)
        if isinstance(error, Snooze) and (pause := _pause_of(error)) is not None:
            return self.end(records, lambda _: self._store.later(pause, "", spent=False))
        if isinstance(error, Dead):
            return self.end(records, lambda _: self._store.dead(note))
        return self.end(records, lambda record: self._again(record, None, note))

    def retry(self, records: Sequence[Record], delay: float | None, reason: str) -> Call[int]:
        """Try jobs again, after a delay in seconds or what the queue's ``Retry`` says."""
        seconds = None if delay is None else seconds_of("delay", delay)
        note = shortened(reason)
        return self.end(records, lambda record: self._again(record, seconds, note))

    def dead(self, records: Sequence[Record], reason: str) -> Call[int]:
        """Do not try jobs again."""
        note = shortened(reason)
        return self.end(records, lambda _: self._store.dead(note))

    def _again(self, record: Record, delay: float | None, note: str) -> Ending:
        attempt, most = record.end[ATTEMPTS], self.most_of(record.end)
        if most is not None and attempt >= most:
            return self._store.dead(note)
        return self._store.later(self._retry.delay(attempt) if delay is None else delay, note)

    # -- a worker -------------------------------------------------------------------

    def work(self, shown: Callable[[Record], Any] | None = None) -> Work:
        """Return how a block or a worker holds a job.

        Args:
            shown: what it is given for a record, in place of the item.
        """
        how = WORK._replace(failed=self.failed, signals=(Snooze, Dead))
        return how if shown is None else how._replace(shown=shown)


def _pause_of(error: Snooze) -> float | None:
    """Return for how long; None if a subclass says nothing that can be used."""
    try:
        return seconds_of("seconds", error.seconds)
    except (AttributeError, TypeError, ValueError):
        return None


def row_of(codec: RowCodec, put: Put[Any], now: float) -> tuple[object, ...]:
    """Return the row of a job that is put now.

    Raises:
        TypeError, ValueError: an argument is wrong.
        SerializationError, ItemTooLarge: the item or the headers cannot be stored.
    """
    due = moment_of(now, put.delay, put.at)
    expires = None if put.ttl is None else (due or now) + seconds_of("ttl", put.ttl)
    most = None if put.max_attempts is None else whole("max_attempts", put.max_attempts, 1)
    return (
        codec.encode(put.item),
        now,
        NEW if due is None else DELAYED,
        checked_priority(put.priority),
        due,
        expires,
        most,
        checked_key(put.key),
        packed(put.headers),
    )
