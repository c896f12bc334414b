"""move all items of a queue into another one, of any kind

SRC and DST are file:DIRECTORY, sqlite:PATH[?name=NAME], redis://HOST[:PORT]/[DB/]NAME or
mysql://USER:PASSWORD@HOST/DATABASE/NAME; each may have ?serializer=pickle, json, msgpack or
cbor2.

An item is in DST before it leaves SRC, so at every moment it is in one of them, at least. What
was interrupted, however hard, goes on when the same command is given again; then no item is
moved twice, if nobody else has used the two queues meanwhile. Stop the consumers of SRC first:
what they hold stays there.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .._options import whole
from .._storage.files import try_lock
from ..exceptions import Empty, QueueLocked
from .ends import open_end
from .progress import Progress

if TYPE_CHECKING:
    import argparse

    from .ends import End

_BATCH = 500
_SIZE = 512  # bytes of the journal, always: one sector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("source", metavar="SRC", help="where the items are")
    parser.add_argument("target", metavar="DST", help="where they shall be; made if need be")
    parser.add_argument(
        "--batch", type=int, default=_BATCH, metavar="N",
        help=f"items in one step (default: {_BATCH})",
    )  # fmt: skip
    parser.add_argument(
        "--journal", metavar="FILE",
        help="where it is noted how far it is; by default beside the queue's path, or in the "
        "current directory if both are on servers",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Move the items; returns the exit status."""
    try:
        most = whole("--batch", arguments.batch, 1)
        source = open_end(arguments.source, create=False)
        with closing(source.queue):
            target = open_end(arguments.target, create=True)
            with closing(target.queue):
                path = arguments.journal or _default_journal(source, target)
                with closing(Journal(path)) as journal:
                    moved = _move(source, target, journal, most)
                    journal.remove()
    except ValueError as error:
        print(f"persistqueue: {error}", file=sys.stderr)
        return 2
    print(f"{moved} items moved")
    return 0


def _default_journal(source: End, target: End) -> str:
    directory = source.directory or target.directory or os.getcwd()
    digest = hashlib.sha256(f"{source.url}\n{target.url}".encode()).hexdigest()[:12]
    return os.path.join(directory, f"persistqueue-copy-{digest}")


class Journal:
    """A file that says which batch is on its way, in case that nobody comes to say so.

    Written in place: if it is torn, the batch is moved again.

    Raises:
        QueueLocked: another copy between the two is under way.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        if not try_lock(self._fd):
            os.close(self._fd)
            raise QueueLocked(f"{path}: another copy between these two queues is under way")

    def read(self) -> dict[str, Any]:
        """Return the batch that was on its way; empty if there was none."""
        try:
            found = json.loads(os.read(self._fd, _SIZE))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, **batch: Any) -> None:
        """Note a batch, so that it outlives a loss of power."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, json.dumps(batch).encode().ljust(_SIZE))
        os.fsync(self._fd)

    def remove(self) -> None:
        """It has all come to its end."""
        os.unlink(self._path)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def _move(source: End, target: End, journal: Journal, most: int) -> int:
    last = journal.read()
    source.recover(last.get("holder", ""))
    journal.write(**{**last, "holder": source.holder()})
    moved, total = 0, source.queue.qsize()
    most_now = last.get("count", most)
    with Progress("moving") as progress:
        while True:
            left = source.queue.qsize()
            try:
                batch = source.queue.get_many(most_now, timeout=0)
            except Empty:
                return moved
            digest = _digest(batch)
            if last.get("left") != left or not _is_there(target, last, digest, batch):
                target.check(batch)
                journal.write(
                    digest=digest,
                    count=len(batch),
                    left=left,
                    before=target.queue.qsize(),
                    holder=source.holder(),
                )
                target.queue.put_many(batch)
            source.queue.task_done(len(batch))
            moved += len(batch)
            last, most_now = {}, most
            progress(moved, total)


def _is_there(target: End, last: dict[str, Any], digest: str, batch: list[Any]) -> bool:
    """Return whether a batch arrived when the copy was interrupted.

    Where that cannot be told, because others have used the target since, it did not: better
    twice than never.
    """
    if last.get("digest") != digest or target.queue.qsize() != last["before"] + len(batch):
        return False
    return _digest(target.newest(len(batch))) == digest


def _digest(items: list[Any]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(pickle.dumps(item, 4))
    return digest.hexdigest()
