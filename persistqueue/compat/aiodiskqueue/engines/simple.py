"""``PickledList`` and ``PickleSequence``: files that are pickles."""

from __future__ import annotations

import io
import logging
import pickle
import pickletools
import shutil
from pathlib import Path

from ....exceptions import FormatError, SerializationError
from ...pickledlist import PickledListEngine


class PickledList(PickledListEngine):
    """Reads a pickled list of items, too; the first change writes ``PickledListEngine``'s file.

    Such a list is one pickle, so reading it makes the items, and runs their code.
    """

    def _parse(self, data: bytes) -> list[bytes]:
        if b"persistqueue" in data[:40]:
            return super()._parse(data)
        try:
            stream = io.BytesIO(data)
            value = pickle.load(stream)
        except (ImportError, AttributeError) as error:
            raise SerializationError(
                f"{self.path}: an item cannot be loaded here ({error}); nothing was changed"
            ) from error
        except Exception as error:
            raise self._damaged(f"it is no pickle: {type(error).__name__}: {error}") from error
        if not isinstance(value, list) or stream.read(1):  # more than one: a PickleSequence
            raise FormatError(f"{self.path} is not a pickled list of items; nothing was changed")
        return [pickle.dumps(item, 4) for item in value]


class PickleSequence(PickledListEngine):
    """Reads pickles one behind another; the first change writes ``PickledListEngine``'s file."""

    def _parse(self, data: bytes) -> list[bytes]:
        start, records = 0, list[bytes]()
        stream = io.BytesIO(data)
        while start < len(data):
            try:
                for _ in pickletools.genops(stream):  # runs no code of it
                    pass
            except Exception:  # noqa: BLE001 - after any error: no pickle is here
                self._keep(start, len(records))
                break
            records.append(data[start : stream.tell()])
            start = stream.tell()
        if len(records) == 1 and start == len(data) and b"persistqueue" in data[:40]:
            return super()._parse(data)
        return records

    def _keep(self, start: int, count: int) -> None:
        kept = backup_of(Path(self.path))
        shutil.copyfile(self.path, kept)
        logging.getLogger("aiodiskqueue").warning(
            "%s is damaged from byte %d on: the %d items before it are used; a copy is %s",
            self.path, start, count, kept,
        )  # fmt: skip


def backup_of(path: Path) -> Path:
    """Return a free name for a damaged data file."""
    backup, number = path.with_suffix(".bak"), 1
    while backup.exists():
        number += 1
        backup = path.with_suffix(f".{number}.bak")
    return backup
