"""How items become the values of a list in Redis, and come out again.

What cannot be decoded goes back, or is set aside.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from .._core.block import Damaged, reason_of
from .._core.codec import SAMPLE, RowCodec, refuse, refuse_others
from .._core.log import warn
from .._core.store import Record
from ..exceptions import ItemTooLarge, PersistQueueError, QueueCorrupt, SerializationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .connection import Link
    from .held import Held


class ValueCodec(RowCodec):
    """Encodes items as bytes, and decodes them."""

    _MARKS = False

    def encode(self, item: Any) -> bytes:
        """Return the bytes of a value.

        Raises:
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        data: bytes | str = super().encode(item)
        return data if isinstance(data, bytes) else data.encode()


class TextCodec(ValueCodec):
    """Text, as aio-py-rq's workers read it; anything but text becomes text, and stays it.

    Args:
        plain: anything else becomes ``str(item)``, as in aio-py-rq's unique queue; otherwise
            compact JSON.
        longest: bytes of the longest value that is written or loaded.
    """

    def __init__(self, *, plain: bool, longest: int) -> None:
        super().__init__(_Text(plain), ordered=False, longest=longest)

    def _is_whole(self, data: object, error: Exception) -> bool:  # noqa: ARG002
        return False


class _Text:
    __name__ = "text"

    def __init__(self, plain: bool) -> None:
        self._plain = plain

    def dumps(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, (bytes, bytearray, memoryview)):
            return bytes(item).decode()
        if self._plain:
            return str(item)
        return json.dumps(item, ensure_ascii=False, separators=(",", ":"))

    def loads(self, data: bytes) -> str:
        return data.decode()


class Value(Record):
    """An item that was taken; equal values have the same key."""

    __slots__ = ()

    @property
    def key(self) -> int:
        return hash(self.end)


class Values:
    """Decodes what was taken into a list.

    Args:
        held: knows the lists.
        label: the server's name in messages.
        skips: set aside what is damaged, instead of raising.

    Attributes:
        skipped: how many values were set aside.
    """

    def __init__(self, link: Link, held: Held, codec: ValueCodec, label: str, skips: bool) -> None:
        self._link = link
        self._held = held
        self._codec = codec
        self._label = label
        self._skips = skips
        self.skipped = 0

    def records(self, number: int, values: Sequence[bytes]) -> list[Record]:
        """Decode values up to the first one that cannot be; if that is the very first, raise.

        With ``skips`` a damaged one is set aside instead.

        Args:
            number: of the list that they are in.
        """
        records: list[Record] = []
        for index, value in enumerate(values):
            try:
                item = self._codec.decode(value)
            except (Damaged, PersistQueueError) as error:
                rest = [Record((number, at), values[at], None) for at in range(index, len(values))]
                if records:
                    self._held.move(rest)
                    break
                try:
                    if isinstance(error, Damaged):
                        self._refuse_others(values[index:], skips=self._skips)
                    if not (isinstance(error, Damaged) and self._skips):
                        self.refuse(error)
                except PersistQueueError:
                    self._held.move(rest)
                    raise
                self._set_aside(rest.pop(0), str(error))
            else:
                records.append(Value((number, index), value, item))
        return records

    def move_away(self, number: int, value: bytes) -> bool:
        """Set a value aside if it cannot be decoded, else put it back; returns whether it was."""
        record = Record((number, 0), value, None)
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
        cannot_load(error, self._label, self._held.keys.base, 'open it with on_corrupt="skip"')

    def _refuse_others(self, values: Sequence[bytes], *, skips: bool) -> None:
        """Raise ``FormatError`` if another serializer wrote these, and what comes behind them."""
        codec, where = self._codec, f"{self._label}, {self._held.keys.base}"
        if isinstance(codec, TextCodec):
            return  # no program that shares these keys has put a value that is no text
        (behind,) = self._link.ask(("LRANGE", self._held.keys.base, -SAMPLE, -1), again=True)
        rows = [*values[:SAMPLE], *reversed(behind)][:SAMPLE]
        if len(rows) > 1 and all(map(_is_text, rows)) and not any(map(codec.may_be_own, rows)):
            refuse(where, "serializer=None (text)", codec.name)
        refuse_others(codec, rows, where, skips=skips)

    def _set_aside(self, record: Record, reason: str) -> None:
        self._held.move([record], to_dead=True)
        self.skipped += 1
        warn("%s: a value was moved to %s: %s", self._label, self._held.keys.dead, reason)


def cannot_load(error: Exception, label: str, key: str, advice: str) -> NoReturn:
    """Raise the error for a value that cannot be decoded.

    Args:
        label: the server's name in messages.
        advice: how to get past a damaged value.
    """
    if isinstance(error, Damaged):
        raise QueueCorrupt(label, key, reason=str(error), advice=advice) from error
    if isinstance(error, (SerializationError, ItemTooLarge)):
        raise type(error)(f"{label}, {key}: {error}") from error.__cause__
    raise error


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
