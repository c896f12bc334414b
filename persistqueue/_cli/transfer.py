"""Takes items from one queue to another, batch by batch, however often it is killed.

The steps of a batch, each of which a kill may cut short:

1. it is read from the source, which changes nothing;
2. the journal notes the number of the batch, and where in the source it stands;
3. the target stores the batch and its number in one transaction;
4. of a move: the source finishes the items at that place.

The next process finds the journal and asks the target for the number.  If it is there, step 4 is
done, maybe once more, which changes nothing; else nothing was stored: the batch is read again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._core.disk import try_lock
from ..exceptions import ItemTooLarge, PersistQueueError, QueueLocked, SerializationError
from ..serializers import pickle
from .ends import Mover
from .report import Progress, text_of

if TYPE_CHECKING:
    from .ends import Batch, End, Place, Source, Target

_LONGEST_SHOWN = 60  # characters of an item in a message
_CHECKSUM = 40  # characters in front of a journal's entry


@dataclass
class Moved:
    """Items that were moved or copied.

    Attributes:
        known: of those, how many a unique target had already.
        taken: of those, how many consumers took from the source meanwhile.
    """

    count: int = 0
    known: int = 0
    taken: int = 0


class Journal:
    """A file that says which batch is on its way.

    Raises:
        QueueLocked: another process has it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        if not try_lock(self._fd):
            os.close(self._fd)
            raise QueueLocked(f"{path}: another process is at work on this queue")

    def read(self) -> dict[str, Any]:
        """Return the last entry.

        A torn journal is as none: the batch that it is about was not begun, and the one before
        was finished.
        """
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = os.read(self._fd, os.fstat(self._fd).st_size)
        found = data[_CHECKSUM:].rstrip(b"\0")
        if data[:_CHECKSUM] != _checksum(found):
            return {}
        value: dict[str, Any] = json.loads(found)
        return value

    def write(self, value: dict[str, Any]) -> None:
        """Replace the entry; the new one survives a loss of power."""
        data = json.dumps(value).encode()
        data = (_checksum(data) + data).ljust(os.fstat(self._fd).st_size, b"\0")
        os.lseek(self._fd, 0, os.SEEK_SET)
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)

    def remove(self) -> None:
        """Remove the file, when a move or a copy is complete."""
        os.unlink(self.path)

    def close(self) -> None:
        """Close the file, and let other processes have it."""
        os.close(self._fd)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()


def journal_of(source: Source, target: Target[Any], *, moves: bool) -> str:
    """Return where the journal is unless the user says so: beside a queue in the file system.

    Of a move there is one for a source: its items cannot go to two targets at the same time.
    Of a copy it is beside the target: the source may be such as may only be read.
    """
    ends: tuple[End, End] = (source, target) if moves else (target, source)
    directory = ends[0].directory or ends[1].directory or os.getcwd()
    keys = source.key if moves else f"{source.key} {target.key}"
    name = hashlib.sha256(keys.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return os.path.join(directory, f"persistqueue-{'move' if moves else 'copy'}-{name}")


class Transfer:
    """A move or a copy.

    Args:
        moves: empty the source; else it stays as it is.
        most: items of a batch.
        converts: let items change that the target's serializer changes.
    """

    def __init__(
        self, source: Source, target: Target[Any], *, moves: bool, most: int, converts: bool
    ) -> None:
        self._source, self._target = source, target
        self._moves, self._most = moves, most
        # Pickle keeps every item, and a serializer each item that it has made itself.
        alike = target.serializer is pickle or target.serializer is source.serializer
        self._converts = converts or alike
        self._mover = Mover(uuid.uuid4().hex[:8], 0)
        self._behind: Place | None = None  # where to read on
        self._in_doubt = False  # whether a batch is on its way
        self.moved = Moved()

    def run(self, journal: Journal) -> None:
        """Carry all batches over, beginning where the journal says.

        Raises:
            ValueError: an item would not come out of the target as it went into the source.
        """
        last = self._checked(journal)
        if "over" in last:
            self._forget(last["run"])
            if not self._moves:
                journal.remove()
                return
        elif last:
            self._mover = Mover(last["run"], last["number"])
            self._behind = self._resumed(last)
        try:
            self._go_on(journal)
        except BaseException:
            # The rest of a move is another move; a copy has to know where it was.
            if not self._in_doubt and (self._moves or not self._mover.number):
                with suppress(Exception):
                    self._end(journal)
            raise
        self._end(journal)

    def _end(self, journal: Journal) -> None:
        """Remove all notes of it, the journal last."""
        if self._mover.number:
            journal.write({**self._entry(), "over": True})
            self._forget(self._mover.run)
        journal.remove()

    def _forget(self, run: str) -> None:
        self._target.forget(run)
        if self._moves:
            self._source.forget(run)

    def _checked(self, journal: Journal) -> dict[str, Any]:
        """Return the entry of an interrupted process, which has to be about these two queues."""
        last, ours = journal.read(), self._entry()
        if last and any(last[end] != ours[end] for end in ("source", "target")):
            raise PersistQueueError(
                f"{journal.path}: items of this queue were being moved to {last['shown']}, and "
                "that is not at its end: give that command again, or remove the journal"
            )
        return last

    def _resumed(self, last: dict[str, Any]) -> Place | None:
        """Finish the batch that was on its way if it is stored; return where to read on."""
        if self._target.has(self._mover, last["note"]):
            return self._finished(last["place"], resumed=True)
        behind: Place | None = last["behind"]
        return behind

    def _go_on(self, journal: Journal) -> None:
        """Carry the batches over that are left."""
        total = self._source.count()
        with Progress("moving" if self._moves else "copying") as progress:
            while batch := self._source.read(self._most, self._behind):
                self._carry(batch, journal)
                progress(self.moved.count, total)

    def _carry(self, batch: Batch, journal: Journal) -> None:
        stored = self._encoded(batch)
        self._mover = Mover(self._mover.run, self._mover.number + 1)
        self._in_doubt = True
        journal.write({
            **self._entry(),
            "place": batch.place,
            "behind": self._behind,
            "note": self._target.note(stored),
        })  # fmt: skip
        self.moved.known += self._target.put(stored, self._mover)
        self._behind = self._finished(batch.place, resumed=False)
        self._in_doubt = False
        self.moved.count += len(stored)

    def _entry(self) -> dict[str, object]:
        return {
            "source": self._source.key,
            "target": self._target.key,
            "shown": self._target.shown,
            **self._mover._asdict(),
        }

    def _finished(self, place: Place, *, resumed: bool) -> Place | None:
        """Finish a batch that is stored; returns behind which place to read on."""
        if not self._moves:
            return {"end": place["end"]}
        self.moved.taken += self._source.finish(place, self._mover, resumed=resumed)
        return None

    def _encoded(self, batch: Batch) -> list[Any]:
        """Return a batch as the target stores it."""
        stored: list[Any] = []
        for number, carried in enumerate(batch.items, self.moved.count + 1):
            try:
                stored.append(self._target.encode(carried))
            except (SerializationError, ItemTooLarge) as error:
                raise type(error)(f"{self._target.shown}: item {number}: {error}") from error
            if self._converts:
                continue
            out = self._target.decode(stored[-1])
            if not same(carried.item, out):
                raise ValueError(
                    f"{self._target.shown}: item {number} would come out as {shortened(out)}, not "
                    f"as {shortened(carried.item)}: ?serializer=pickle keeps it, and with "
                    "--convert it goes over like that"
                )
        return stored


def same(one: Any, other: Any) -> bool:
    """Return whether two items are equal in every type: no 1 for True, no list for a tuple."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(key, twin) and same(one[key], other[key])
            for key, twin in zip(sorted(one, key=repr), sorted(other, key=repr), strict=True)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def shortened(item: object) -> str:
    """Return an item for a message."""
    text = text_of(item)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
