"""Which of the other owners of held rows are gone: dead, or silent for the time of their lease.

They are asked every 50 ms, by objects that take or wait, and only while others hold anything.

A lease is measured on the observer's own monotonic clock: no wall clock counts.  An observer that
was stopped itself saw nothing in that time.  So two looks that are far apart begin a new
measurement; an observer that holds rows looks with each of its own signs of life, too.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING, Protocol

from ..._core.deadline import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .owners import Sign

_PAUSE = 0.04  # s between two looks; the watcher comes each 25 ms
_SHARE = 50  # a look takes no more than this part of the time
_GAPS = 3  # a gap between two looks that is longer than this part of a lease counts nothing


class Asked(Protocol):
    """Who knows what the files of owners say: a ``FileOwner``."""

    lease: float | None

    def ask(self, name: str) -> Sign: ...
    def last_beat(self, name: str) -> Sign: ...


class _Silence:
    """How long an owner has given no new sign of life.

    Attributes:
        beat: its last one.
        lease: what its file said; 0 if nothing was ever read.
        since: when that was seen first.
        seen: when it was seen last.
    """

    __slots__ = ("beat", "lease", "seen", "since")

    def __init__(self, now: float) -> None:
        self.beat: int | None = None
        self.lease: float | None = 0
        self.since = self.seen = now

    def lasts(self, sign: Sign, now: float, otherwise: float | None) -> bool:
        """Note what was seen; returns whether the lease is over.

        Args:
            otherwise: the lease of an owner of which nothing was ever read.
        """
        if sign.lease != 0:
            self.lease = sign.lease
        lease = otherwise if self.lease == 0 else self.lease
        if lease is None or sign.beat != self.beat or now - self.seen > lease / _GAPS:
            self.since = now
        self.beat, self.seen = sign.beat, now
        return lease is not None and now - self.since >= lease


class Others:
    """The other owners that hold rows, as one object sees them."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()  # of those that held rows at the last look
        self._outdated = True  # others have committed since
        self._next = 0.0
        self._mutex = threading.Lock()  # protects the silences: see ``time``
        self._silences: dict[str, _Silence] = {}

    def overtaken(self) -> None:
        """Note that others have committed: they may hold more, or less."""
        self._outdated = True

    def due(self) -> float:
        """Return when to look next; never while the others hold nothing."""
        return self._next if self._outdated or self._names else inf

    def gone(self, me: Asked, read: Callable[[], Sequence[str] | None]) -> dict[str, bool]:
        """Return the owners that are gone, and of each whether it is dead, not only silent.

        Args:
            me: asks them.
            read: returns the names of those that hold rows; None if that cannot be read now.
        """
        if self._outdated:
            names = read()
            if names is None:
                return {}
            self._names, self._outdated = names, False
        began = monotonic()
        found: dict[str, bool] = {}
        with self._mutex:
            self._silences = {
                name: self._silences.get(name) or _Silence(began) for name in self._names
            }
            for name, silence in self._silences.items():
                sign = me.ask(name)
                if sign.dead or silence.lasts(sign, began, me.lease):
                    found[name] = sign.dead
        ended = monotonic()
        # The watcher that finds one gone takes no rows: the call that does looks again, at once.
        self._next = ended + (0 if found else max(_PAUSE, (ended - began) * _SHARE))
        return found

    def took_from(self, name: str) -> None:
        """Note that the rows of an owner were given back: should it come again, it is a new one."""
        with self._mutex:
            self._silences.pop(name, None)
        self._outdated = True

    def time(self, me: Asked) -> None:
        """Go on measuring how long others are silent, between two looks."""
        now = monotonic()
        with self._mutex:
            for name, silence in self._silences.items():
                silence.lasts(me.last_beat(name), now, me.lease)
