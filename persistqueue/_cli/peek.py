"""show the next items without taking them

Items are decoded to be shown. A pickle may run any code while it is decoded: use --raw for a
queue that you do not trust. Takes no lock and changes nothing; items that a
consumer has in hand at this moment are shown, too, if they are not finished.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from .._core.block import Damaged
from .._core.codec import RowCodec
from .._core.signedframing import SignedFraming
from .._sql.sqlite import look
from .._sql.sqlite.dicts import shown_key
from ..exceptions import PersistQueueError
from .places import (
    LONGEST,
    PATH,
    counting_from,
    parsed,
    place_of,
    places_to_see,
    tables,
    usable,
    written_by,
)
from .report import shown, text_of

if TYPE_CHECKING:
    import argparse
    import sqlite3

    from .._sql.statements import DictTable, Table
    from .places import Name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", metavar="PATH", help=PATH)
    number = counting_from(0)
    parser.add_argument("-n", type=number, default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument("--raw", action="store_true", help="show bytes as stored, decode nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print items; returns the exit status."""
    name = parsed(arguments.path)
    found = places_to_see(name)
    if found.directory is not None:
        _show_records(found.directory, name, arguments)
    for path in found.databases:
        with look.opened(path) as connection:
            for one in tables(look.contents(connection, path), name):
                print(f"{shown(one.name)} ({one.cls})")
                _show_rows(connection, one.table, name, arguments)
    return 0


def _show_records(path: str, name: Name, arguments: argparse.Namespace) -> None:
    with closing(place_of(path, name.serializer)) as place:
        if isinstance(place.framing, SignedFraming) and not (place.framing.strict or arguments.raw):
            usable(name.shown, "signed")
        raw, state = place.state()
        for stretch in islice(place.walk(raw, state), arguments.n):
            if stretch.reason:
                raise place.recovery.damage(stretch.start, stretch.reason)
            if arguments.raw:
                print(place.record(stretch, state.head))
            else:
                print(text_of(place.item(stretch.start, state.head)[0]))


def _show_rows(
    connection: sqlite3.Connection,
    table: Table | DictTable,
    name: Name,
    arguments: argparse.Namespace,
) -> None:
    rows, decode = look.first_rows(connection, table, arguments.n), None
    if rows and not arguments.raw:
        serializer = usable(name.shown, name.serializer or written_by(connection, table))
        decode = RowCodec(serializer, ordered=False, longest=LONGEST).decode
    for data, checksum, *key in rows:
        label = f"{shown_key(*key)!r}: " if key else ""
        try:
            print(label + text_of(decode(data, checksum) if decode else data))
        except Damaged as damage:
            raise PersistQueueError(f"{table.name}: {label}{damage}") from damage
