"""show the next items without taking them

Items are decoded to be shown. A pickle may run any code while it is decoded: use --raw for a
queue from somebody you do not trust. Takes no lock and changes nothing; items that a
consumer has in hand at this moment are shown, too, if they are not finished.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.codec import RowCodec
from .._core.signedframing import SignedFraming
from .._files.info import BadInfo
from .._sql.sqlite.dicts import shown_key
from ..exceptions import PersistQueueError, QueueCorrupt
from . import choice, databases, filequeues
from .places import places
from .report import Report, shown

if TYPE_CHECKING:
    import argparse

_KEY_WANTED = "it is signed: give --serializer module:object (an object with the key), or --raw"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    choice.add_arguments(parser)
    number = choice.counting_from(0)
    parser.add_argument("-n", type=number, default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument("--raw", action="store_true", help="show bytes as stored, decode nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print items; returns the exit status."""
    found = places(arguments.path)
    serializer = choice.named(arguments.serializer)
    if found.directory is not None:
        try:
            _show_records(found.directory, serializer, arguments)
        except BadInfo as bad:
            raise QueueCorrupt(found.directory, "info", reason=str(bad)) from bad
    status = 0
    for file in found.files:
        try:
            with closing(databases.opened(file)) as connection:
                for table in databases.tables(connection, Report(file, "")):
                    print(f"{shown(table.name)} ({table.what})")
                    status |= _show_rows(connection, table, serializer, arguments)
        except sqlite3.Error as error:
            raise PersistQueueError(f"{file}: SQLite says: {error}") from error
    return status


def _show_records(path: str, serializer: Any, arguments: argparse.Namespace) -> None:
    place = filequeues.place_of(path, serializer, arguments.max_item_bytes)
    if isinstance(place.framing, SignedFraming) and not place.framing.strict and not arguments.raw:
        raise choice.UnknownSerializer(_KEY_WANTED)
    try:
        _, state = filequeues.stored_state(place)
        if state is None:
            return
        for stretch in islice(place.walk(state), arguments.n):
            if stretch.reason:
                raise place.recovery.damage(stretch.start, stretch.reason)
            at = stretch.start
            if arguments.raw:
                print(place.record(stretch, state.head))
            else:
                print(_text(place.reader.decode(at.chunk, at.offset, None)[0]))
    except Damaged as damage:
        raise place.recovery.damage(at, str(damage)) from damage
    finally:
        place.close()


def _show_rows(
    connection: sqlite3.Connection,
    found: databases.Found,
    serializer: Any,
    arguments: argparse.Namespace,
) -> int:
    rows = databases.first_rows(connection, found, arguments.n)
    if serializer is None and not arguments.raw:
        serializer = choice.recognise_rows([data for _, data in rows])
        if serializer is None and rows:
            raise choice.UnknownSerializer("nothing here can be read: say --serializer")
    for key, data in rows:
        label = f"{shown_key(*key)!r}: " if found.kind is None else ""
        try:
            print(label + _text(data if arguments.raw else _decoded(serializer, data, arguments)))
        except (Damaged, PersistQueueError) as error:
            print(f"{label}{error}", file=sys.stderr)
            return 1
    return 0


def _decoded(serializer: Any, data: Any, arguments: argparse.Namespace) -> Any:
    if serializer == "signed":
        raise choice.UnknownSerializer(_KEY_WANTED)
    return RowCodec(serializer, ordered=False, longest=arguments.max_item_bytes).decode(data)


def _text(item: Any) -> str:
    """Return an item as text; its own code makes that, and may fail."""
    try:
        return repr(item)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"<{type(item).__name__}, which cannot be shown: {type(error).__name__}>"
