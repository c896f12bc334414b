"""The values of a queue in Redis as items; what cannot be decoded goes back, or is set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .._core.block import Damaged, reason_of
from .._core.log import warn
from .._core.origin import SAMPLE, refuse, refuse_others
from .._core.store import Record
from ..exceptions import ItemTooLarge, PersistQueueError, QueueCorrupt, SerializationError
from .textcodec import TextCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.codec import RowCodec
    from .connection import Link
    from .held import Held


class Value(Record):
    """An item that was taken; equal ones are the same wherever they are."""

    __slots__ = ()

    @property
    def key(self) -> int:
        return hash(self.end)


class Values:
    """Decodes what was taken into a list.

    Args:
        held: knows the lists.
        where: what the queue is called in messages.
        skips: set aside what is damaged, instead of raising.

    Attributes:
        skipped: how many values were set aside.
    """

    def __init__(
        self, link: Link, held: Held, codec: RowCodec | TextCodec, where: str, skips: bool
    ) -> None:
        self._link = link
        self._held = held
        self._codec = codec
        self._where = where
        self._skips = skips
        self.skipped = 0

    def records(self, number: int, values: Sequence[bytes]) -> list[Record]:
        """Decode as many as can be; the first one that cannot is raised, or set aside.

        Args:
            number: of the list that they are in.
        """
        records: list[Record] = []
        for index, value in enumerate(values):
            try:
                item = self._codec.decode(value)
            except (Damaged, PersistQueueError) as error:
                rest = [_bare(number, at, values[at]) for at in range(index, len(values))]
                if records:
                    self._held.move(rest)
                    break
                try:
                    self._refuse_unless_skipped(error, values[index:])
                except PersistQueueError:
                    self._held.move(rest)
                    raise
                self._set_aside(rest[0], str(error))
            else:
                records.append(Value((number, index), value, item))
        return records

    def move_away(self, number: int, value: bytes) -> bool:
        """Set a value aside if it cannot be decoded, else put it back; returns whether it was."""
        record = _bare(number, 0, value)
        try:
            self._codec.decode(value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may raise anything
            if isinstance(error, Damaged):
                self._refuse_others((value,), skips=False)
            self._set_aside(record, reason_of(error))
            return True
        self._held.move([record])
        return False

    def refuse(self, error: Exception) -> NoReturn:
        """Raise the error for a value that cannot be decoded."""
        if isinstance(error, (SerializationError, ItemTooLarge)):
            raise type(error)(f"{self._where}: {error}") from error.__cause__
        if isinstance(error, PersistQueueError):
            raise error
        label, _, key = self._where.rpartition(", ")
        raise QueueCorrupt(
            label, key, reason=str(error), advice='open it with on_corrupt="skip"'
        ) from error

    def _refuse_unless_skipped(self, error: Exception, values: Sequence[bytes]) -> None:
        damaged = isinstance(error, Damaged)
        if damaged:
            self._refuse_others(values, skips=self._skips)
        if not (damaged and self._skips):
            self.refuse(error)

    def _refuse_others(self, values: Sequence[bytes], *, skips: bool) -> None:
        """Raise ``FormatError`` if another serializer wrote these, and what comes behind them."""
        codec = self._codec
        if isinstance(codec, TextCodec):
            return  # no program that shares these keys has put a value that is no text
        (behind,) = self._link.ask(("LRANGE", self._held.keys.base, -SAMPLE, -1), again=True)
        rows = [*values[:SAMPLE], *reversed(behind)][:SAMPLE]
        if len(rows) > 1 and all(map(_is_text, rows)) and not any(map(codec.may_be_own, rows)):
            refuse(self._where, "serializer=None (text)", codec.name)
        refuse_others(codec, rows, self._where, skips=skips)

    def _set_aside(self, record: Record, reason: str) -> None:
        self._held.move([record], to_dead=True)
        self.skipped += 1
        warn("%s: a value was moved to %s: %s", self._where, self._held.keys.dead, reason)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bare(number: int, index: int, value: bytes) -> Record:
    return Record((number, index), value, None)
