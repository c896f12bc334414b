"""``AsyncBrokerCore``: all queues of a database, with SimpleBroker's names and results.

A file of SimpleBroker's own that holds messages is refused: they are in tables that this package's
brokers do not look at, and a program that changes the import and keeps the file would find every
queue empty.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .. import async_broker, broker
from .._broker.readers import BrokerDatabase
from ..brokerconfig import BrokerConfig
from ..exceptions import FormatError

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import AsyncIterator

    from .._broker.options import Message
    from ..async_brokerqueue import AsyncBrokerQueue

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,511}")
_THEIR_COLUMNS = "SELECT name FROM pragma_table_info('messages')"
_THEIR_MESSAGES = "SELECT COUNT(*) FROM messages WHERE claimed = 0"
ROOM = 64  # bytes that a serializer may add to a text


class _Database(BrokerDatabase):
    """A database that is not SimpleBroker's, or has no message any more."""

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        columns = {name for (name,) in connection.execute(_THEIR_COLUMNS)}
        if {"queue", "body", "ts", "claimed"} <= columns:
            ((count,),) = connection.execute(_THEIR_MESSAGES)
            if count:
                raise FormatError(
                    f"{self.path} is SimpleBroker's own file, with {count} messages that are not "
                    f"seen here; nothing was changed: write them out (broker -f {self.path} dump "
                    "> old.ndjson), read that into a new file (persistqueue.Broker(new_path)."
                    'load("old.ndjson")), and open that one'
                )
        super()._choose_journal(connection)


class SyncBroker(broker.Broker):
    """The broker beneath ``Queue``."""

    _databases = _Database


class AsyncioBroker(async_broker.AsyncBroker):
    """The broker beneath the asynchronous classes."""

    _databases = _Database


def checked_name(name: str) -> str:
    """Return a queue's name, if SimpleBroker takes it; raises ``ValueError``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a queue: it takes letters, digits, '_', '-' and '.', 512 at "
            "the most, and begins with none of the last two"
        )
    return name


def checked_body(message: str, most: int) -> str:
    """Return a message, if it is text and not too long.

    Raises:
        TypeError, ValueError: it is not.
    """
    if not isinstance(message, str):
        raise TypeError(f"a message is a str, not {type(message).__name__}; json.dumps makes one")
    if len(message) * 4 > most and len(message.encode("utf-8", "surrogatepass")) > most:
        raise ValueError(f"the message is longer than {most} bytes (BROKER_MAX_MESSAGE_SIZE)")
    return message


def stamp_of(message: Message[Any]) -> int:
    """Return a message's time as SimpleBroker counts it: billionths of a second."""
    return int(message.timestamp * 1_000_000_000)


class PooledAsyncSQLiteRunner:
    """The broker beneath ``AsyncBrokerCore``: a database, opened at the first call.

    Args:
        db_path: its file.
        pool_size: connections that read.
        max_connections: accepted; there is one that writes, and ``pool_size`` that read.
        config: settings; None for those of the environment.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str],
        pool_size: int = 10,
        max_connections: int = 20,
        config: BrokerConfig | None = None,
    ) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections}")
        self.config = config or BrokerConfig.from_env()
        room = self.config.max_item_bytes + ROOM
        self.broker = AsyncioBroker(
            db_path, pool_size=pool_size, config=self.config, max_item_bytes=room
        )

    async def close(self) -> None:
        """Let go of the database."""
        await self.broker.close()


class AsyncBrokerCore:
    """All queues of a database; ``async_broker`` opens one.

    Args:
        runner: where it is.
    """

    def __init__(self, runner: PooledAsyncSQLiteRunner) -> None:
        self._runner = runner
        self._broker = runner.broker

    def queue(self, name: str) -> AsyncBrokerQueue[str]:
        """Return the handle of a queue."""
        return self._broker.queue(checked_name(name))

    async def write(self, queue: str, message: str) -> int:
        """Add a message to a queue; returns its id."""
        body = checked_body(message, self._runner.config.max_item_bytes)
        return await self.queue(queue).write(body)

    async def read(
        self,
        queue: str,
        peek: bool = False,
        all_messages: bool = False,
        exact_timestamp: int | None = None,
    ) -> list[str]:
        """Take the next message, or look at it; a list of one, of all, or of none."""
        stream = self.stream_read(queue, peek, all_messages, exact_timestamp)
        return [message async for message in stream]

    async def stream_read(
        self,
        queue: str,
        peek: bool = False,
        all_messages: bool = False,
        exact_timestamp: int | None = None,
        commit_interval: int = 1,
        since_timestamp: int | None = None,
        after_timestamp: int | None = None,
    ) -> AsyncIterator[str]:
        """Go through messages, taking them unless ``peek``: see ``AsyncQueue.stream``."""
        source = self.queue(queue)
        since = since_timestamp if after_timestamp is None else after_timestamp
        if exact_timestamp is None and since is None:
            async with source.stream(commit_interval, peek=peek) as stream:
                async for body in stream:
                    yield body
                    if not all_messages:
                        return
            return
        async for message in _selected(source, exact_timestamp, since):
            if not peek and not await source.delete(message.id):
                continue  # another consumer has it
            yield message.item
            if not all_messages:
                return

    async def list_queues(self) -> list[tuple[str, int]]:
        """Return the names of queues, with how many messages wait in each."""
        return [(queue.name, queue.waiting) for queue in await self._broker.list_queues()]

    async def get_queue_stats(self) -> list[tuple[str, int, int]]:
        """Return for each queue its name, how many messages wait, and how many there are in all."""
        queues = await self._broker.list_queues()
        return [(queue.name, queue.waiting, queue.waiting + queue.held) for queue in queues]

    async def delete(self, queue: str | None = None) -> None:
        """Delete a queue with its messages, or all queues."""
        names = [queue] if queue is not None else [name for name, _ in await self.list_queues()]
        for name in names:
            await self._broker.delete(name if queue is None else checked_name(name))

    async def broadcast(self, message: str) -> int:
        """Write a message to every queue; returns how many there are."""
        body = checked_body(message, self._runner.config.max_item_bytes)
        return len(await self._broker.broadcast(body))

    async def move(
        self,
        source: str,
        destination: str,
        *,
        message_id: int | None = None,
        require_unclaimed: bool = True,  # noqa: ARG002 - taken messages are gone
    ) -> dict[str, Any] | None:
        """Move the oldest message, or the one with this id; returns it, None if there is none."""
        checked_name(source)
        checked_name(destination)

        def move(tx: Any) -> int | None:
            moved = tx.queue(source).move_to(destination, message_id)
            return moved[0] if moved else None

        number = await self._broker.transact(move)
        if number is None:
            return None
        page = await self.queue(destination).browse(after=number - 1, before=number + 1)
        if not page:  # another consumer has taken it there
            return {"id": number, "body": None, "ts": None}
        return {"id": number, "body": page[0].item, "ts": stamp_of(page[0])}

    async def vacuum(self) -> None:
        """Give unused space back."""
        await self._broker.vacuum()

    async def close(self) -> None:
        """Let go of the database."""
        await self._runner.close()


async def _selected(
    queue: AsyncBrokerQueue[str], exact: int | None, since: int | None
) -> AsyncIterator[Message[str]]:
    """Find messages by their time."""
    wanted = exact if exact is not None else since
    assert wanted is not None
    last: int | None = None
    near = wanted / 1_000_000_000 - 0.000_01
    while page := await queue.browse(after=last, since=near):
        for message in page:
            stamp = stamp_of(message)
            if stamp == exact or (exact is None and stamp > wanted):
                yield message
        last = page[-1].id
