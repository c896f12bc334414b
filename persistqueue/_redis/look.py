"""Looks for queues on a Redis server; nothing is changed.

A queue without items cannot be told from none: its list is not there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .._core.deadline import monotonic
from .connection import Link
from .options import native_base
from .scripts import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings

_SCAN = 1000  # keys in one answer
_PATIENCE = 2.0  # s to look for the queues of a server
_NATIVE = native_base("}").partition("}")[0]  # the beginning of each native key


class Found(NamedTuple):
    """A queue.

    Attributes:
        native: its keys are not shared with aio-py-rq.
        unique: no two equal items wait.
        serializer: its name, if it is noted beside native keys.
    """

    native: bool
    unique: bool
    serializer: str | None


def queues(settings: Settings, name: str) -> list[Found]:
    """Return the queues of a name: one at the most with shared keys, and one with native keys.

    Raises:
        ValueError: it is a pool.
    """
    found = []
    with _linked(settings) as link:
        for native in (False, True):
            keys = Keys(native_base(name) if native else name)
            kind, shown, pool, unique, written = link.ask(
                ("TYPE", keys.base),
                ("TYPE", keys.front),
                ("TYPE", f"{keys.base}-pool"),
                ("EXISTS", keys.unique),
                ("GET", keys.meta),
                again=True,
            )
            if b"zset" in (kind, pool):
                raise ValueError("it is a pool")
            if b"list" in (kind, shown):
                serializer = written.decode() if native and written else None
                found.append(Found(native, bool(unique), serializer))
    return found


def names(settings: Settings) -> set[str]:
    """Return the names of the queues of a server that are found within 2 s."""
    found, cursor, end = set[str](), b"0", monotonic() + _PATIENCE
    with _linked(settings) as link:
        while monotonic() < end:
            scan = ("SCAN", cursor, "COUNT", _SCAN, "TYPE", "list")
            ((cursor, keys),) = link.ask(scan, again=True)
            for key in (key.decode(errors="replace") for key in keys):
                if "-processing-" not in key and not key.endswith(("-front", "-dead")):
                    native = key.startswith(_NATIVE)
                    found.add(key.removeprefix(_NATIVE).removesuffix("}") if native else key)
            if cursor == b"0":
                break
    return found


@contextmanager
def _linked(settings: Settings) -> Iterator[Link]:
    link = Link(settings)
    try:
        yield link
    finally:
        link.drop()
