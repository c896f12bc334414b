"""What is in a path: a file queue, databases, or neither."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from ..exceptions import PersistQueueError
from . import databases, filequeues


class NoQueue(PersistQueueError):
    """There is no queue in this path."""


class Places(NamedTuple):
    """What is there.

    Attributes:
        directory: a file queue's, if it is one.
        files: databases.
    """

    directory: str | None
    files: list[str]


def places(path: str) -> Places:
    """Return what is in a path.

    Raises:
        NoQueue: nothing that is ours.
        OSError: it cannot be read.
    """
    path = os.path.abspath(path)
    if not os.path.lexists(path):
        raise NoQueue(f"{path}: there is nothing of this name")
    if not os.path.isdir(path):
        os.stat(path)
        if databases.is_database(path):
            return Places(None, [path])
        raise NoQueue(
            f"{path}: neither a file queue's directory nor an SQLite database"
            + ("; give the directory it is in" if filequeues.is_part(path) else "")
        )
    found = Places(path if filequeues.is_file_queue(path) else None, databases_in(path))
    if found.directory is None and not found.files:
        raise NoQueue(f"{path}: no queue is in this directory")
    return found


def databases_in(directory: str) -> list[str]:
    """Return the databases in a directory."""
    found = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if filequeues.is_part(path) or databases.is_beside(path) or not os.path.isfile(path):
            continue
        with suppress(FileNotFoundError):  # gone meanwhile
            if os.path.getsize(path) and databases.is_database(path):
                found.append(path)
    return found
