"""A TCP proxy before a server, for what a network does to connections.

It ends them (``cut``, ``down``), lets bytes vanish (``swallow``) or come late (``hold``), or takes none
(``stall``), in one direction or in both.  While it does one of the last three, nobody is told of an
end either: no FIN, no RST, as behind a firewall that forgot a connection, or beside a machine
without power.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from math import inf
from typing import Any, ClassVar

TO_SERVER, TO_CLIENT = "to the server", "to the client"
BOTH = (TO_SERVER, TO_CLIENT)
_OTHER = {TO_SERVER: TO_CLIENT, TO_CLIENT: TO_SERVER}
_PASS, _SWALLOW, _HOLD, _STALL = "pass", "swallow", "hold", "stall"


class Link:
    """One connection, and the two threads that relay it."""

    def __init__(self, proxy: Any, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self._ends = {TO_SERVER: server, TO_CLIENT: client}  # by where bytes go
        self._mutex = threading.Condition()  # protects what follows, and tells of new fates
        self._fates = dict.fromkeys(BOTH, _PASS)
        self._held = {direction: bytearray() for direction in BOTH}
        self._left: dict[str, float] = {}  # bytes that may pass yet
        self._over = False  # an end has come while the other one was not to know

    def start(self) -> None:
        for end in self._ends.values():
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for direction in BOTH:
            threading.Thread(target=self._relay, args=(direction,), daemon=True).start()

    def end(self) -> None:
        """End it, and let both sides know."""
        for end in self._ends.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def fate(self, directions: tuple[str, ...], fate: str) -> None:
        """Say what becomes of bytes from now on; what was held is sent when they pass again."""
        with self._mutex:
            for direction in directions:
                self._fates[direction] = fate
                if fate == _PASS:
                    held, self._held[direction] = self._held[direction], bytearray()
                    with contextlib.suppress(OSError):
                        self._ends[direction].sendall(held)
            self._mutex.notify_all()
            over = self._over and set(self._fates.values()) == {_PASS}
        if over:
            self.end()

    def cut_after(self, count: int, direction: str) -> None:
        """End it when so many more bytes have gone in a direction."""
        with self._mutex:
            self._left[direction] = count

    def _relay(self, direction: str) -> None:
        source = self._ends[_OTHER[direction]]
        try:
            with source, source.makefile("rb") as stream:
                self.pump(direction, stream)
        except (OSError, EOFError):
            with self._mutex:
                self._over = True
                if _PASS != self._fates[direction]:
                    return
        self.end()

    def pump(self, direction: str, stream: Any) -> None:
        """Carry bytes in one direction; to return cuts the connection."""
        while data := stream.read1(65536):
            self.carry(direction, data)
        raise EOFError

    def carry(self, direction: str, data: bytes) -> None:
        """Have bytes go on, or whatever is their fate."""
        time.sleep(self.proxy.pause * len(data) / 65536)
        with self._mutex:
            self._mutex.wait_for(lambda: self._fates[direction] != _STALL)
            fate = self._fates[direction]
            if fate == _HOLD:
                self._held[direction] += data
            if fate != _PASS:
                return
            left = self._left.get(direction, inf)
            self._left[direction] = left - len(data)
        self._ends[direction].sendall(data if left >= len(data) else data[: int(left)])
        if left <= len(data):
            raise EOFError


class Proxy:
    """Relays connections to a port of this machine.

    Args:
        port: of the server.

    Attributes:
        port: of the proxy.
        pause: seconds to rest behind each 64 KiB, in which no more are taken.
    """

    link: ClassVar[type[Link]] = Link

    def __init__(self, port: int) -> None:
        self._target = port
        self._down = self._deaf = False
        self._mutex = threading.Lock()  # protects links
        self.links: list[Link] = []
        self.pause = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that a sender soon notices that nothing is taken.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # -- what the network does ------------------------------------------------------

    def cut(self) -> None:
        """End every connection; both sides are told."""
        with self._mutex:
            links, self.links = self.links, []
        for link in links:
            link.end()

    def down(self) -> None:
        """Cut every connection, and let nobody in."""
        self._down = True
        self.cut()

    def up(self) -> None:
        """Let everybody in."""
        self._down = self._deaf = False

    def lead_to(self, port: int) -> None:
        """Lead connections to come to another port; those that there are stay."""
        self._target = port

    def cut_after(self, count: int, direction: str) -> None:
        """Cut the connections that there are, each when so many more bytes have gone."""
        with self._mutex:
            links = list(self.links)
        for link in links:
            link.cut_after(count, direction)

    def swallow(self, *directions: str, deaf: bool = False) -> None:
        """Let bytes of the connections that there are vanish, and nobody know.

        Args:
            directions: which; none for both.
            deaf: connections to come get no answer either, until ``up``.
        """
        self._deaf = deaf
        self._all(directions or BOTH, _SWALLOW)

    def hold(self, *directions: str) -> None:
        """Keep bytes of the connections that there are back, until ``release``."""
        self._all(directions or BOTH, _HOLD)

    def stall(self, *directions: str) -> None:
        """Take no bytes any more from the connections that there are, until ``release``.

        Their senders have to wait as soon as the system's buffers are full.
        """
        self._all(directions or BOTH, _STALL)

    def release(self) -> None:
        """Send what was kept back, to whoever is there; ends come behind it."""
        self._all(BOTH, _PASS)

    def _all(self, directions: tuple[str, ...], fate: str) -> None:
        with self._mutex:
            links = list(self.links)
        for link in links:
            link.fate(directions, fate)

    # -- connections ----------------------------------------------------------------

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
            link = self.link(self, client, server)
            if self._deaf:
                link.fate(BOTH, _SWALLOW)
            with self._mutex:
                self.links.append(link)
            link.start()

    def close(self) -> None:
        """End everything."""
        self.down()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
