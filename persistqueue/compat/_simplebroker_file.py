"""Brokers for SimpleBroker's names: they refuse a file of its own that holds messages.

Its messages are in tables that this package's brokers do not look at.  A program that changes the
import and keeps the file would find every queue empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import async_broker, broker
from .._broker.readers import BrokerDatabase
from ..exceptions import FormatError

if TYPE_CHECKING:
    import sqlite3

_THEIR_COLUMNS = "SELECT name FROM pragma_table_info('messages')"
_THEIR_MESSAGES = "SELECT COUNT(*) FROM messages WHERE claimed = 0"


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
