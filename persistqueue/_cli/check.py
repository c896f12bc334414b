"""see whether a queue is whole: its items, their number and age, and all damage

Takes no lock, changes nothing and runs no item's pickle; a writer may go on. PATH is a file
queue's directory, an SQLite database of queues and dicts, or a directory that holds one.
Records of pickle with a checksum are checked against it; others are walked through. Whether a
whole item can be loaded here (its class may be gone), only --load tries, which runs the code of
pickles. Exit status: 0 if everything can be read, 1 if not.
"""

from __future__ import annotations

import json
import os
import stat
import time
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from .._broker.statements import HELD as HELD_BY_BROKERS
from .._broker.statements import IDS, QUEUES
from .._core.block import Damaged, reason_of
from .._core.codec import RowCodec
from .._core.signedframing import SignedFraming
from .._files.salvage import SET_ASIDE, is_part
from .._sql.sqlite import look
from .._sql.statements import ACKED, DELAYED, FAILED, HELD, identifier
from ..exceptions import PersistQueueError
from ..serializers._signed import BadSignature, Signed, unseal
from .places import LONGEST, PATH, parsed, place_of, places_to_see, short_name, tables, written_by
from .report import Part, Progress, Report

if TYPE_CHECKING:
    import argparse
    import sqlite3
    from collections.abc import Callable

    from .._core.cursor import State
    from .._files.salvage import Place, Stretch
    from .._sql.statements import DictTable, Table
    from .places import Known, Name

_STATUS = {HELD: "handed out", DELAYED: "delayed", ACKED: "acked", FAILED: "failed"}
_UNCHECKED = "signed (the signatures were not checked: give the object with its key)"
_IN_USE = "another process uses it: this is how it was a moment ago"


class BadRow(NamedTuple):
    """A row that cannot be read.

    Attributes:
        damaged: it holds no item; else it is whole, and cannot be decoded here.
        check: raises that for a row's data and checksum.
    """

    table: Table | DictTable
    number: int
    damaged: bool
    check: Callable[[Any, Any], object]


class Check(NamedTuple):
    """How thorough a check is.

    Attributes:
        name: which queue, and its serializer if the user has named that.
        progress: is told how many items of how many were looked at.
        load: load each item, too: runs the code of pickles.
    """

    name: Name
    progress: Callable[[int, int], None]
    load: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", metavar="PATH", help=PATH)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--load",
        action="store_true",
        help="load each item, too, as get does: this runs the code of pickles",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a report on each file queue and database; returns the exit status."""
    name = parsed(arguments.path)
    found = places_to_see(name)
    with Progress("checking") as progress:
        how = Check(name, progress, arguments.load)
        reports = [check_database(path, how)[0] for path in found.databases]
        if found.directory is not None:
            reports.insert(0, check_directory(found.directory, how))
    if arguments.json:
        print(json.dumps([report.as_json() for report in reports], indent=2))
    else:
        print("\n".join(report.as_text() for report in reports))
    return 0 if all(report.fine for report in reports) else 1


def _verdict(check: Callable[[], object]) -> tuple[str, bool]:
    """Return why an item cannot be read, or nothing; and whether it is damage.

    Args:
        check: raises ``Damaged`` if there is none; anything else if it is whole.
    """
    try:
        check()
    except Damaged as damage:
        return str(damage), True
    except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may raise anything
        return (
            f"whole, but it cannot be loaded here ({reason_of(error)}); it is no damage: when it "
            "is next, set_aside() or repair --set-aside 1 gets past it"
        ), False
    return "", False


# -- a file queue -------------------------------------------------------------------------


def check_directory(path: str, how: Check) -> Report:
    """Return a report on a file queue."""
    report = Report(path, "file queue", files=_sizes(path))
    report.set_aside = {name: n for name, n in report.files.items() if SET_ASIDE.fullmatch(name)}
    try:
        place = place_of(path, how.name.serializer)
        try:
            _check_records(place, report, how)
        finally:
            place.close()
    except (PersistQueueError, ImportError, OSError) as error:
        report.damage.append(str(error))
    return report


def _check_records(place: Place, report: Report, how: Check) -> None:
    framing = place.framing
    unchecked = isinstance(framing, SignedFraming) and not framing.strict
    part = Part("items", "Queue, AsyncQueue", _UNCHECKED if unchecked else framing.name)
    report.parts.append(part)
    raw, state = place.state()
    part.oldest, part.oldest_is = _oldest(place, state)
    items, readable, damage = 0, 0, []
    for stretch in place.walk(raw, state):
        items += stretch.items
        readable += not stretch.reason
        if stretch.reason:
            damage.append(stretch)
        elif how.load:
            chunk, _, offset = stretch.start
            reason, _ = _verdict(partial(place.reader.decode, chunk, offset, None))
            report.damage += [f"{_where(place, stretch)}: {reason}"] if reason else []
        how.progress(state.ordinal(stretch.end) - state.ordinal(state.tail), state.size)
    after, now = place.state()
    if after is not None and after != raw:
        report.notes.append(_IN_USE)
        damage = [stretch for stretch in damage if stretch.start >= now.tail]
    part.counts = {"items": items, "readable": readable}
    part.size = sum(map(place.chunks.length, place.chunks.chunks()))
    for stretch in damage:
        what = f"{stretch.reason} (takes {stretch.items} items)"
        report.damage.append(f"{_where(place, stretch)}: {what}")
    if now.missing.items:
        report.damage.append(
            f"{now.missing.items} items are missing that had been flushed, as was found when the "
            "queue was opened; the get that comes to that place will say so"
        )
    for chunk in place.chunks.chunks():
        start = now.head.offset if chunk == now.head.chunk else 0
        if chunk >= now.head.chunk and place.chunks.solid(chunk, start):
            report.notes.append(
                f"{_chunk(place, chunk)} has bytes of a put that is under way or never finished; "
                "opening the queue sets them aside"
            )


def _where(place: Place, stretch: Stretch) -> str:
    chunk, records, offset = stretch.start
    return f"{_chunk(place, chunk)}, byte {offset}, record {records}"


def _chunk(place: Place, chunk: int) -> str:
    return os.path.basename(place.chunks.chunk_path(chunk))


def _oldest(place: Place, state: State) -> tuple[float | None, str]:
    chunk = state.tail.chunk
    try:
        if state.size:
            age = time.time() - os.stat(place.chunks.chunk_path(chunk)).st_mtime
            return age, f"or older: when {_chunk(place, chunk)} was last written to"
    except OSError:
        pass
    return None, ""


def _sizes(path: str) -> dict[str, int]:
    found = {}
    for name in sorted(os.listdir(path)):
        try:
            status = os.lstat(os.path.join(path, name))
        except OSError:
            continue  # gone meanwhile
        if stat.S_ISREG(status.st_mode) and is_part(name):
            found[name] = status.st_size
    return found


# -- a database ---------------------------------------------------------------------------


def check_database(path: str, how: Check) -> tuple[Report, list[BadRow]]:
    """Return a report on a database, and the rows that cannot be read."""
    before = look.stamp(path)
    report, bad = _check_once(path, how)
    if look.stamp(path) != before:  # another process came while it was read as if none would
        report, bad = _check_once(path, how)
        report.notes.append(_IN_USE)
    return report, bad


def _check_once(path: str, how: Check) -> tuple[Report, list[BadRow]]:
    version = ".".join(map(str, look.SQLITE_VERSION))
    report = Report(path, "SQLite database", sqlite=version)
    for name in (path + suffix for suffix in look.SUFFIXES):
        if os.path.exists(name):
            report.files[os.path.basename(name)] = os.path.getsize(name)
    bad: list[BadRow] = []
    try:
        with look.opened(path) as connection:
            for (says,) in connection.execute("PRAGMA quick_check(20)").fetchall():
                if says != "ok":
                    report.damage.append(f"SQLite's check says: {says}")
            for found in _contents(connection, report, how.name):
                bad += _check_rows(connection, found, report, how)
    except (PersistQueueError, ImportError, OSError) as error:
        report.damage.append(str(error))
    return report, bad


def _contents(connection: sqlite3.Connection, report: Report, name: Name) -> list[look.Found]:
    """Return the queues and dicts of a database; the report is told of everything else."""
    there = look.contents(connection, report.path)
    alone = "it was left alone"
    report.notes += [f"{name!a} is no ordinary table: {alone}" for name in there.strange]
    strangers = [name for name in there.others if name not in (QUEUES, IDS, HELD_BY_BROKERS)]
    report.notes += [f"{name!a} is no table of a queue or dict: {alone}" for name in strangers]
    for aside in there.aside:
        count = look.count(connection, identifier(aside))
        report.set_aside[f"table {aside} (rows)"] = count
    if HELD_BY_BROKERS in there.others and (held := look.count(connection, HELD_BY_BROKERS)):
        report.notes.append(
            f"{held:,} more items are held by streams or process blocks of brokers; what a dead "
            "one held, the next broker gives back"
        )
    if strangers and not there.found:
        report.damage.append(
            "no queue or dict is in it; one with engine= is looked at by opening it"
        )
    return tables(there, name)


def _check_rows(
    connection: sqlite3.Connection, found: look.Found, report: Report, how: Check
) -> list[BadRow]:
    part, bad, table = Part(found.name, found.cls, ""), list[BadRow](), found.table
    report.parts.append(part)
    total = look.count(connection, table.quoted)
    serializer = how.name.serializer or written_by(connection, table)
    if serializer is None and total:
        report.damage.append(f"{table.name}: nothing here can be read: say ?serializer=")
    elif serializer is not None:
        part.serializer = _UNCHECKED if serializer == "signed" else short_name(serializer)
    check = _row_check(serializer, load=how.load) if serializer else None
    waiting = "keys" if not table.kind else "waiting" if table.kind.ack else "items"
    counts, oldest = part.counts, inf
    counts.update({waiting: 0, "readable": 0})
    for seen, row in enumerate(look.rows(connection, table)):
        part.size += row.size
        live = not isinstance(row.status, int) or row.status < HELD
        name = waiting if live else _STATUS.get(row.status, "of another status")
        counts[name] = counts.get(name, 0) + 1
        if live and isinstance(row.timestamp, (int, float)) and isfinite(row.timestamp):
            oldest = min(oldest, row.timestamp)
        if check is not None:
            reason, damaged = _verdict(partial(check, row.data, row.checksum))
            counts["readable"] += not reason
            if reason:
                bad.append(BadRow(table, row.number, damaged, check))
                report.damage.append(f"{table.name}, row {row.number}: {reason}")
        how.progress(seen + 1, total)
    if oldest < inf:
        part.oldest, part.oldest_is = time.time() - oldest, "when it was put"
    return bad


def _row_check(serializer: Known, *, load: bool) -> Callable[[Any, Any], object]:
    """Return a function that raises for a row that cannot be read: ``Damaged`` if it has no item.

    It takes the row's data and checksum.

    Args:
        load: run the code of pickles, too.
    """
    if serializer == "signed" or (isinstance(serializer, Signed) and not load):
        return partial(_check_signature, serializer)
    codec = RowCodec(serializer, ordered=False, longest=LONGEST)
    return codec.decode if load else codec.check


def _check_signature(serializer: Known, data: Any, _: object) -> None:
    try:
        record = unseal(data)
        if isinstance(serializer, Signed):
            serializer.verify(record, serializer.inner_name)
    except BadSignature as error:
        raise Damaged(str(error)) from error
