"""Arguments and encoding that the Redis queues of both families share.

The faces differ by ``await``, and their sessions by how they wait.
"""

from __future__ import annotations

import json as _json
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from .._core.arguments import MAX_ITEM_BYTES, ON_CORRUPT, T, one_of, whole
from .._core.codec import RowCodec
from .._core.deadline import checked_timeout
from .._core.inflight import AckMode, InFlightAcks, InFlightLeased
from .._core.log import warn
from ..serializers import json
from .connection import Replicas
from .scripts import Keys
from .settings import Settings
from .store import RedisStore
from .textcodec import TextCodec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._core.call import Pick
    from .._core.inflight import AnyInFlight
    from .._core.store import Record

LOCAL = "redis://localhost:6379/0"
LEASE = 60.0  # s
AIO_PY_RQ_LEASE = 7200.0  # s; what its collectors count from
LOST = (
    "task_done(): its lease was over, or it was put back: it is another consumer's, or "
    "comes again; nothing was finished"
)
LAYOUTS = ("shared", "native")


class RedisFace(Generic[T]):
    """One object on a queue's keys."""

    _UNIQUE = False
    _store: RedisStore
    _session: Any

    def __init__(
        self,
        name: str,
        redis: Any = LOCAL,
        maxsize: int = 0,
        serializer: Any = None,
        *,
        layout: str | None = None,
        lease: float | None = LEASE,
        synced_slaves_enabled: bool = False,
        synced_slaves_count: int = 0,
        synced_slaves_timeout: int = 100,
        max_retry: int | None = None,
        max_timeout: int | None = None,
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self.name = checked_name(name)
        self.maxsize = whole("maxsize", maxsize)
        self.serializer = serializer
        self.lease = checked_lease(lease)
        self.max_retry = optional("max_retry", max_retry)
        self.max_timeout = optional("max_timeout", max_timeout)
        self._longest = whole("max_item_bytes", max_item_bytes, 1)
        settings = Settings(redis)
        self.layout = checked_layout(layout, serializer)
        native = self.layout == "native"
        keys = Keys(native_base(name) if native else name, unique=self._UNIQUE)
        self._codec = codec_of(serializer, unique=self._UNIQUE, longest=self._longest)
        self.path = f"{settings.label}/{name}"
        self._store = RedisStore(
            settings,
            keys,
            self._codec,
            maxsize=self.maxsize,
            native=native,
            lease=self.lease,
            skip_corrupt=one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip",
            replicas=replicas_of(
                settings, synced_slaves_enabled, synced_slaves_count, synced_slaves_timeout
            ),
        )
        self._open_session()

    def _finish_at(self) -> AckMode:
        """Return when an item is finished: when it is acked, unless it was lost before."""
        return AckMode(partial(InFlightLeased, lost=self._store.lost))

    def _open_session(self) -> None:
        """Make what lets calls wait."""
        raise NotImplementedError

    @property
    def unfinished_tasks(self) -> int:
        """At least so many items are stored and not finished, as of the last call."""
        unfinished: int = self._session.unfinished
        return unfinished

    @property
    def skipped(self) -> int:
        """Values that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    @property
    def consumer(self) -> str:
        """The beginning of the names of the lists that hold the items of this object."""
        return self._store.keys.consumer

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; keep a set beside the queue")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # -- for the methods ------------------------------------------------------------

    def _encode(self, item: Any) -> bytes:
        data = self._codec.encode(item)
        return data if isinstance(data, bytes) else data.encode()

    def _picking(self, items: Iterable[Any]) -> Pick:
        """Return what picks the records of items: of the very object, else of an equal one."""

        def pick(book: AnyInFlight, owner: object) -> Iterator[Record]:
            assert isinstance(book, InFlightAcks)
            for item in items:
                record = book.same(item, owner) or book.alike(item, owner)
                if record is not None:
                    yield record

        return pick

    def _said(self, done: int, wanted: list[Any]) -> int:
        """Return how many items were found; log that some were not: it may be a mistake."""
        if done < len(wanted):
            several = len(wanted) == 1 and isinstance(wanted[0], (list, tuple, set))
            warn(
                "%s: nothing changed for %d of %d items: finished already, given to others after "
                "their lease, or not taken by this queue object%s",
                self.path,
                len(wanted) - done,
                len(wanted),
                "; ack_many and nack_many take several items" if several else "",
            )
        return done

    def _picking_in(self, lists: frozenset[int]) -> Pick:
        """Return what picks everything that is in these lists."""

        def pick(book: AnyInFlight, _: object) -> list[Record]:
            assert isinstance(book, InFlightAcks)
            return book.within(lists)

        return pick

    def _blocked(self, tries: tuple[int, int]) -> bool:
        """Return whether an item was tried too often, and for too long."""
        count, minutes = tries
        assert self.max_retry is not None
        assert self.max_timeout is not None
        return count > self.max_retry and minutes > self.max_timeout

    def _check_window(self) -> None:
        if not self.max_retry or not self.max_timeout:
            raise ValueError("can_rollback_item needs max_retry and max_timeout: give both")


def checked_name(name: Any) -> str:
    """Return a queue's name, or raise an error that says what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("name is empty; it is what the queue's keys begin with")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"name {name!r} cannot be written as UTF-8") from error
    return name


def native_base(name: str) -> str:
    """Return what the keys begin with that are not shared with aio-py-rq."""
    return f"persistqueue:{{{name}}}"


def checked_lease(lease: float | None) -> float | None:
    """Return the lease in seconds; None for never."""
    seconds = None if lease is None else checked_timeout(lease, "lease")
    if seconds == 0:
        raise ValueError("'lease' must be a positive number of seconds, or None")
    return seconds


def optional(name: str, value: int | None) -> int | None:
    """Return a whole number, or None."""
    return None if value is None else whole(name, value, 0)


def checked_layout(layout: str | None, serializer: Any) -> str:
    """Return which keys are used: text on aio-py-rq's, anything else on our own.

    Raises:
        ValueError: binary values on shared keys, which would stop aio-py-rq's consumers.
    """
    is_text = serializer in (None, json, _json)
    if layout is None:
        return "shared" if is_text else "native"
    if one_of("layout", layout, LAYOUTS) == "shared" and not is_text:
        raise ValueError(
            "layout='shared' takes text (serializer=None) or serializers.json: aio-py-rq's "
            "consumers cannot read anything else, and would stop at it"
        )
    return layout


def codec_of(serializer: Any, *, unique: bool, longest: int) -> Any:
    """Return what encodes and decodes values."""
    if serializer is None:
        return TextCodec(plain=unique, longest=longest)
    return RowCodec(serializer, ordered=unique, longest=longest)


def replicas_of(settings: Settings, enabled: bool, count: int, timeout: int) -> Replicas:
    """Return how many replicas have to confirm a write.

    Raises:
        ValueError: it is enabled and no count is given, or the server would answer only when
            its answer is not awaited any more.
    """
    count = whole("synced_slaves_count", count, 0)
    timeout = whole("synced_slaves_timeout", timeout, 0)
    if enabled and not count:
        raise ValueError("synced_slaves_enabled needs synced_slaves_count, of 1 or more")
    if enabled and not 0 < timeout < settings.patience * 1000:
        raise ValueError(
            "synced_slaves_timeout must be 1 ms or more, and less than the "
            f"{settings.patience:g} s that an answer may take (socket_timeout of the URL or client)"
        )
    return Replicas(count if enabled else 0, timeout)
