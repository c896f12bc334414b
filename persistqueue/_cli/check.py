"""see whether a queue is whole: what is in it, how much, how old, and what is damaged

Takes no lock, changes nothing and runs no item's pickle; a writer may go on. Works on a
file queue's directory, on an SQLite database of queues and dicts, and on a
directory that holds one. Records of pickle with a checksum are checked against it; others
are walked through. Whether what is whole can be loaded here (its classes may be gone), only
--load tries, which runs the code of pickles. Exit status: 0 if everything can be read, 1 if not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import choice, databases, filequeues
from .places import places
from .progress import Progress

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    choice.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--load",
        action="store_true",
        help="load each item, too, as get does: this runs the code of pickles",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what is there; returns the exit status."""
    found = places(arguments.path)
    serializer, longest = choice.named(arguments.serializer), arguments.max_item_bytes
    reports = []
    with Progress("checking") as progress:
        if found.directory is not None:
            directory, load = found.directory, arguments.load
            reports.append(filequeues.look(directory, serializer, longest, progress, load=load)[0])
        looks = (
            databases.look(file, serializer, longest, progress, load=arguments.load)
            for file in found.files
        )
        reports.extend(report for report, _ in looks)
    if arguments.json:
        print(json.dumps([report.as_json() for report in reports], indent=2))
    else:
        print("\n".join(report.as_text() for report in reports))
    return 0 if all(report.fine for report in reports) else 1
