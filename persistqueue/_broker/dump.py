"""A broker's queues as lines of JSON: the format ``simplebroker-dump``, version 1.

The first line is a header, then comes one line for each message: queue, body, id.  An id has
19 digits and grows with time.  An item that is not
text is kept encoded, with the name of its serializer in ``encoding``, a key that SimpleBroker
ignores.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from ..exceptions import FormatError, ItemTooLarge, SerializationError
from . import readers as brokerreads
from .statements import queue_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from .._core.codec import RowCodec
    from .readers import Ask

FORMAT, VERSION = "simplebroker-dump", 1
PAGE = 1000  # messages read, or stored, in one go
_SECOND = 1_000_000_000  # an id counts the billionth parts of it
_SLACK = 1_000_000  # of the highest id, for items that are given back meanwhile
_MOST = 2**63 - 1

Record = tuple[str, Any, float]  # a queue's name, data, time


class Dump:
    """One dump.

    Args:
        file: where to.
        pattern: of the names of queues; None for all.
        codec: decodes items.
    """

    def __init__(self, file: IO[str], pattern: str | None, codec: RowCodec) -> None:
        self._file = file
        self._pattern = pattern
        self._codec = codec
        self._now = 0
        self._given: set[int] = set()
        self._previous = 0  # the id of the last line, in the same queue
        self.stopped = False  # whether the rest is not wanted any more

    def write(self, ask: Ask) -> int:
        """Write all items of one snapshot; returns how many."""
        self._now = time.time_ns()
        queues = brokerreads.queues(ask, self._pattern)
        header = {"type": "header", "format": FORMAT, "version": VERSION, "backend": "sqlite"}
        bound = min(self._now + sum(queue.waiting for queue in queues) + _SLACK, _MOST)
        self._file.write(_line({**header, "last_ts": f"{bound:019d}"}))
        return sum(self._queue(ask, queue.name) for queue in queues)

    def _queue(self, ask: Ask, name: str) -> int:
        """Write the lines of a queue's items; returns how many."""
        self._previous = 0
        count, last = 0, None
        while not self.stopped and (rows := brokerreads.page(ask, name, PAGE, after=last)):
            lines = [
                _line(
                    {
                        "type": "message",
                        "queue": name,
                        **_body(data, self._codec),
                        "id": f"{self._number(timestamp):019d}",
                    }
                )
                for _, data, timestamp in rows
                if isinstance(data, (bytes, str))  # else it was never an item
            ]
            self._file.write("".join(lines))
            count, last = count + len(lines), rows[-1][0]
        return count

    def _number(self, timestamp: float) -> int:
        """Return an id: as the time says, behind the one before it, and given once."""
        written = min(int((timestamp or 0) * _SECOND), self._now)
        number = max(written, self._previous + 1)
        while number in self._given:
            number += 1
        self._given.add(number)
        self._previous = number
        return number


def dump_text(ask: Ask, pattern: str | None, codec: RowCodec) -> tuple[int, str]:
    """Return how many items a dump has, and its text; it may be called again."""
    text = io.StringIO()
    return Dump(text, pattern, codec).write(ask), text.getvalue()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n"


def _body(data: Any, codec: RowCodec) -> dict[str, str]:
    """Return what a line says of an item: its text, or how it is encoded."""
    try:
        item = codec.decode(data)
    except (Damaged, SerializationError, ItemTooLarge):
        item = None  # as it is, although it may be wrong
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


def records(lines: Iterable[str], codec: RowCodec) -> Iterator[Record]:
    """Yield the messages of a dump as they are stored.

    Raises:
        FormatError: a line is not what it should be; says which.
    """
    first = True
    for number, line in enumerate(_decoded(lines), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if first:
                _check_header(found)
                first = False
            elif (record := _record(found, codec)) is not None:
                yield record
        except (ValueError, TypeError, RecursionError) as error:
            raise FormatError(f"line {number} of the dump: {error}") from error
        except (SerializationError, ItemTooLarge, FormatError) as error:
            raise type(error)(f"line {number} of the dump: {error}") from error
    if first:
        raise FormatError("the dump is empty: not even a header is there")


def _record(found: Any, codec: RowCodec) -> Record | None:
    if not isinstance(found, dict):
        raise FormatError("not an object")
    if found.get("type") == "alias":  # another name of a queue: there is nothing like it
        return None
    if found.get("type") != "message":
        raise FormatError(f"the type {found.get('type')!r} is not known")
    name, body, number = (found.get(key) for key in ("queue", "body", "id"))
    if not (isinstance(name, str) and isinstance(body, str)):
        raise FormatError("a message needs a queue and a body, both text")
    return queue_name(name), _data(body, found.get("encoding"), codec), _time_of(number)


def _data(body: str, encoding: Any, codec: RowCodec) -> Any:
    if encoding is None:
        return codec.encode(body)
    if encoding == codec.name:
        return body
    if encoding == f"{codec.name}+base64":
        return base64.b64decode(body, validate=True)
    raise FormatError(
        f"the item is encoded with {encoding}: open the broker with that serializer, not with "
        f"{codec.name}"
    )


def _decoded(lines: Iterable[str]) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise FormatError(f"the dump is not text in UTF-8: {error}") from error


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
