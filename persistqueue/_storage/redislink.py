"""The one place that talks to a Redis server: connections of our own, and its errors into ours.

A ``Link`` is one connection, used by one thread at a time.  Nothing is sent twice unless the
caller says that twice is as good as once: redis-py's own retries would store an item again
whose answer was lost.
"""

from __future__ import annotations

import re
import select
import sys
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from ..exceptions import (
    FormatError,
    NotEnoughReplicas,
    PersistQueueError,
    QueueUnreachable,
    ServerOutOfMemory,
    ServerRefused,
)
from .redissettings import Settings, redis

if TYPE_CHECKING:
    from collections.abc import Sequence

Word: TypeAlias = "bytes | str | int"
Command: TypeAlias = "tuple[Word, ...]"

_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)

_UNREACHABLE = "LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|MISCONF|BUSY"
_CODE = re.compile(rf"\b(OOM|WRONGTYPE|NOSCRIPT|CROSSSLOT|UNBLOCKED|{_UNREACHABLE})\b")
# redis-py cuts the code off the message of those that it has a class for.
_CODES: dict[type, str] = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
}


class Link:
    """One connection to a server; opened when it is needed, and again when it was lost.

    Attributes:
        interrupt: a Ctrl-C that came while an answer was awaited, which was seen through.
    """

    def __init__(self, settings: Settings, patience: float = inf) -> None:
        self._settings = settings
        self._patience = patience
        self._hurried = False
        self._connection: Any = None
        self._poll: Any = None
        self.interrupt: BaseException | None = None

    # -- the connection -------------------------------------------------------------

    def connect(self) -> None:
        """Be connected: a connection that the server has closed meanwhile is replaced.

        Raises:
            QueueUnreachable: the server cannot be reached.
            ServerRefused: it does not let this user in.
        """
        if self._connection is not None:
            if not self.readable():
                return
            self.drop()
        connection = self._settings.connection(self._patience)
        try:
            connection.connect()
        except redis.AuthenticationError as error:
            raise ServerRefused(f"{self._settings.label}: {error}") from error
        except _LOST as error:
            raise QueueUnreachable(f"{self._settings.label} cannot be reached: {error}") from error
        except redis.RedisError as error:
            raise ServerRefused(f"{self._settings.label}: {error}") from error
        self._poll = _poll_of(connection._sock)  # noqa: SLF001 - it has no public name
        self._connection = connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def hurry(self, patience: float) -> None:
        """Wait no longer than so many seconds for an answer, and ask once; on any thread."""
        self._patience, self._hurried = patience, True

    def readable(self) -> bool:
        """Return whether something has come that nobody asked for: the end, mostly."""
        return bool(self._poll(0))

    def drop(self) -> None:
        """Close the connection; in a child process, without the parent's noticing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    # -- commands -------------------------------------------------------------------

    def ask(self, *commands: Command, again: bool = False) -> list[Any]:
        """Send commands in one go and return their answers.

        Args:
            again: to do them twice is as good as once, so a lost connection is no error
                while the server can be reached.

        Raises:
            QueueUnreachable: the connection was lost; ``stored`` is None if that was before
                the answers came, True if that was Ctrl-C while they came.
            PersistQueueError: the first error among the answers.
        """
        answers = self.answers(*commands, again=again)
        return self._checked(answers)

    def _checked(self, answers: list[Any]) -> list[Any]:
        for place, answer in enumerate(answers):
            if isinstance(answer, redis.RedisError):
                if place and _code_of(answer) == "UNBLOCKED":
                    answers[place] = 0  # to WAIT: a failover; what is before it is stored
                else:
                    raise self._translated(answer)
        return answers

    def answers(self, *commands: Command, again: bool = False) -> list[Any]:
        """Do the same, with errors among the answers as they are."""
        packed = b"".join(map(_packed, commands))
        try:
            return self._exchange(packed, len(commands))
        except QueueUnreachable as error:
            if not again or error.stored is False or self._hurried:
                raise
        return self._exchange(packed, len(commands))

    def _exchange(self, packed: bytes, count: int) -> list[Any]:
        self.connect()
        try:
            self._connection.send_packed_command([packed], check_health=False)
            return self._receive(count)
        except QueueUnreachable:
            raise
        except _LOST as error:
            self.drop()
            if isinstance(error.__context__, redis.exceptions.ReadOnlyError):
                # It was a demoted master, over a connection that Sentinel looks after.
                raise self._translated(error.__context__) from error
            raise QueueUnreachable(
                f"{self._settings.label}: the connection was lost before the answer came "
                f"({error}); what the call was to store may be stored or not",
                stored=None,
            ) from error
        except BaseException:
            self.drop()  # an answer that nobody reads may be on its way
            raise

    def _receive(self, count: int) -> list[Any]:
        """Read answers, the first of which may not have come yet."""
        self._await_answer()
        answers: list[Any] = []
        try:
            while len(answers) < count:
                answers.append(self._read_one())
        except Exception:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - commit() lets it go on
            # The rest of an answer cannot be told from the next one any more; but the server
            # answers when it is through.
            self.drop()
            self.interrupt = self.interrupt or interrupt
            raise QueueUnreachable("interrupted while the answer came", stored=True) from None
        return answers

    def _await_answer(self) -> None:
        """Wait until an answer begins to come; a Ctrl-C meanwhile is kept, the second is not."""
        ready = None
        while ready is None:
            try:
                ready = self._poll(min(self._settings.patience, self._patience))
            except Exception:
                raise
            except BaseException as interrupt:
                if self.interrupt is not None:
                    raise
                self.interrupt = interrupt
        if not ready:
            raise redis.TimeoutError("no answer in time")

    def _read_one(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except (redis.ResponseError, redis.exceptions.BusyLoadingError) as error:
            return error

    def read(self) -> Any:
        """Return the answer to a command that was sent alone, which has come.

        Raises:
            QueueUnreachable: no answer came, but the end of the connection.
        """
        try:
            (answer,) = self._receive(1)
        except _LOST as error:
            self.drop()
            raise QueueUnreachable(f"{self._settings.label} was lost: {error}") from error
        return answer

    def send(self, command: Command) -> None:
        """Send a command and leave its answer to ``read``."""
        self.connect()
        try:
            self._connection.send_packed_command([_packed(command)], check_health=False)
        except _LOST as error:
            self.drop()
            raise QueueUnreachable(f"{self._settings.label} was lost: {error}") from error

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
        answers = self.answers(("EVALSHA", script[1], *rest), *behind, again=again)
        if isinstance(answers[0], redis.exceptions.NoScriptError):  # nothing was done
            answers = self.answers(("EVAL", script[0], *rest), *behind, again=again)
        return self._checked(answers)

    def transaction(self, commands: Sequence[Command], *behind: Command) -> list[Any]:
        """Run commands, all or none; returns their answers, then those of ``behind``."""
        answers = self.ask(("MULTI",), *commands, ("EXEC",), *behind)
        inner = self._checked(answers[len(commands) + 1])
        return [*inner, *answers[len(commands) + 2 :]]

    def _translated(self, error: redis.RedisError) -> PersistQueueError:
        """Return an error of the server as one of ours."""
        code = _code_of(error)
        message = f"{self._settings.label}: {str(error).partition(' script: ')[0]}"
        if code == "OOM":
            raised: PersistQueueError = ServerOutOfMemory(
                f"{message}; nothing was stored: raise its maxmemory, or let consumers catch up"
            )
        elif code == "WRONGTYPE":
            raised = FormatError(f"{message}; a key of this queue is used for something else")
        elif code in _UNREACHABLE.split("|"):
            self.drop()  # the next connection may lead to another server
            raised = QueueUnreachable(f"{message}; nothing was stored: try again in a moment")
        else:
            advice = "; for a Cluster put the queue's name in braces" if code == "CROSSSLOT" else ""
            raised = ServerRefused(message + advice)
        raised.__cause__ = error
        return raised


class Replicas:
    """How many replicas have to confirm each write.

    ``WAIT`` counts for the connection that it comes over, and only outside of scripts and
    transactions; it never fails, so its answer decides.

    Args:
        count: how many; 0 for none.
        timeout: milliseconds to wait for them.

    Attributes:
        behind: what is sent behind a write.
    """

    def __init__(self, count: int, timeout: int) -> None:
        self.count = count
        self.behind: tuple[Command, ...] = (("WAIT", count, timeout),) if count else ()

    def check(self, *writes: Sequence[Any]) -> None:
        """Look at the answers of writes with ``behind`` behind each.

        Raises:
            NotEnoughReplicas: too few have confirmed one of them.
        """
        if self.count and writes:
            confirmed = min(answers[-1] for answers in writes)
            if confirmed < self.count:
                raise NotEnoughReplicas(confirmed, self.count)


def _code_of(error: redis.RedisError) -> str:
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "LOADING"
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _packed(command: Command) -> bytes:
    """Return a command as it is sent; half the time that redis-py takes for a hundred words."""
    words = [
        word if isinstance(word, bytes) else (word if isinstance(word, str) else str(word)).encode()
        for word in command
    ]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


if sys.platform != "win32":

    def _poll_of(sock: Any) -> Any:
        """Return a function that waits up to so many seconds until a socket can be read."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return lambda seconds: poll.poll(seconds * 1000)

else:

    def _poll_of(sock: Any) -> Any:
        """Do the same where there is no poll."""
        return lambda seconds: select.select([sock], (), (), seconds)[0]
