"""Who is alive: a worker's session holds named locks on the server, by its connections.

The server lets go of a lock when its connection ends: at once, if the worker's process does.  But a
network may cut the connections of a worker that is at work, and a restart of the server cuts
all.  So there are two locks, and two ways to be dead:

- Both locks are free for more than a second.  One is held by the connection on which the queue
  works, the other one by that of a thread which looks after it while anything is held, and gets
  another one as soon as it is lost (``stores``).
- The first lock is free, and the last sign of life is older than a lease: so for a worker that
  could not connect, or of the last release, which has one lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._core.deadline import monotonic
from ..._core.leases import LEASE
from .statements import LIFE, LINE, LINE_LIFE, SIGNS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from .connection import MysqlConnection

_PAUSE = 0.25  # s between two looks at the others
_SURE = 1.3  # s for which both locks have to be free


class SessionOwner:
    """A connection's session, as the owner of rows."""

    leaves_files = False

    def __init__(self, conn: MysqlConnection) -> None:
        self._conn = conn
        self._next = 0.0
        self._seen_by: object = None  # the connection that saw what follows
        self._free: dict[str, float] = {}  # since when both locks of an owner are free

    @property
    def name(self) -> str:
        return self._conn.session

    def appear(self) -> str:
        return self.name  # its lock is held since it was connected

    def stay(self) -> None:
        """Do nothing: the store gives signs of life."""

    def is_dead(self, name: str) -> bool:
        if name == self.name:
            return False
        ((free, signed),) = self._conn.rows(LIFE, (name, name, LEASE))
        return bool(free) and not signed

    def overtaken(self) -> None:
        """Do nothing: nothing tells of others' commits."""

    def due(self) -> float:
        return self._next

    def gone(self, read: Callable[[], Sequence[str] | None]) -> dict[str, bool]:
        names = read()
        if names is None:
            return {}
        if self._seen_by is not self._conn.driver:  # the server may have cut all the others, too
            self._seen_by, self._free = self._conn.driver, {}
        now = monotonic()
        self._next = now + _PAUSE
        self._free = {
            name: self._free.get(name, now)
            for name in names
            if name.endswith(SIGNS) and self._conn.one(LINE_LIFE, (name, name + LINE))
        }
        return {
            name: True
            for name in names
            if now - self._free.get(name, now) >= _SURE or self.is_dead(name)
        }

    def took_from(self, name: str) -> None:
        self._free.pop(name, None)

    def remove(self, names: list[str]) -> None:
        """Do nothing: each connection that is opened removes old sessions."""

    def sweep(self, holders: Container[str | None]) -> None:
        """Do nothing: each connection that is opened removes old sessions."""

    def disappear(self, *, holds: bool) -> None:
        """Do nothing: the lock went with the connection."""

    def forget(self) -> None:
        """Do nothing: the session gets another name."""
