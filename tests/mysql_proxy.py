"""A TCP proxy before a MySQL server, which cuts the connection at a chosen command."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Any

# Where a command's connection is cut: the server never sees it; sees it, and nobody waits
# for what it says; has answered, and the answer is kept back.
BEFORE, DURING, AFTER = "before", "during", "after"
HOWS = (BEFORE, DURING, AFTER)

_QUERY = 3  # the command that carries SQL
_OK, _MORE_RESULTS = 0, 8


@dataclass
class Cut:
    """What is to happen to a command.

    Attributes:
        text: in the statement; empty for any command.
        how: ``BEFORE``, ``DURING`` or ``AFTER``.
        skip: how many such commands pass first.
        down: nobody is let in afterwards, until ``Proxy.up``.
    """

    text: bytes
    how: str
    skip: int = 0
    down: bool = False


class Proxy:
    """Relays connections to a port of this machine.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._down = False
        self._mutex = threading.Lock()  # protects _cuts and _links
        self._cuts: list[Cut] = []
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.done: list[Cut] = []  # what has happened
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, text: str = "", how: str = BEFORE, *, skip: int = 0, down: bool = False) -> None:
        """Cut the connection at a command that is yet to come; the first call's cut comes first."""
        with self._mutex:
            self._cuts.append(Cut(text.encode(), how, skip, down))

    def cancel(self) -> None:
        """Forget every cut that has not happened."""
        with self._mutex:
            self._cuts.clear()

    def down(self) -> None:
        """Cut every connection, and let nobody in."""
        self._down = True
        with self._mutex:
            links, self._links = self._links, []
        for link in links:
            link.end()

    def up(self) -> None:
        """Let everybody in."""
        self._down = False

    def close(self) -> None:
        """End everything."""
        self.down()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Proxy:  # noqa: PYI034 (Self is of Python 3.11)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def login(self, where: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a queue that is reached through here."""
        return {**where, "port": self.port}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._down:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._mutex:
                self._links.append(link)
            link.start()

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
        if cut.down:
            self._down = True
        return cut


class _Link:
    """One connection, and the two threads that relay it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._swallowing = False  # the answer that comes is the last thing

    def start(self) -> None:
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._relay, args=(self._commands,), daemon=True).start()
        threading.Thread(target=self._relay, args=(self._answers,), daemon=True).start()

    def end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _relay(self, work: Any) -> None:
        with contextlib.suppress(OSError, EOFError):
            work()
        self.end()

    def _commands(self) -> None:
        with self._client, self._client.makefile("rb") as stream:
            while True:
                head, payload = _packet(stream)
                command = head[3] == 0 and payload[:1] == bytes([_QUERY])
                cut = self._proxy.fate(payload[1:]) if command else None
                if cut is not None and cut.how == BEFORE:
                    return
                self._swallowing = cut is not None and cut.how == AFTER
                self._server.sendall(head + payload)
                if cut is not None and cut.how == DURING:
                    return

    def _answers(self) -> None:
        with self._server, self._server.makefile("rb") as stream:
            while True:
                head, payload = _packet(stream)
                if not self._swallowing:
                    self._client.sendall(head + payload)
                elif payload[0] != _OK or not _status(payload) & _MORE_RESULTS:
                    return


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
