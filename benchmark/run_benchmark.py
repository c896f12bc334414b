"""Measure the queues: ``python benchmark/run_benchmark.py [count] [console|rst|json]``.

With ``--peers``, measure them against persist-queue 1.1.0, installed beside.
The asyncio queues need their extra (``pip install ".[async]"``).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout

from benchmark import peers, queues
from benchmark.progress import Progress
from benchmark.report import FORMATS, Report, in_memory, machine
from benchmark.side import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    command = argparse.ArgumentParser(
        description="Measure how fast the queues are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = command.add_argument
    add("count", nargs="?", type=_positive, default=1000, help="items per measurement")
    add("format", nargs="?", choices=tuple(FORMATS), default="console", help="of the output")
    add("--durability", choices=("power", "process"), default="power", help="of the queues")
    add("--dir", default=os.curdir, help="where the queues are put: the disk to measure")
    add("--peers", action="store_true", help="measure against persist-queue 1.1.0 instead")
    add("--rounds", type=_positive, default=7, help="samples per side, with --peers")
    add(
        "--bulk", type=_positive, default=100_000,
        help="items in put_many, with --peers",
    )  # fmt: skip
    add("--waiting", type=_positive, default=1_000_000, help="items waiting, with --peers")
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def run(options: argparse.Namespace) -> Report:
    """Measure what the options ask for.

    Raises:
        BenchmarkError, OSError: it cannot be measured.
    """
    with tempfile.TemporaryDirectory(dir=options.dir, prefix=".benchmark-") as directory:
        if in_memory(directory):
            print(
                f"warning: {options.dir} is in memory: what is flushed there says nothing "
                "about a disk; name a directory on one with --dir",
                file=sys.stderr,
            )
        facts = {"count": options.count, "platform": machine(directory)}
        if options.peers:
            report = peers.compare(_sizes(options), directory, Progress)
            report.facts = {**facts, "rounds": options.rounds}
        else:
            entries = _available_entries()
            with Progress(len(entries) * len(queues.COLUMNS)) as bar:
                report = queues.measure(entries, options.count, options.durability, directory, bar)
            report.facts = {**facts, "durability": options.durability, "unit": "seconds"}
    return report


def _available_entries() -> list[queues.Entry]:
    """Return the queue types that can be measured here, and say which cannot."""
    for entry in queues.ENTRIES:
        if not entry.available:
            print(f"warning: no {entry.name}: {entry.needs} is not installed", file=sys.stderr)
    return [entry for entry in queues.ENTRIES if entry.available]


def _sizes(options: argparse.Namespace) -> peers.Sizes:
    return peers.Sizes(options.count, options.rounds, options.bulk, options.waiting)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        report = run(options)
        print(FORMATS[options.format](report))
    except (BenchmarkError, OSError) as error:
        print(f"{os.path.basename(__file__)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
