"""What a program says of its jobs: when they run, how often, and what has become of them.

Nothing here knows where jobs are stored.  Times are seconds since 1970 (``time.time()``).
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypedDict

from ._core.arguments import T, whole
from .exceptions import SerializationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Dead", "DeadJob", "JobStats", "Put", "Retry", "Snooze"]

_LONGEST_NOTE = 4096  # bytes of text that say why a job failed
_AGES = 100 * 365.25 * 86400  # s; a longer delay is a mistake


class Snooze(Exception):
    """Raised in a handler: run the job again later; it costs no attempt.

    Args:
        seconds: until it is due again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds_of("seconds", seconds)


class Dead(Exception):
    """Raised in a handler: the job is dead; it is not tried again.

    Args:
        reason: is stored with the job.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Retry:
    """When a job that failed is tried again, and how often.

    The first retry comes after ``first`` seconds, each further one after ``factor`` times as
    many, up to ``most``.  Each delay is longer or shorter by up to a share of ``jitter``, so
    that jobs which failed together do not come together again.

    Args:
        max_attempts: how often a job is handed out before it is dead; None for no limit.
        first: seconds.
        factor: 1 or more.
        most: seconds.
        jitter: from 0 to 1.
    """

    max_attempts: int | None = 5
    first: float = 2.0
    factor: float = 2.0
    most: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            whole("max_attempts", self.max_attempts, 1)
        seconds_of("first", self.first)
        seconds_of("most", self.most)
        if number_of("factor", self.factor) < 1:
            raise ValueError(f"'factor' must be 1 or more, not {self.factor!r}")
        if not 0 <= number_of("jitter", self.jitter) <= 1:
            raise ValueError(f"'jitter' must be from 0 to 1, not {self.jitter!r}")

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt that failed; the first is number 1."""
        try:
            seconds = self.first * self.factor ** (max(attempt, 1) - 1)
        except OverflowError:
            seconds = self.most if self.first else 0.0
        seconds = min(seconds, self.most)
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - no secret


@dataclass(frozen=True)
class Put(Generic[T]):
    """One job for ``put_many``: an item, and what ``put`` takes by keyword.

    Args:
        item: anything that the serializer takes.
        delay, at, priority, ttl, max_attempts, key, headers: see ``AsyncJobQueue.put``.
    """

    item: T
    delay: float | None = None
    at: datetime | float | None = None
    priority: int = 0
    ttl: float | None = None
    max_attempts: int | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None


class JobOptions(TypedDict, total=False):
    """What ``put`` of a job queue takes by keyword; see ``AsyncJobQueue.put``."""

    delay: float | None
    at: datetime | float | None
    priority: int
    ttl: float | None
    max_attempts: int | None
    key: str | None
    headers: Mapping[str, str] | None


class JobQueueOptions(TypedDict, total=False):
    """Arguments by keyword of a job queue alone; see ``AsyncJobQueue``."""

    retry: Retry | None
    lease: float | None
    keep_dead: int | None
    maxsize: int


class JobStats(NamedTuple):
    """How many jobs a queue holds, by state.

    Attributes:
        ready: that could be taken now.
        delayed: that are due later.
        held: that consumers work on.
        dead: that are not tried again.
        oldest_ready: when the oldest ready job was put; None without one.
        next_due: when the next delayed job is due; None without one.
    """

    ready: int
    delayed: int
    held: int
    dead: int
    oldest_ready: float | None
    next_due: float | None


class DeadJob(NamedTuple):
    """A job that is not tried again.

    Attributes:
        id: of its row.
        item: what was put.
        attempts: how often it was handed out.
        put_at: when it was put.
        note: why it is dead: the last error, or ``"expired"``.
        key: as it was put; None without one.
        headers: as they were put.
    """

    id: int
    item: Any
    attempts: int
    put_at: float
    note: str
    key: str | None
    headers: Mapping[str, str]


def number_of(name: str, value: object) -> float:
    """Return a finite number.

    Raises:
        TypeError: it is none.
        ValueError: it is infinite, or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"'{name}' must be a number, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"'{name}' must be finite, not {value!r}")
    return float(value)


def seconds_of(name: str, value: object) -> float:
    """Return a duration in seconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or more than a hundred years.
    """
    seconds = number_of(name, value)
    if not 0 <= seconds <= _AGES:
        raise ValueError(f"'{name}' must be from 0 s to a hundred years, not {value!r}")
    return seconds


def moment_of(now: float, delay: float | None, at: datetime | float | None) -> float | None:
    """Return when a job is due; None for at once.

    Raises:
        TypeError, ValueError: both are given, or one of them is wrong.
    """
    if at is None:
        seconds = 0.0 if delay is None else seconds_of("delay", delay)
        return now + seconds if seconds else None
    if delay is not None:
        raise ValueError("give 'delay' or 'at', one of the two")
    if isinstance(at, datetime):
        if at.utcoffset() is None:
            raise ValueError(
                "'at' needs a time zone: datetime.now(timezone.utc) + ..., or .astimezone()"
            )
        at = at.timestamp()
    moment = number_of("at", at)
    if moment > now + _AGES:
        raise ValueError(f"'at' is more than a hundred years ahead: {at!r}; give seconds")
    return moment if moment > now else None


def packed(headers: Mapping[str, str] | None) -> bytes | None:
    """Return headers as they are stored.

    Raises:
        TypeError: they are no texts with names.
        SerializationError: a text cannot be encoded.
    """
    if not headers:
        return None
    pairs = dict(headers)
    for pair in pairs.items():
        if not all(isinstance(text, str) for text in pair):
            raise TypeError(f"'headers' are texts with names, not {pair!r}")
    try:
        return json.dumps(pairs, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"a header cannot be stored: {error}") from error


def unpacked(stored: Any) -> dict[str, str]:
    """Return headers that were stored; none where another program has written there."""
    try:
        found = json.loads(stored) if stored else {}
    except (TypeError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def checked_key(key: object) -> str | None:
    """Return a key.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or cannot be stored.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"'key' must be a text, not {type(key).__name__}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"'key' cannot hold half a character: {key!a}") from error
    if not key:
        raise ValueError("'key' must not be empty")
    return key


def note_of(error: BaseException) -> str:
    """Return what is stored with a job that failed: the error's type and text."""
    try:
        if isinstance(error, Dead) and (reason := getattr(error, "reason", None)):
            return shortened(reason)
        text = str(error)
    except Exception:  # noqa: BLE001 - an error's own __str__ may raise anything
        text = ""
    if type(error) is Dead and not text:
        return "the handler raised Dead"
    name = type(error).__name__
    return shortened(f"{name}: {text}" if text else name)


def shortened(note: str) -> str:
    """Return a note that fits: 4 KiB at the most, and no half characters."""
    data = str(note).encode(errors="backslashreplace")[:_LONGEST_NOTE]
    return data.decode(errors="ignore")
