"""How long an item is held back that was given back because working on it failed.

The object that gave it back does not hand it out for 0.1 s, the next time for 0.2 s, and so on
up to 5 s; meanwhile it hands out other items.  The item is stored as any other that waits, so
other objects may take it at once.

A loop does not know whether its body raised or left it with ``break``: there the first ten
times cost nothing.

A failure is noted on any thread, also by a finaliser; the other methods are for the thread that
uses the store.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .deadline import monotonic
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .store import Record

FIRST, LONGEST = 0.1, 5.0  # s
_LOOP = FIRST / 2**10  # s, doubled too; a delay shorter than FIRST is none
_FORGOTTEN = 60.0  # s after which an earlier failure does not count any more
_MOST = 10_000  # items whose failures are remembered
_NEVER = float("inf")


class BackOff:
    """The items that one object holds back.

    Attributes:
        busy: whether any is held back, or was a moment ago.
    """

    def __init__(self) -> None:
        self.busy = False
        self._noted: deque[tuple[Any, float, float]] = deque()  # key, first delay, when
        self._failed: dict[Any, tuple[float, float]] = {}  # key -> delay, its end; oldest first
        self._held: dict[Any, float] = {}  # key -> when it ends
        self._next = _NEVER  # when the first one ends
        self._news = self._said = False

    def note(self, records: Iterable[Record], first: float = FIRST) -> None:
        """Note that working on items failed, just before they are given back."""
        now = monotonic()
        for record in records:
            self._noted.append((record.key, first, now))
            self._news = self._news or first >= FIRST
        self.busy = True  # after the notes: ``keys`` clears it before it reads them

    def left(self, records: Iterable[Record]) -> None:
        """Note that a loop was left at these items, with ``break`` or by an error."""
        self.note(records, _LOOP)

    def keys(self) -> Collection[Any]:
        """Return the keys of the items that are held back now."""
        self.busy = False
        while self._noted:
            self._hold(*self._noted.popleft())
        now = monotonic()
        if now >= self._next:
            self._held = {key: end for key, end in self._held.items() if end > now}
            self._next = min(self._held.values(), default=_NEVER)
        self.busy = self.busy or bool(self._held)
        return self._held

    def _hold(self, key: Any, first: float, now: float) -> None:
        delay, end = self._failed.pop(key, (first, _NEVER))
        if end + _FORGOTTEN < now:
            delay = first
        elif end < _NEVER:
            delay = min(max(2 * delay, first), LONGEST)
        self._failed[key] = delay, now + delay
        if len(self._failed) > _MOST:
            del self._failed[next(iter(self._failed))]
        if delay >= FIRST:
            self._news, self._held[key] = True, now + delay
            self._next = min(self._next, now + delay)

    def is_over(self) -> bool:
        """Return whether an item is held back no more; callable on any thread."""
        return monotonic() >= self._next

    def say(self, queue: object) -> None:
        """Say once that items are held back, where no lock is held."""
        if self._news and not self._said:
            self._said = True
            warn(
                "%s: working on an item failed, and the item was given back. This object hands it "
                "out again after %g s, doubled each time up to %g s; others come first",
                repr(queue), FIRST, LONGEST,
            )  # fmt: skip
