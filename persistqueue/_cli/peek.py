"""show the next items without taking them

Items are decoded to be shown. A pickle may run any code while it is decoded: use --raw for a
queue that you do not trust. Takes no lock and changes nothing; items that a
consumer has in hand at this moment are shown, too, if they are not finished.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.codec import RowCodec
from .._core.signedframing import SignedFraming
from .._sql.sqlite import look
from .._sql.sqlite.dicts import shown_key
from ..exceptions import PersistQueueError
from .check import writer_of
from .names import UnknownSerializer, add_path, counting_from, named
from .places import place_of, places
from .report import shown, text_of

if TYPE_CHECKING:
    import argparse
    import sqlite3

    from .._sql.statements import DictTable, Table
    from .names import Known

_KEY_WANTED = "it is signed: give --serializer module:object (an object with the key), or --raw"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_path(parser)
    number = counting_from(0)
    parser.add_argument("-n", type=number, default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument("--raw", action="store_true", help="show bytes as stored, decode nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print items; returns the exit status."""
    found = places(arguments.path)
    serializer = named(arguments.serializer)
    if found.directory is not None:
        _show_records(found.directory, serializer, arguments)
    status = 0
    for path in found.databases:
        with look.opened(path) as connection:
            for table in look.contents(connection, path).found:
                print(f"{shown(table.name)} ({table.cls})")
                status |= _show_rows(connection, table.table, serializer, arguments)
    return status


def _show_records(path: str, serializer: Known | None, arguments: argparse.Namespace) -> None:
    place = place_of(path, serializer, arguments.max_item_bytes)
    if isinstance(place.framing, SignedFraming) and not place.framing.strict and not arguments.raw:
        raise UnknownSerializer(_KEY_WANTED)
    try:
        _, state = place.state()
        for stretch in islice(place.walk(state), arguments.n):
            if stretch.reason:
                raise place.recovery.damage(stretch.start, stretch.reason)
            if arguments.raw:
                print(place.record(stretch, state.head))
            else:
                print(text_of(place.item(stretch.start, state.head)[0]))
    finally:
        place.close()


def _show_rows(
    connection: sqlite3.Connection,
    table: Table | DictTable,
    serializer: Known | None,
    arguments: argparse.Namespace,
) -> int:
    rows = look.first_rows(connection, table, arguments.n)
    if serializer is None and not arguments.raw:
        serializer = writer_of([data for data, *_ in rows])
        if serializer is None and rows:
            raise UnknownSerializer("nothing here can be read: say --serializer")
    for data, *key in rows:
        label = f"{shown_key(*key)!r}: " if key else ""
        try:
            item = data if arguments.raw else _decoded(serializer, data, arguments.max_item_bytes)
            print(label + text_of(item))
        except (Damaged, PersistQueueError) as error:
            print(f"{label}{error}", file=sys.stderr)
            return 1
    return 0


def _decoded(serializer: Known | None, data: Any, longest: int) -> Any:
    if serializer == "signed":
        raise UnknownSerializer(_KEY_WANTED)
    return RowCodec(serializer, ordered=False, longest=longest).decode(data)
