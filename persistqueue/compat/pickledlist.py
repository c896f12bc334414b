"""``PickledListEngine``: one small file that is written anew at every change.

The file is one pickle of plain values, ``{"persistqueue": 1, "crc32": ..., "records": [...]}``.
A new one is written beside the old one, synced, and renamed, so a crash leaves either the
old or the new one.  (``persistqueue.compat.aiodiskqueue`` reads aiodiskqueue's list.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
from itertools import islice
from typing import TYPE_CHECKING
from zlib import crc32

from .._core.disk import Disk
from .._core.framing import plain_pickle
from ..engines.base import NEW, StorageEngine
from ..exceptions import FormatError, QueueCorrupt, QueueFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMAT = 1


class PickledListEngine(StorageEngine):
    """Keeps all records in one small file, which every change writes anew.

    For queues that stay short: each put and each finished item costs writing and syncing the
    whole file, at either durability.  After a loss of power the file is the old or the new
    one with ``"process"``, the new one with ``"power"``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._disk = Disk()
        self._records: list[bytes] | None = None  # None while it is closed

    def open(self) -> int:
        with contextlib.suppress(OSError):  # what a crash left, or nothing
            os.unlink(self.path + NEW)
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

    def _write(self, records: list[bytes]) -> None:
        new = self.path + NEW
        value = {"persistqueue": _FORMAT, "crc32": _sum(records), "records": records}
        try:
            with contextlib.closing(self._disk.open(new, create=True)) as file:
                self._disk.truncate(file, 0)
                self._disk.write(file, pickle.dumps(value, 4), 0)
                # Always: a file that is renamed before it is on the disk may be empty after
                # a loss of power, and with it everything that was safe before.
                self._disk.sync(file)
            self._disk.replace(new, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self._records = records

    def _parse(self, data: bytes) -> list[bytes]:
        try:
            value = plain_pickle(data)
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
