"""Redis servers for tests: started from the PATH, each on a free port, with a folder of its own.

A test module takes part with ``from redis_server import redis_fixture  # noqa: F401`` and an
argument ``redis_server``, one server for the whole run; or starts its own with ``start``.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from guardian import Guarded, started_at_a_free_port

PROGRAM = "redis-server"


class Server:
    """A server process.

    Args:
        folder: its data, and its log.
        options: words for its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        self.port = started_at_a_free_port(self._start_at)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _start_at(self, port: int) -> None:
        self.port = port
        self.start()

    def start(self) -> None:
        """Start it, again after ``kill``; on the same port, with what it has stored."""
        command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   "--dir", str(self.folder), *self._options]  # fmt: skip
        self._process = Guarded(command, self.folder / "log")
        self._process.until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
                said = connection.makefile("rb").read()
                mine = b"\r\nprocess_id:%d\r\n" % self._process.pid in said
                return mine and said.startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.signal(signal.SIGCONT)


def needed() -> None:
    """Skip the test where there is no server; fail it where there ought to be one."""
    if shutil.which(PROGRAM) is None:
        reason = f"needs {PROGRAM}: install the Debian package redis-server"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


def start(folder: Path, *options: str) -> Server:
    """Start a server of the test's own; the test kills it."""
    needed()
    folder.mkdir(exist_ok=True)
    return Server(folder, *options)


_shared: Server | None = None


def shared() -> Server:
    """Return the server that all tests share; each has keys of its own."""
    global _shared  # noqa: PLW0603 - started when it is needed, once
    needed()
    if _shared is None:
        folder = tempfile.mkdtemp(prefix="persistqueue-redis-")
        _shared = Server(Path(folder))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(_shared.kill)
    return _shared


@pytest.fixture(name="redis_server")
def redis_fixture() -> Server:
    """The server that all tests share."""
    return shared()
