"""The one place that talks to a Redis server: connections of our own, and its errors as ours.

One thread at a time uses a ``Link``.  It sends nothing twice unless the caller says that twice is
as good as once: redis-py's own retries would store an item again whose answer was lost.  A
command that was not sent whole was not done, and is sent again.

A connection that was lost before an answer came may be alive at the server, with a command on its
way.  That command would be done after the one that is sent again.  So the next connection has the
server end the old one first (``CLIENT KILL``).  A user who may not do that (``ACL``) goes on
without.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

import redis

from .._core.deadline import monotonic
from ..exceptions import PersistQueueError, QueueUnreachable, ServerRefused
from .resp import Stream, code_of, packed, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .resp import Command, Word
    from .settings import Settings

_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
_SILENT = (redis.TimeoutError, TimeoutError)
_LATELY = 0.005  # s in which a connection that has answered is not looked at again
ONCE_MORE = 1.0  # s for all that follows when the answer to a call did not come
_INTRODUCTION: Command = ("CLIENT", "INFO")
_ID_AND_ADDRESS = re.compile(rb"id=(\d+) addr=(\S+)")


class Link:
    """One connection to a server; opened when it is needed, and again when it was lost.

    Args:
        patience: seconds to wait for an answer, if that is less than the settings say.

    Attributes:
        silent: the server was lost because no answer came in time.
        repeated: the last commands were sent twice, so they may have been done the first time.
        survived: a connection that was lost in a command may be alive at the server.
    """

    def __init__(self, settings: Settings, patience: float = inf) -> None:
        self._settings = settings
        self._patience = patience
        self._hurried = False
        self._until = inf  # on the monotonic clock; when the call under way has to be over
        self._connection: Any = None
        self._stream: Any = None
        self._fresh = False  # checked, and nothing was sent since
        self._heard = 0.0  # when the last answer came
        self._owed = False  # an answer has not come
        self._unsent = False  # the last commands were not sent whole
        self._end: Command | None = None  # ends this connection, sent over another one
        self._ends: list[Command] = []  # end connections that were lost in a command
        self._suspect = False
        self._scripts: set[str] = set()  # digests that the server knows, as far as is known
        self.silent = self.repeated = self.survived = False

    # -- the connection -------------------------------------------------------------

    def connect(self) -> None:
        """Connect, or replace a connection that the server has closed meanwhile.

        Raises:
            QueueUnreachable: the server cannot be reached.
            ServerRefused: it does not let this user in.
        """
        if self._connection is not None:
            lately = monotonic() - self._heard < _LATELY
            if not self._suspect and (lately or not self.readable()):
                self._fresh = True
                return
            self.drop()
        connection = self._settings.connection(self._left())
        try:
            connection.connect()
        except redis.AuthenticationError as error:
            raise ServerRefused(f"{self._settings.label}: {error}") from error
        except _LOST as error:
            raise self._gone(error, "cannot be reached") from error
        except redis.RedisError as error:
            raise ServerRefused(f"{self._settings.label}: {error}") from error
        self._connection = connection
        patience = min(self._settings.patience, self._patience)
        self._stream = Stream(connection._sock, patience)  # noqa: SLF001 - it has no public name
        self._suspect = False
        self._scripts.clear()
        self._introduce()

    def _introduce(self) -> None:
        """Ask for this connection's number, and end those that it replaces."""
        self._end = None
        try:
            self._send(b"".join(map(packed, (*self._ends, _INTRODUCTION))))
            *ended, said = self._receive(len(self._ends) + 1)
        except _LOST as error:
            raise self._gone(error, "cannot be reached") from error
        except BaseException:
            self.drop()
            raise
        if self._ends:
            self.survived = any(isinstance(answer, redis.RedisError) for answer in ended)
            self._ends.clear()
        found = _ID_AND_ADDRESS.search(said) if isinstance(said, bytes) else None
        if found is not None:
            # The address as well: after its restart a server gives the same numbers again.
            self._end = ("CLIENT", "KILL", "ID", found[1], "ADDR", found[2])

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def fileno(self) -> int:
        """Return the descriptor of the connection's socket."""
        number: int = self._connection._sock.fileno()  # noqa: SLF001
        return number

    def hurry(self, patience: float) -> None:
        """From now on wait ``patience`` seconds for an answer, and ask once; on any thread."""
        self._patience, self._hurried = patience, True

    def suspect(self) -> None:
        """Have the connection replaced before it is used again; on any thread."""
        self._suspect = True

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit everything inside to some seconds, connecting included."""
        before, self._until = self._until, min(self._until, monotonic() + seconds)
        try:
            yield
        finally:
            self._until = before

    def _left(self) -> float:
        """Return the seconds to wait for the server now."""
        if self._until == inf:
            return self._patience
        return max(min(self._patience, self._until - monotonic()), 0.01)

    def readable(self) -> bool:
        """Return whether anything can be read: without a request mostly the connection's end."""
        return bool(self._stream.wait(0))

    def drop(self) -> None:
        """Close the connection; if an answer is due, the next one ends it at the server."""
        if self._owed:
            if self._end is not None:
                self._ends.append(self._end)
            self.survived = True
        self._close()

    def _gone(self, error: Exception, what: str) -> QueueUnreachable:
        """Close a connection that is lost, and return the error for that."""
        self.silent = isinstance(error, _SILENT)
        self.drop()
        return QueueUnreachable(f"{self._settings.label} {what}: {error}")

    def take_ends(self) -> list[Command]:
        """Return commands, for another link, that end connections which were lost in a command."""
        ends, self._ends = self._ends, []
        return ends

    def forget(self) -> None:
        """Close a parent process's connection, without its noticing."""
        self._ends.clear()
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._owed = self._fresh = False
        if connection is not None:
            connection.disconnect()

    # -- commands -------------------------------------------------------------------

    def ask(self, *commands: Command, again: bool = False) -> list[Any]:
        """Send commands together and return their answers.

        Args:
            again: to do them twice is as good as once, so after a lost connection they are
                sent again.

        Raises:
            QueueUnreachable: the connection was lost; ``stored`` is None if that was before
                the answers came.
            PersistQueueError: the first error among the answers.
        """
        return self.checked(self.answers(*commands, again=again))

    def checked(self, answers: list[Any]) -> list[Any]:
        """Return answers, or raise the first error among them as one of ours."""
        if len(answers) == 1 and not isinstance(answers[0], redis.RedisError):
            return answers
        for place, answer in enumerate(answers):
            if isinstance(answer, redis.RedisError):
                if place and code_of(answer) == "UNBLOCKED":
                    answers[place] = 0  # to WAIT: a failover; what is before it is stored
                else:
                    raise self._translated(answer)
        return answers

    def answers(self, *commands: Command, again: bool = False) -> list[Any]:
        """Send commands as ``ask`` does; errors are among the answers."""
        words = packed(commands[0]) if len(commands) == 1 else b"".join(map(packed, commands))
        self.repeated = self._unsent = False
        try:
            return self._exchange(words, len(commands))
        except QueueUnreachable as error:
            undone = self._unsent and len(commands) == 1
            if self._hurried or (not undone and (not again or error.stored is False)):
                raise
        self.repeated = not undone
        with self.within(ONCE_MORE):
            return self._exchange(words, len(commands))

    def _exchange(self, words: bytes, count: int) -> list[Any]:
        if not self._fresh:
            self.connect()
        try:
            self._unsent = True
            self._send(words)
            self._unsent = False
            return self._receive(count)
        except _LOST as error:
            gone = self._gone(error, "was lost")
            if not (self._unsent and count == 1):
                gone = QueueUnreachable(
                    f"{self._settings.label}: the connection was lost before the answer came "
                    f"({error}); what the call was to store may be stored or not",
                    stored=None,
                )
            raise gone from error
        except BaseException:
            self.drop()  # an answer that is not awaited any more may be on its way
            raise

    def _send(self, words: bytes) -> None:
        self._owed, self._fresh = True, False
        self._stream.send(words)

    def _receive(self, count: int) -> list[Any]:
        """Read answers, the first of which may not have come yet."""
        if not self._stream.wait(min(self._settings.patience, self._left())):
            raise redis.TimeoutError("no answer in time")
        read = self._stream.read
        answers = [read()] if count == 1 else [read() for _ in range(count)]
        self._owed = False
        self._heard = monotonic()
        return answers

    def read(self) -> Any:
        """Return the answer to ``send``, once something can be read.

        Raises:
            QueueUnreachable: the connection has ended.
            PersistQueueError: the answer is an error.
        """
        try:
            answers = self._receive(1)
        except _LOST as error:
            raise self._gone(error, "was lost") from error
        return self.checked(answers)[0]

    def send(self, command: Command) -> None:
        """Send one command and leave its answer to ``read``."""
        self.connect()
        try:
            self._send(packed(command))
        except _LOST as error:
            raise self._gone(error, "was lost") from error

    def script(
        self,
        script: tuple[str, str],
        keys: Sequence[Word],
        arguments: Sequence[Word],
        *behind: Command,
        again: bool = False,
    ) -> list[Any]:
        """Run a script, and commands behind it; returns the answers of all.

        Args:
            script: its source and its digest.
        """
        rest = (len(keys), *keys, *arguments)
        # The first time with its source: commands behind an unknown script would be done.
        known = script[1] in self._scripts
        named = ("EVALSHA", script[1]) if known else ("EVAL", script[0])
        answers = self.answers((*named, *rest), *behind, again=again)
        if not known:
            self._scripts.add(script[1])
        elif _is_no_script(answers[0]):  # nothing was done
            repeated = self.repeated
            answers = self.answers(("EVAL", script[0], *rest), *behind, again=again)
            self.repeated = self.repeated or repeated
        return self.checked(answers)

    def transaction(self, commands: Sequence[Command], *behind: Command) -> list[Any]:
        """Run commands, all or none; returns their answers, and those of ``behind``."""
        answers = self.ask(("MULTI",), *commands, ("EXEC",), *behind)
        inner = self.checked(answers[len(commands) + 1])
        return [*inner, *answers[len(commands) + 2 :]]

    def _translated(self, error: redis.RedisError) -> PersistQueueError:
        ours = translated(error, self._settings.label)
        if isinstance(ours, QueueUnreachable):
            self.drop()  # the next connection may lead to another server
        return ours


def _is_no_script(answer: Any) -> bool:
    return isinstance(answer, redis.RedisError) and code_of(answer) == "NOSCRIPT"
