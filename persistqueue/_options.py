"""The arguments that both file queues share, checked once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._storage.chunkfile import ChunkFileStore
from ._storage.chunkstate import MOST_RECORDS
from ._storage.framing import Framing, framing_of
from .engines.base import ChunkFileEngine, StorageEngine
from .exceptions import QueueFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._storage.enginestore import EngineStore
    from ._storage.files import Disk

    #: What ``engine=`` takes: a class or any callable that makes one, or an engine.
    Engine = type[ChunkFileEngine] | Callable[[str], StorageEngine] | StorageEngine

#: Default bound on one encoded item, in bytes.
MAX_ITEM_BYTES = 64 * 1024 * 1024

DURABILITIES = ("power", "process")
ON_CORRUPT = ("raise", "skip")


def absolute(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as an absolute string, so that a later ``chdir`` changes nothing."""
    found = os.fsdecode(os.fspath(path))
    if not found:
        raise ValueError("path is empty; name a directory for the queue")
    if "\0" in found:
        raise ValueError(f"a path cannot hold a NUL character: {found!r}")
    try:
        os.fsencode(found)
    except UnicodeEncodeError as error:
        raise ValueError(f"a path cannot hold half a character: {found!a}") from error
    return os.path.abspath(found)


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number, or raise an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return one of a few words, or raise an error that lists them."""
    if value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} must be {words}, not {value!r}")
    return value


def file_store(
    path: str,
    serializer: Any,
    *,
    chunksize: int,
    tempdir: str | os.PathLike[str] | None,
    autosave: bool,
    durability: str,
    on_corrupt: str,
    max_item_bytes: int,
    disk: Disk | None = None,
    engine: Engine | None = None,
) -> tuple[ChunkFileStore | EngineStore, Framing]:
    """Check a file queue's arguments and return its store; nothing is created or opened.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong; says which.
        OSError: there is no ``tempdir``.
    """
    framing = framing_of(serializer)
    chunksize = whole("chunksize", chunksize, 1, MOST_RECORDS)
    power = one_of("durability", durability, DURABILITIES) == "power"
    skip_corrupt = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
    longest = whole("max_item_bytes", max_item_bytes, 1)
    if engine is not None and engine is not ChunkFileEngine:
        from ._storage.enginestore import EngineStore  # noqa: PLC0415 - most never need it

        return EngineStore(
            path,
            framing,
            _maker(engine, path),
            autosave=bool(autosave),
            power=power,
            skip_corrupt=skip_corrupt,
            longest=longest,
        ), framing
    store = ChunkFileStore(
        path,
        framing,
        chunksize=chunksize,
        autosave=bool(autosave),
        power=power,
        skip_corrupt=skip_corrupt,
        longest=longest,
        tempdir=None if tempdir is None else absolute(tempdir),
        disk=disk,
    )
    if tempdir is not None and os.stat(_existing(path)).st_dev != os.stat(tempdir).st_dev:
        raise ValueError(
            f"tempdir {os.fspath(tempdir)!r} is on another file system than {path!r}: "
            "a file there cannot replace one here in one step"
        )
    return store, framing


def _existing(path: str) -> str:
    """Return ``path``, or the nearest directory above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _maker(engine: Engine, path: str) -> Callable[[], StorageEngine]:
    """Return what makes the engine when the queue is opened.

    Raises:
        TypeError: it is neither a class, nor a callable, nor an engine.
    """
    if isinstance(engine, StorageEngine):
        return _only_here(engine)
    if not callable(engine):
        raise TypeError(
            "engine must be a subclass of StorageEngine, a function that takes a path and returns "
            f"one, or an engine, not {type(engine).__name__}"
        )
    factory: Callable[[str], object] = engine

    def make() -> StorageEngine:
        made = factory(path)
        if not isinstance(made, StorageEngine):
            raise TypeError(f"engine returned {type(made).__name__}, which is no StorageEngine")
        return made

    return make


def _only_here(engine: StorageEngine) -> Callable[[], StorageEngine]:
    home = os.getpid()

    def make() -> StorageEngine:
        if os.getpid() != home:
            raise QueueFailed(
                "the queue's engine object belongs to the process that this one was forked from: "
                "give engine= a class, of which each process makes its own"
            )
        return engine

    return make
