"""move all items of a queue into another one, of any kind

SRC and DST are paths, or file:DIRECTORY, sqlite:PATH?name=NAME, redis://HOST/DB?name=NAME or
mysql://USER@HOST/DATABASE?name=NAME. The kind of each queue is recognised. SRC has to be there.
A DST that is not there is made, of the kind of SRC where possible. A URL may end with
?serializer=pickle, json, msgpack, cbor2 or module:object. A password that is not in the URL is
taken from PERSISTQUEUE_PASSWORD, of DST from PERSISTQUEUE_TARGET_PASSWORD if that is set.

An item is in DST before it leaves SRC, so at every moment it is in one of them, at least. After an
interruption (kill -9, too) the same command goes on; the items of one batch may then be in DST
twice. Stop the consumers of SRC first. Items that they hold stay there, and failed items too: the
last line counts them.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._sql.statements import Table
from ..exceptions import ItemTooLarge, SerializationError
from ..serializers import pickle
from .ends import MOST_ITEMS, OneQueue
from .fileends import EngineSource, FileSource, engine_target, file_target
from .places import (
    LOCAL,
    PASSWORD,
    TARGET_PASSWORD,
    Found,
    counting_from,
    one_queue,
    parsed,
    queue_if_there,
    queues_in,
)
from .report import Progress, text_of
from .sqlends import SqliteSource, sqlite_source, sqlite_target

if TYPE_CHECKING:
    import argparse

    from .ends import Batch, Source, Target
    from .places import Name

COPY = """copy all items of a queue into another one, of any kind, and leave the first as it is

It works like move, but SRC keeps its items, and nothing is written there. Items that consumers
hold are copied, too, and wait in DST; failed items are not. A queue in a database is copied as it
was at one moment. After an interruption empty DST, and begin anew.
"""
_BATCH = 500
_LONGEST_SHOWN = 60  # characters of an item in a message


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both commands."""
    parser.add_argument("source", metavar="SRC", help="where the items are")
    parser.add_argument("target", metavar="DST", help="where they shall be; made if need be")
    parser.add_argument(
        "--convert", action="store_true",
        help="let items change that the serializer of DST does not keep as they are, as JSON makes "
        "lists of tuples; else the first such item stops it",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=counting_from(1), default=_BATCH, metavar="N",
        help=f"items in one step (default: {_BATCH}, at most {MOST_ITEMS}, and never more than "
        "8 MiB of them)",
    )  # fmt: skip


def run(arguments: argparse.Namespace, *, moves: bool) -> int:
    """Move or copy items; returns the exit status."""
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(parsed(arguments.source), moves=moves)))
        name = parsed(arguments.target, (TARGET_PASSWORD, PASSWORD))
        target = stack.enter_context(closing(open_target(name, source)))
        if target.identity == source.identity:
            raise OneQueue(source, name)
        source.by_age = target.kind.newest_first  # the newest item is to be taken first
        moved, most = Moved(), min(arguments.batch, MOST_ITEMS)
        try:
            _carry_all(source, target, moved, most, moves=moves, converts=arguments.convert)
        except BaseException:
            if moved.count:
                done = f"{moved.count} items {'moved' if moves else 'copied'} so far"
                then = "the same command goes on" if moves else "empty the target to begin anew"
                print(f"persistqueue: {done}; {then}", file=sys.stderr)
            raise
        _say_what_changes(source, target)
        return _say(moved, source.staying(), moves=moves)


def _carry_all(
    source: Source, target: Target[Any], moved: Moved, most: int, *, moves: bool, converts: bool
) -> None:
    """Carry all batches over; each is in the target before it leaves the source.

    Args:
        moved: is told how many.
        most: items of a batch.
        moves: empty the source; else it stays as it is.
        converts: let items change that the target's serializer changes.

    Raises:
        ValueError: an item would not come out of the target as it went into the source.
    """
    # Pickle keeps every item, and a serializer each item that it has made itself.
    alike = target.serializer is pickle or target.serializer is source.serializer
    total, batch = source.count(), source.read(most, None)
    with Progress("moving" if moves else "copying") as progress:
        while batch is not None:
            stored = _encoded(batch, target, moved.count, checks=not (converts or alike))
            moved.known += target.put(stored)
            if moves:
                moved.taken += source.finish(batch)
            moved.count += len(stored)
            progress(moved.count, total)
            batch = source.read(most, None if moves else batch)


def _encoded(batch: Batch, target: Target[Any], before: int, *, checks: bool) -> list[Any]:
    """Return a batch as the target stores it.

    Args:
        before: how many items were carried before it.
        checks: see whether each item would come out as it is.
    """
    stored: list[Any] = []
    for number, carried in enumerate(batch.items, before + 1):
        try:
            stored.append(target.encode(carried))
        except (SerializationError, ItemTooLarge) as error:
            raise type(error)(f"{target.shown}: item {number}: {error}") from error
        if checks and not same(carried.item, out := target.decode(stored[-1])):
            raise ValueError(
                f"{target.shown}: item {number} would come out as {_shortened(out)}, not "
                f"as {_shortened(carried.item)}: ?serializer=pickle keeps it, and with "
                "--convert it goes over like that"
            )
    return stored


def _say_what_changes(source: Source, target: Target[Any]) -> None:
    """Print which properties of the source are lost."""
    kept, lost = target.kind, []
    if source.kind.priority and not kept.priority:
        lost.append("the priorities, but for the order")
    if source.kind.unique and not kept.unique:
        lost.append("that equal items wait once")
    if source.kind.newest_first != kept.newest_first:
        lost.append("which end items are taken from")
    if lost:
        print(f"note: {target.shown} does not keep {', and '.join(lost)}", file=sys.stderr)


def _say(moved: Moved, staying: dict[str, int], *, moves: bool) -> int:
    """Print the last line; returns the exit status."""
    line = f"{moved.count} items {'moved' if moves else 'copied'}"
    if moved.known:
        line += f" ({moved.known} of them were there already)"
    stay = {word: count for word, count in staying.items() if count}
    if not moves:
        line += f", {stay['held']} of them held" if "held" in stay else ""
        for word in ("delayed", "failed"):
            line += f"; {stay[word]} {word} ones are not" if word in stay else ""
        line += "; the source keeps them all"
    elif stay:
        stays = " and ".join(f"{count} {word}" for word, count in stay.items())
        line += f"; {stays} stay where they are"
    print(line)
    if moved.taken:
        print(
            f"persistqueue: consumers took {moved.taken} of these items while they were moved: "
            "they may be worked on twice; stop the consumers first",
            file=sys.stderr,
        )
    return 1 if moved.taken else 0


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


def _shortened(item: object) -> str:
    """Return an item for a message."""
    text = text_of(item)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


# -- the two ends -------------------------------------------------------------------------


def open_source(name: Name, *, moves: bool) -> Source:
    """Open the queue that items come from.

    Args:
        moves: its items will be finished; else nothing is written there.

    Raises:
        NoQueue: there is none of this name; says which are there.
        ValueError: it is not clear which one is meant, or it cannot be moved.
    """
    if name.scheme in LOCAL:
        found = one_queue(name, queues_in(name.address))
        if found.engine is not None:
            return EngineSource(name, found)
        if found.table is not None:
            return sqlite_source(name, found, moves=moves)
        return FileSource(name, found, moves=moves)
    if name.scheme == "mysql":
        from . import mysqlends

        return mysqlends.mysql_source(
            name, one_queue(name, mysqlends.candidates(name)), moves=moves
        )
    from .redisends import redis_source

    return redis_source(name, moves=moves)


def open_target(name: Name, source: Source) -> Target[Any]:
    """Open the queue that items go to; one that is not there is made, of the source's kind."""
    if name.scheme in LOCAL:
        there = []
        if os.path.exists(name.address):
            status = os.stat(name.address)
            if source.identity == (status.st_dev, status.st_ino):  # it can be open once only
                raise OneQueue(source, name)
            there = queues_in(name.address)
        found = queue_if_there(name, there) or _to_be_made(name, source)
        if found.engine is not None:
            return engine_target(name, found, source)
        if found.table is not None:
            return sqlite_target(name, found, source)
        return file_target(name, found, source)
    if name.scheme == "mysql":
        from . import mysqlends

        return mysqlends.mysql_target(
            name, queue_if_there(name, mysqlends.candidates(name)), source
        )
    from .redisends import redis_target

    return redis_target(name, source)


def _to_be_made(name: Name, source: Source) -> Found:
    """Return a queue in the file system that is not there."""
    path = os.path.realpath(name.address)
    as_source = not name.scheme and isinstance(source, SqliteSource)
    if name.scheme == "sqlite" or os.path.isfile(path) or as_source:
        table = Table(source.kind, name.queue or "default")
        return Found("", table=table, path=path)
    if name.queue is not None:
        raise ValueError(f"{name.shown}: a file queue has no name beside its path")
    return Found("", path=path)
