"""The bases of the queues in SQL tables, for threads, under the name that persist-queue has."""

from __future__ import annotations

from ._sql.names import TICK_FOR_WAIT, commit_ignore_error, with_conditional_transaction
from ._sql.queue import SQLBase
from ._sql.sqlite.queue import SQLiteBase
from .exceptions import Empty

__all__ = [
    "TICK_FOR_WAIT",
    "Empty",
    "SQLBase",
    "SQLiteBase",
    "commit_ignore_error",
    "with_conditional_transaction",
]
