"""A proxy before a MySQL server, which loses the connection at a chosen command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy import BOTH, TO_CLIENT, TO_SERVER, Link
from proxy import Proxy as AnyProxy

# Where a command's connection is cut: the server never sees it; sees it, and nobody waits
# for what it says; has answered, and the answer is kept back.
BEFORE, DURING, AFTER = "before", "during", "after"
HOWS = (BEFORE, DURING, AFTER)
SILENT = "silent"  # nothing passes any more, and nobody is told

_QUERY = 3  # the command that carries SQL
_OK, _MORE_RESULTS = 0, 8


@dataclass
class Cut:
    """What is to happen to a command.

    Attributes:
        text: in the statement; empty for any command.
        how: ``BEFORE``, ``DURING``, ``AFTER`` or ``SILENT``.
        skip: how many such commands pass first.
        down: nobody is let in afterwards, or, when silent, answered, until ``Proxy.up``.
    """

    text: bytes
    how: str
    skip: int = 0
    down: bool = False


class _Link(Link):
    """A connection whose commands are looked at."""

    _swallowing = False  # the answer that comes is the last thing

    def pump(self, direction: str, stream: Any) -> None:
        if direction == TO_SERVER:
            self._commands(stream)
        else:
            self._answers(stream)

    def _commands(self, stream: Any) -> None:
        while True:
            head, payload = _packet(stream)
            command = head[3] == 0 and payload[:1] == bytes([_QUERY])
            cut = self.proxy.fate(payload[1:]) if command else None
            if cut is not None and cut.how == BEFORE:
                return
            if cut is not None and cut.how == SILENT:
                self.fate(BOTH, "swallow")
            self._swallowing = cut is not None and cut.how == AFTER
            self.carry(TO_SERVER, head + payload)
            if cut is not None and cut.how == DURING:
                return

    def _answers(self, stream: Any) -> None:
        while True:
            head, payload = _packet(stream)
            if not self._swallowing:
                self.carry(TO_CLIENT, head + payload)
            elif payload[0] != _OK or not _status(payload) & _MORE_RESULTS:
                return


class Proxy(AnyProxy):
    """Relays connections to a MySQL server on this machine.

    Attributes:
        done: what has happened of what was to happen.
    """

    link = _Link

    def __init__(self, port: int) -> None:
        self._cuts: list[Cut] = []
        self.done: list[Cut] = []
        super().__init__(port)

    def cut_at(
        self, text: str = "", how: str = BEFORE, *, skip: int = 0, down: bool = False
    ) -> None:
        """Cut the connection at a command that is yet to come; the first call's cut comes first."""
        with self._mutex:
            self._cuts.append(Cut(text.encode(), how, skip, down))

    def cancel(self) -> None:
        """Forget every cut that has not happened."""
        with self._mutex:
            self._cuts.clear()

    def login(self, where: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a queue that is reached through here."""
        return {**where, "port": self.port}

    def fate(self, payload: bytes) -> Cut | None:
        """Return what is to happen to a command; it happens once."""
        with self._mutex:
            if not self._cuts or self._cuts[0].text not in payload:
                return None
            if self._cuts[0].skip:
                self._cuts[0].skip -= 1
                return None
            cut = self._cuts.pop(0)
            self.done.append(cut)
        if cut.down and cut.how == SILENT:
            self._deaf = True
        elif cut.down:
            self._down = True
        return cut


def _status(ok: bytes) -> int:
    """Return the first byte of an OK packet's status, behind two numbers of any length."""
    at = 1
    for _ in range(2):
        at += {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(ok[at], 1)
    return ok[at]


def _packet(stream: Any) -> tuple[bytes, bytes]:
    head = stream.read(4)
    if len(head) < 4:
        raise EOFError
    payload = stream.read(int.from_bytes(head[:3], "little"))
    return head, payload
