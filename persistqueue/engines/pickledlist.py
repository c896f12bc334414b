"""``PickledListEngine``: one small file that is written anew at every change.

The file is one pickle of plain values, ``{"persistqueue": 1, "crc32": ..., "records": [...]}``.
It is written beside the old one, synced, and put in its place: never in place, so a crash
leaves the one or the other.  (``persistqueue.compat.aiodiskqueue`` reads aiodiskqueue's list.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
from itertools import islice
from typing import TYPE_CHECKING
from zlib import crc32

from .._core.disk import Disk
from ..exceptions import FormatError, QueueCorrupt, QueueFailed
from . import inert
from .base import StorageEngine, beside

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMAT = 1


class PickledListEngine(StorageEngine):
    """Keeps all records in one file, which every change writes anew.

    The smallest that survives; for queues that stay short, since each put and each finished
    item costs the whole file, and a sync, at either durability: with ``"process"`` a loss of
    power leaves the old file or the new one, with ``"power"`` the new one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._disk = Disk()
        self._records: list[bytes] | None = None  # None while it is closed

    def open(self) -> int:
        with contextlib.suppress(OSError):  # what a crash left, or nothing
            os.unlink(self._new)
        try:
            file = self._disk.open(self.path)
        except FileNotFoundError:
            self._write([])
        else:
            with contextlib.closing(file):
                self._records = self._parse(self._disk.read(file, self._disk.size(file), 0))
        return len(self._opened)

    def append(self, records: Sequence[bytes]) -> None:
        self._write([*self._opened, *records])

    def read(self, start: int, count: int) -> Sequence[bytes]:
        return list(islice(self._opened, start, start + count))

    def remove(self, count: int) -> None:
        self._write(self._opened[count:])

    def sync(self) -> None:
        self._disk.sync_directory(os.path.dirname(self.path))

    def close(self) -> None:
        self._records = None

    # -- the file -------------------------------------------------------------------

    @property
    def _opened(self) -> list[bytes]:
        if self._records is None:
            raise QueueFailed(f"{self.path} is not open; open the queue again")
        return self._records

    @property
    def _new(self) -> str:
        return beside(self.path)

    def _write(self, records: list[bytes]) -> None:
        value = {"persistqueue": _FORMAT, "crc32": _sum(records), "records": records}
        try:
            with contextlib.closing(self._disk.open(self._new, create=True)) as file:
                self._disk.truncate(file, 0)
                self._disk.write(file, pickle.dumps(value, 4), 0)
                # Always: a file that is renamed before it is on the disk may be empty after
                # a loss of power, and with it everything that was safe before.
                self._disk.sync(file)
            self._disk.replace(self._new, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._new)
            raise
        self._records = records

    def _parse(self, data: bytes) -> list[bytes]:
        try:
            value = inert.loads(data)
        except Exception as error:
            raise self._damaged(f"it is no plain pickle: {error}") from error
        if not isinstance(value, dict) or "persistqueue" not in value:
            raise FormatError(f"{self.path} is not a pickled list of records; nothing was changed")
        if value["persistqueue"] != _FORMAT:
            raise FormatError(
                f"{self.path} has format {value['persistqueue']}, this version knows {_FORMAT}"
            )
        records = value.get("records")
        if not isinstance(records, list) or value.get("crc32") != _sum(records):
            raise self._damaged("its checksum does not fit")
        return records

    def _damaged(self, reason: str) -> QueueCorrupt:
        return QueueCorrupt(
            os.path.dirname(self.path),
            os.path.basename(self.path),
            reason=reason,
            advice="move the file away to begin anew",
        )


def _sum(records: list[bytes]) -> int:
    total = 0
    for record in records:
        total = crc32(record, total)
    return total
