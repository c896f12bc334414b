"""Error answers of a Redis server, as errors of this package."""

from __future__ import annotations

import re

from ..exceptions import (
    FormatError,
    PersistQueueError,
    QueueUnreachable,
    ServerOutOfMemory,
    ServerRefused,
)
from .settings import redis

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
    redis.exceptions.BusyLoadingError: "LOADING",
}


def code_of(error: redis.RedisError) -> str:
    """Return the word that an answer of the server begins with; empty if it is none of these."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    found = _CODE.search(str(error))
    return found[1] if found else ""


def translated(error: redis.RedisError, label: str) -> PersistQueueError:
    """Return an error of the server as one of ours.

    Args:
        label: what the server is called in messages.
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
