"""Commands, answers and errors as they go over the wire to a Redis server (RESP 2).

redis-py's own parser takes several times as long: it is made for every kind of answer.
"""

from __future__ import annotations

import re
import select
import ssl
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import redis

from ..exceptions import (
    FormatError,
    PersistQueueError,
    QueueUnreachable,
    ServerOutOfMemory,
    ServerRefused,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

Word: TypeAlias = "bytes | str | int"
Command: TypeAlias = "tuple[Word, ...]"

_CHUNK = 65_536  # bytes that are sent within one patience, or received at a time
_UNREACHABLE = "LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|MISCONF|BUSY"
_CODE = re.compile(rf"\b(OOM|WRONGTYPE|NOSCRIPT|CROSSSLOT|UNBLOCKED|{_UNREACHABLE})\b")


def packed(command: Command) -> bytes:
    """Return a command as it is sent."""
    parts = [
        b"$%d\r\n%b\r\n" % (len(word), word) if isinstance(word, bytes) else _packed_name(word)
        for word in command
    ]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


@lru_cache(1024)
def _packed_name(word: str | int) -> bytes:
    """Pack what most commands have in common: names of commands and keys."""
    data = str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


class Stream:
    """A socket that takes commands and gives answers.

    Once a read is interrupted, the rest of that answer cannot be told from the next one: the
    connection has to be closed.

    Args:
        patience: seconds to wait when an answer stops in the middle, or nothing can be sent.
    """

    def __init__(self, connected: socket.socket, patience: float) -> None:
        self._socket = connected
        self._patience = patience
        # Python polls a socket with a timeout before each call: two system calls a command.
        # TLS does not tell sending from receiving, so there it has to.
        self._waits = isinstance(connected, ssl.SSLSocket)
        connected.settimeout(patience if self._waits else 0)
        self.wait = _waiter(connected)
        self._data = b""
        self._at = 0  # bytes of it that were read

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the connection was lost.
        """
        sent = 0
        if not self._waits:
            try:  # suppress() would take 0.5 us
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
        self._socket.settimeout(self._patience)
        for at in range(sent, len(data), _CHUNK):
            self._socket.sendall(data[at : at + _CHUNK])
        if not self._waits:
            self._socket.settimeout(0)

    def read(self) -> Any:
        """Return an answer: int, bytes, None, a list of these, or an error of redis-py's.

        Raises:
            OSError: the connection was lost.
        """
        at = self._at
        end = self._data.find(b"\r\n", at)
        while end < 0:
            self._more(1)
            at = self._at
            end = self._data.find(b"\r\n", at)
        kind, rest = self._data[at : at + 1], self._data[at + 1 : end]
        self._at = end + 2
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self._take(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"+":
            return rest
        if kind == b"-":
            return redis.ResponseError(rest.decode(errors="replace"))
        raise ConnectionError(f"the server says {rest[:40]!r}, which is no answer")

    def _take(self, length: int) -> bytes | None:
        """Return a string of that length; None for a negative one."""
        if length < 0:
            return None
        end = self._at + length
        if end + 2 > len(self._data):
            self._more(end + 2 - len(self._data))
            end = self._at + length
        taken = self._data[self._at : end]
        self._at = end + 2
        return taken

    def _more(self, least: int) -> None:
        """Receive ``least`` bytes, or more if more is there."""
        left = self._data[self._at :]
        part = self._receive(max(least, _CHUNK))
        if len(part) < least:
            parts = [part]
            while (least := least - len(part)) > 0:
                part = self._receive(max(least, _CHUNK))
                parts.append(part)
            part = b"".join(parts)
        self._data, self._at = left + part if left else part, 0

    def _receive(self, most: int) -> bytes:
        """Wait for bytes, and receive what is there."""
        while True:
            try:
                part = self._socket.recv(most)
            except BlockingIOError:
                if not self.wait(self._patience):
                    raise TimeoutError("the answer stopped in the middle") from None
            else:
                if not part:
                    raise ConnectionError("the server has closed the connection")
                return part


if sys.platform != "win32":

    def _waiter(connected: socket.socket) -> Callable[[float], object]:
        """Return a function that waits for some seconds until a socket can be read."""
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return lambda seconds: poll.poll(seconds * 1000)

else:

    def _waiter(connected: socket.socket) -> Callable[[float], object]:
        """Wait with ``select``: Windows has no ``poll``."""
        return lambda seconds: select.select([connected], (), (), seconds)[0]


def code_of(error: redis.RedisError) -> str:
    """Return the word that an error answer begins with; empty if it is none of these."""
    found = _CODE.search(str(error))  # old servers put it behind the name of the script
    return found[1] if found else ""


def translated(error: redis.RedisError, label: str) -> PersistQueueError:
    """Return an error answer as one of this package's errors.

    Args:
        label: the server's name in messages.
    """
    code = code_of(error)
    message = f"{label}: {str(error).partition(' script: ')[0]}"
    if code == "OOM":
        ours: PersistQueueError = ServerOutOfMemory(
            f"{message}; nothing was stored: raise its maxmemory, or let consumers catch up"
        )
    elif code == "WRONGTYPE":
        ours = FormatError(f"{message}; a key of this queue is used for something else")
    elif code in _UNREACHABLE.split("|"):
        ours = QueueUnreachable(f"{message}; nothing was stored: try again in a moment")
    else:
        advice = "; for a Cluster put the queue's name in braces" if code == "CROSSSLOT" else ""
        ours = ServerRefused(message + advice)
    ours.__cause__ = error
    return ours
