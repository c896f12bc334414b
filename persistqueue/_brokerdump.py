"""A broker's queues as lines of JSON: the format ``simplebroker-dump``, version 1.

The first line is a header, then comes one line for each message: queue, body, id.  An id has
19 digits and grows with time.  What is not text is kept encoded, with the name of its
serializer in ``encoding``, a key that SimpleBroker does not look at.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ._broker import matches
from ._brokernames import queue_name
from ._storage import brokerreads
from ._storage.block import Damaged
from .exceptions import FormatError, ItemTooLarge, SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from ._storage.brokerreads import Source
    from ._storage.rowcodec import RowCodec

FORMAT, VERSION = "simplebroker-dump", 1
_PAGE = 1000  # messages read, or stored, in one go
_SECOND = 1_000_000_000  # an id counts the billionth parts of it
_SLACK = 1_000_000  # of the highest id, for what is given back meanwhile
_MOST = 2**63 - 1

Record = tuple[str, Any, float]  # a queue's name, data, time


class Page(NamedTuple):
    """Some lines, how many, and the id that the last one's item has here."""

    text: str
    items: int
    last: int


class Dump:
    """What waited at one moment.

    Args:
        source: where it is read.
    """

    def __init__(self, source: Source) -> None:
        self._now = time.time_ns()
        self._last: dict[str, int] = {}  # by queue, the last id
        total = 0
        for row in brokerreads.queues(source):
            table = brokerreads.table_of(source, row.name)
            highest = source.rows(table.highest)[0][0] if table is not None else None
            if highest is not None:
                self._last[row.name] = highest
                total += row.waiting
        header = {"type": "header", "format": FORMAT, "version": VERSION, "backend": "sqlite"}
        bound = min(self._now + total + _SLACK, _MOST)
        self.header = _line({**header, "last_ts": f"{bound:019d}"})
        self._given: set[int] = set()
        self._previous = 0  # the id of the last line, in the same queue

    def names(self, pattern: str | None) -> list[str]:
        """Return the names of the queues that are dumped."""
        return sorted(name for name in self._last if matches(name, pattern))

    def page(self, source: Source, *, name: str, after: int | None, codec: RowCodec) -> Page | None:
        """Return the lines of the next items of a queue; None when there are no more."""
        before = self._last[name] + 1
        rows = brokerreads.page(source, name, _PAGE, after=after, before=before)
        if not rows:
            return None
        if after is None:
            self._previous = 0
        lines = [
            _line(
                {
                    "type": "message",
                    "queue": name,
                    **_body(data, codec),
                    "id": f"{self._number(timestamp):019d}",
                }
            )
            for _, data, timestamp in rows
            if isinstance(data, (bytes, str))  # else it was never an item
        ]
        return Page("".join(lines), len(lines), rows[-1][0])

    def _number(self, timestamp: float) -> int:
        """Return an id: as the time says, behind the one before it, and nobody else's."""
        written = min(int((timestamp or 0) * _SECOND), self._now)
        number = max(written, self._previous + 1)
        while number in self._given:
            number += 1
        self._given.add(number)
        self._previous = number
        return number


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n"


def _body(data: Any, codec: RowCodec) -> dict[str, str]:
    """Return what a line says of an item: its text, or how it is encoded."""
    try:
        item = codec.decode(data)
    except (Damaged, SerializationError, ItemTooLarge):
        item = None  # as it is, whatever is wrong with it
    if type(item) is str and _is_text(item):
        return {"body": item}
    if isinstance(data, str):
        return {"body": data, "encoding": codec.name}
    return {"body": base64.b64encode(data).decode(), "encoding": f"{codec.name}+base64"}


def _is_text(item: str) -> bool:
    try:
        item.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True


class Loader:
    """Reads the lines of a dump, as records to be stored.

    Attributes:
        count: how many so far.
    """

    def __init__(self, codec: RowCodec) -> None:
        self._codec = codec
        self.count = 0

    def batches(self, lines: Iterable[str]) -> Iterator[list[Record]]:
        """Return records, some at a time.

        Raises:
            FormatError: a line is not what it should be; says which.
        """
        records: list[Record] = []
        first = True
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
                if first:
                    _check_header(found)
                    first = False
                elif (record := self._record(found)) is not None:
                    records.append(record)
            except (ValueError, KeyError, TypeError, binascii.Error) as error:
                raise FormatError(f"line {number} of the dump: {error}") from error
            except (SerializationError, ItemTooLarge, FormatError) as error:
                raise type(error)(f"line {number} of the dump: {error}") from error
            if len(records) >= _PAGE:
                yield records
                self.count += len(records)
                records = []
        if first:
            raise FormatError("the dump is empty: not even a header is there")
        if records:
            yield records
            self.count += len(records)

    def _record(self, found: Any) -> Record | None:
        if not isinstance(found, dict):
            raise FormatError("not an object")
        if found.get("type") == "alias":  # another name of a queue: there is nothing like it
            return None
        if found.get("type") != "message":
            raise FormatError(f"the type {found.get('type')!r} is not known")
        name, body, number = (found.get(key) for key in ("queue", "body", "id"))
        if not (isinstance(name, str) and isinstance(body, str)):
            raise FormatError("a message needs a queue and a body, both text")
        return queue_name(name), self._data(body, found.get("encoding")), _time_of(number)

    def _data(self, body: str, encoding: str | None) -> Any:
        if encoding is None:
            return self._codec.encode(body)
        name, _, how = encoding.partition("+")
        if name != self._codec.name or how not in ("", "base64"):
            raise FormatError(
                f"the item is encoded with {encoding}: open the broker with that serializer, "
                f"not with {self._codec.name}"
            )
        return base64.b64decode(body, validate=True) if how else body


def _check_header(found: Any) -> None:
    if not isinstance(found, dict) or found.get("type") != "header":
        raise FormatError("the first line is no header")
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise FormatError(
            f"the format is {found.get('format')!r}, version {found.get('version')!r}; this "
            f"version knows {FORMAT!r}, {VERSION}"
        )


def _time_of(number: Any) -> float:
    """Return the time that an id stands for, in seconds since 1970."""
    text = str(number)
    if isinstance(number, bool) or not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise FormatError(f"{number!r} is not an id of 19 digits")
    return int(text) / _SECOND


@contextmanager
def opened(target: str | os.PathLike[str] | IO[str], mode: str) -> Iterator[IO[str]]:
    """Open a path, or use a file that is open."""
    if isinstance(target, (str, os.PathLike)):
        with open(target, mode, encoding="utf-8", newline="\n") as file:
            yield file
    else:
        yield target
