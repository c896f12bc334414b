"""Queues that survive a restart, for programs that are asynchronous and those that are not.

Public names are resolved when they are first asked for, so that importing this
package needs, and costs, the standard library alone.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import engines as engines
    from . import exceptions as exceptions
    from . import serializers as serializers
    from .async_broker import AsyncBroker as AsyncBroker
    from .async_brokerqueue import AsyncBrokerQueue as AsyncBrokerQueue
    from .async_jobqueue import AsyncJob as AsyncJob
    from .async_jobqueue import AsyncJobQueue as AsyncJobQueue
    from .async_mysqlqueue import AsyncMySQLAckQueue as AsyncMySQLAckQueue
    from .async_mysqlqueue import AsyncMySQLQueue as AsyncMySQLQueue
    from .async_pdict import AsyncPDict as AsyncPDict
    from .async_priorityqueue import AsyncPriorityQueue as AsyncPriorityQueue
    from .async_queue import AsyncQueue as AsyncQueue
    from .async_redispool import AsyncRedisPool as AsyncRedisPool
    from .async_redisqueue import AsyncRedisQueue as AsyncRedisQueue
    from .async_redisqueue import AsyncRedisUniqueQueue as AsyncRedisUniqueQueue
    from .async_sqlackqueue import AsyncFIFOSQLiteAckQueue as AsyncFIFOSQLiteAckQueue
    from .async_sqlackqueue import AsyncFILOSQLiteAckQueue as AsyncFILOSQLiteAckQueue
    from .async_sqlackqueue import AsyncSQLiteAckQueue as AsyncSQLiteAckQueue
    from .async_sqlackqueue import AsyncUniqueAckQ as AsyncUniqueAckQ
    from .async_sqlqueue import AsyncFIFOSQLiteQueue as AsyncFIFOSQLiteQueue
    from .async_sqlqueue import AsyncFILOSQLiteQueue as AsyncFILOSQLiteQueue
    from .async_sqlqueue import AsyncSQLiteQueue as AsyncSQLiteQueue
    from .async_sqlqueue import AsyncUniqueQ as AsyncUniqueQ
    from .broker import Broker as Broker
    from .brokerconfig import BrokerConfig as BrokerConfig
    from .brokerqueue import BrokerQueue as BrokerQueue
    from .exceptions import AsyncEmpty as AsyncEmpty
    from .exceptions import AsyncFull as AsyncFull
    from .exceptions import AsyncQueueShutDown as AsyncQueueShutDown
    from .exceptions import Empty as Empty
    from .exceptions import EngineError as EngineError
    from .exceptions import FormatError as FormatError
    from .exceptions import Full as Full
    from .exceptions import ItemTooLarge as ItemTooLarge
    from .exceptions import JobLost as JobLost
    from .exceptions import NoSuchQueue as NoSuchQueue
    from .exceptions import NotEnoughReplicas as NotEnoughReplicas
    from .exceptions import PersistQueueError as PersistQueueError
    from .exceptions import QueueClosed as QueueClosed
    from .exceptions import QueueCorrupt as QueueCorrupt
    from .exceptions import QueueFailed as QueueFailed
    from .exceptions import QueueLocked as QueueLocked
    from .exceptions import QueueShutDown as QueueShutDown
    from .exceptions import QueueUnreachable as QueueUnreachable
    from .exceptions import SerializationError as SerializationError
    from .exceptions import ServerOutOfMemory as ServerOutOfMemory
    from .exceptions import ServerRefused as ServerRefused
    from .jobqueue import Job as Job
    from .jobqueue import JobQueue as JobQueue
    from .jobs import Dead as Dead
    from .jobs import DeadJob as DeadJob
    from .jobs import JobStats as JobStats
    from .jobs import Put as Put
    from .jobs import Retry as Retry
    from .jobs import Snooze as Snooze
    from .mysqlqueue import MySQLAckQueue as MySQLAckQueue
    from .mysqlqueue import MySQLQueue as MySQLQueue
    from .pdict import PDict as PDict
    from .priorityqueue import PriorityQueue as PriorityQueue
    from .queue import Queue as Queue
    from .redispool import RedisPool as RedisPool
    from .redisqueue import RedisQueue as RedisQueue
    from .redisqueue import RedisUniqueQueue as RedisUniqueQueue
    from .sqlackqueue import AckStatus as AckStatus
    from .sqlackqueue import FIFOSQLiteAckQueue as FIFOSQLiteAckQueue
    from .sqlackqueue import FILOSQLiteAckQueue as FILOSQLiteAckQueue
    from .sqlackqueue import SQLiteAckQueue as SQLiteAckQueue
    from .sqlackqueue import UniqueAckQ as UniqueAckQ
    from .sqlqueue import FIFOSQLiteQueue as FIFOSQLiteQueue
    from .sqlqueue import FILOSQLiteQueue as FILOSQLiteQueue
    from .sqlqueue import SQLiteQueue as SQLiteQueue
    from .sqlqueue import UniqueQ as UniqueQ

__author__ = "The persistqueue developers"
__license__ = "BSD"
__version__ = "2.0.0.dev0"

# Public names, by the modules that they live in.
_NAMES = {
    "async_broker": "AsyncBroker",
    "async_brokerqueue": "AsyncBrokerQueue",
    "async_jobqueue": "AsyncJob AsyncJobQueue",
    "async_mysqlqueue": "AsyncMySQLAckQueue AsyncMySQLQueue",
    "async_pdict": "AsyncPDict",
    "async_priorityqueue": "AsyncPriorityQueue",
    "async_queue": "AsyncQueue",
    "async_redispool": "AsyncRedisPool",
    "async_redisqueue": "AsyncRedisQueue AsyncRedisUniqueQueue",
    "async_sqlackqueue": (
        "AsyncFIFOSQLiteAckQueue AsyncFILOSQLiteAckQueue AsyncSQLiteAckQueue AsyncUniqueAckQ"
    ),
    "async_sqlqueue": "AsyncFIFOSQLiteQueue AsyncFILOSQLiteQueue AsyncSQLiteQueue AsyncUniqueQ",
    "broker": "Broker",
    "brokerconfig": "BrokerConfig",
    "brokerqueue": "BrokerQueue",
    "exceptions": (
        "AsyncEmpty AsyncFull AsyncQueueShutDown Empty EngineError FormatError Full "
        "ItemTooLarge JobLost NoSuchQueue NotEnoughReplicas PersistQueueError QueueClosed "
        "QueueCorrupt QueueFailed QueueLocked QueueShutDown QueueUnreachable "
        "SerializationError ServerOutOfMemory ServerRefused"
    ),
    "jobqueue": "Job JobQueue",
    "jobs": "Dead DeadJob JobStats Put Retry Snooze",
    "mysqlqueue": "MySQLAckQueue MySQLQueue",
    "pdict": "PDict",
    "priorityqueue": "PriorityQueue",
    "queue": "Queue",
    "redispool": "RedisPool",
    "redisqueue": "RedisQueue RedisUniqueQueue",
    "sqlackqueue": "AckStatus FIFOSQLiteAckQueue FILOSQLiteAckQueue SQLiteAckQueue UniqueAckQ",
    "sqlqueue": "FIFOSQLiteQueue FILOSQLiteQueue SQLiteQueue UniqueQ",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = _NAMES.keys() | {"engines", "serializers", "sqlbase"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name == "__all__":
        return _available()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return _available()


def _available() -> list[str]:
    """Return the public names whose dependencies are installed: a star import always works."""
    names = ["__author__", "__license__", "__version__", "engines", "exceptions", "serializers"]
    for name in _HOMES:
        with contextlib.suppress(ImportError):
            __getattr__(name)
            names.append(name)
    return sorted(names)
