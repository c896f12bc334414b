"""aiodiskqueue's interface and its data files.

Change ``from aiodiskqueue import Queue`` into ``from persistqueue.compat.aiodiskqueue import
Queue``: that is the whole migration.  The logger is ``aiodiskqueue``, as before.
"""

from __future__ import annotations

from . import engines
from .queues import Queue, QueueEmpty, QueueException, QueueFull

__all__ = ["Queue", "QueueEmpty", "QueueException", "QueueFull", "engines"]
