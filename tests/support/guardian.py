"""A server process that ends with the tests, however those end: killed ones, too."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from waiting import until

# The session's input ends when the tests do; it outlives them for as long as that takes.
_SCRIPT = '"$@" >&2 & echo $!; read line; kill -9 $! 2>/dev/null; wait'


class PortTaken(AssertionError):
    """Another process listens where a server was to."""


def free_port() -> int:
    """Return a port that nobody listens at: now; somebody may in a moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started_at_a_free_port(start: Callable[[int], None]) -> int:
    """Start a server; at another port if somebody was quicker.  Returns the port."""
    for _ in range(5):
        with contextlib.suppress(PortTaken):
            port = free_port()
            start(port)
            return port
    raise AssertionError("every port that was free is taken in the next moment")


class Guarded:
    """A server; started at once.

    Args:
        command: its words.
        log: what it says is added to this file.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log, self._begins = log, log.stat().st_size if log.exists() else 0
        with open(log, "a", encoding="utf-8") as said:
            self._guardian = subprocess.Popen(
                ["sh", "-c", _SCRIPT, "sh", *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
        assert self._guardian.stdout is not None
        self.pid = int(self._guardian.stdout.readline())

    def until(self, answers: Callable[[], bool]) -> None:
        """Wait until it answers.

        Raises:
            PortTaken: another process listens at its port.
            AssertionError: it does not; with what it said.
        """
        try:
            until(lambda: answers() or self._port_is_taken(), "the server's first answer")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self._said()}") from None
        if self._port_is_taken():
            self.kill()
            raise PortTaken(self._said())

    def _port_is_taken(self) -> bool:
        return "Address already in use" in self._said()

    def _said(self) -> str:
        """Return what it has said since it was started."""
        return self._log.read_bytes()[self._begins :].decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash does, and wait until it is gone."""
        self._guardian.communicate(timeout=60)
