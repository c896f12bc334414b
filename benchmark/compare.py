"""Measure one state of this package against another: ``python benchmark/compare.py BEFORE AFTER``.

Each of the two is a checkout's folder, or a git revision of this one.  The rows are those of
``run_benchmark.py``, with ``--peers`` and without, and each measurement is made in a new process.
``--instructions`` counts the instructions of a call instead, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import compileall
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout

from benchmark import instructions
from benchmark.peers import Arena, Contest, Goal, Sizes, short, take_turns
from benchmark.progress import Progress
from benchmark.queues import COLUMNS, ENTRIES
from benchmark.report import NOTABLE, Report, compared, console, machine
from benchmark.side import ROOT, BenchmarkError, FreshSide, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = Sizes(count=1000, rounds=7, bulk=100_000, waiting=1_000_000)
QUICK = Sizes(count=200, rounds=3, bulk=5_000, waiting=20_000)
PLACES = ("queues-before", "queues-after")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    command = argparse.ArgumentParser(description="Measure one state of the package by another.")
    add = command.add_argument
    add("before", metavar="BEFORE", help="a checkout's folder, or a git revision")
    add("after", metavar="AFTER", help="the same")
    add("--quick", action="store_true", help="fewer items and rounds")
    add("--instructions", action="store_true", help="count instructions (needs valgrind)")
    add("--rows", default="", metavar="TEXT", help="only the rows that have TEXT in their name")
    add("--durability", choices=("power", "process"), default="process", help="where free")
    add("--dir", default=os.curdir, help="where the queues are put: the disk to measure")
    return command


def checkout(name: str, directory: str) -> str:
    """Return the folder of a checkout; a revision's package is unpacked into ``directory``.

    Raises:
        BenchmarkError: there is neither a folder nor a revision of that name.
    """
    root = os.path.abspath(name)
    if not os.path.isdir(root):
        root = os.path.abspath(directory)
        command = ["git", "-C", ROOT, "archive", "--format=zip", name, "persistqueue"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            raise BenchmarkError(f"{name} is no folder, and no revision: {reason}")
        zipfile.ZipFile(io.BytesIO(done.stdout)).extractall(root)
    compileall.compile_dir(os.path.join(root, "persistqueue"), quiet=2)
    return root


def contests(roots: Sequence[str], sizes: Sizes, durability: str, directory: str) -> list[Contest]:
    """Return a contest for each row: what is there before against what is there after.

    Args:
        roots: the two checkouts.
        sizes: how much is measured.
        durability: of the rows that ``run_benchmark.py`` shows without ``--peers``.
        directory: on the disk that is to be measured.
    """
    before, after = (
        _rows(FreshSide(root), sizes, durability, os.path.join(directory, name))
        for root, name in zip(roots, PLACES, strict=True)
    )
    return [
        Contest(name, "before", Goal("times", NOTABLE), unit, after[name][1], measure)
        for name, (unit, measure) in before.items()
    ]


def _rows(
    side: FreshSide, sizes: Sizes, durability: str, directory: str
) -> dict[str, tuple[str, Callable[[], float]]]:
    """Return the unit of every row, and what measures it."""
    os.makedirs(directory, exist_ok=True)
    arena = Arena(side, side, sizes, directory)
    cell = partial(arena.sample, side, "cell", count=sizes.count, durability=durability)
    cells = {
        f"{entry.name}: {column}": ("us", partial(cell, queue=entry.name, column=column))
        for entry in ENTRIES
        if entry.available
        for column in COLUMNS
    }
    return {**cells, **{row.name: (row.unit, row.here) for row in arena.contests()}}


def tabulate(measured: Sequence[Contest]) -> Report:
    """Return the table: both medians, their ratio, and a word where it is beyond 5 %.

    The ratio of the best samples stands beside: on a busy machine it moves less.
    """
    report = Report({}, ("What", "Before", "After", "Best", "Ratio", ""))
    for contest in measured:
        after, before = map(median, contest.samples)
        best, _ = compared(*map(min, reversed(contest.samples)))
        numbers = [f"{short(number)} {contest.unit}" for number in (before, after)]
        report.rows.append([contest.name, *numbers, best, *compared(before, after)])
    return report


def measure(roots: Sequence[str], options: argparse.Namespace, directory: str) -> Report:
    """Return the table of the rows that the options ask for."""
    sizes = QUICK if options.quick else SIZES
    for root, name in zip(roots, PLACES, strict=True):
        os.mkdir(os.path.join(directory, name))
        with Side(root) as side:
            Arena(side, side, sizes, os.path.join(directory, name)).prepare()
    rows = contests(roots, sizes, options.durability, directory)
    rows = [row for row in rows if options.rows in row.name]
    with Progress(sizes.rounds * len(rows)) as bar:
        take_turns(rows, sizes.rounds, bar)
    return tabulate(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(dir=options.dir, prefix=".benchmark-") as directory:
            before = checkout(options.before, os.path.join(directory, "before"))
            after = checkout(options.after, os.path.join(directory, "after"))
            if options.instructions:
                report = instructions.compare(before, after, directory)
            else:
                report = measure((before, after), options, directory)
            names = {"before": options.before, "after": options.after}
            report.facts = {**names, "platform": machine(directory)}
        print(console(report))
    except (BenchmarkError, OSError) as error:
        print(f"{os.path.basename(__file__)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
