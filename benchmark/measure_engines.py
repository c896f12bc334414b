"""Measures every engine and queue class: loads, a growing backlog, many callers.

Run it from anywhere: ``python benchmark/measure_engines.py [--peers] [--out DIR]``.

The loads are those that aiodiskqueue measures itself with: so many producers and consumers,
items of 256 bytes.  Classes for asyncio are used by tasks on one event loop, the others by
threads.  Every item that was put must come out, once; else the run fails.  Kinds are
interleaved, round by round, and medians reported: other programs on the machine slow all of
them alike.  The numbers are written as CSV, the pictures as PNG and SVG.

Slow kinds are not run with more items than there is time for: the column ``items`` says how many
were run, and nothing is extrapolated.  The first round runs everything; further ones run what
there is time for (``rounds``).
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count as counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file: the package is beside it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark import engine_loads
from benchmark.engine_loads import LostError
from benchmark.engine_pictures import draw
from benchmark.engine_queues import Kind, ours, peers
from benchmark.progress import Progress
from benchmark.report import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

LOADS = [(5, 1), (1, 1), (20, 2)]  # producers, consumers; the first is aiodiskqueue's own
SIZES = (1_000, 5_000, 20_000)  # items of a load
CALLERS = (1, 3, 10, 30, 100, 300)
COLUMNS = (
    "picture", "group", "kind", "durability", "callers", "load", "x", "items", "rounds",
    "unit", "median", "least", "most",
)  # fmt: skip


@dataclass
class Case:
    """One load, or one number of callers.

    Attributes:
        x: items or callers that were asked for.
        items: how many are put.
    """

    picture: str
    kind: Kind
    x: int
    items: int
    load: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    values: list[float] = field(default_factory=list)

    def run(self, path: Path) -> None:
        if self.picture == "load":
            result = engine_loads.load(self.kind, path, *self.load, self.items)
        else:
            result = engine_loads.callers(self.kind, path, self.x, self.items)
        self.items, self.seconds = result.items, result.seconds
        self.values.append(result.value)


class Run:
    """All measurements, and when they have to end.

    Args:
        seconds: how long one measurement should take at most.
        until: moment (``time.monotonic``) after which no round begins.
    """

    def __init__(self, folder: Path, seconds: float, until: float) -> None:
        self.seconds, self.until = seconds, until
        self._folder, self._numbers = folder, counter()
        self.cases: list[Case] = []
        self.rows: list[dict[str, Any]] = []

    def place(self) -> Path:
        return self._folder / f"{next(self._numbers)}.queue"

    def cleared(self, kind: Kind, path: Path) -> None:
        """Remove stored items, or the disk fills up."""
        if kind.forget is not None:
            kind.forget()
        for found in self._folder.glob(f"{path.name}*"):
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()

    def once(self, case: Case) -> None:
        path = self.place()
        case.run(path)
        self.cleared(case.kind, path)

    def load(self, kind: Kind, load: tuple[int, int], sizes: Sequence[int]) -> None:
        """Run a load with more and more items, as long as there is time."""
        for size in sizes:
            last = self.cases[-1] if size != sizes[0] else None
            if last and last.seconds * size / last.items > 10 * self.seconds:
                break
            self.cases.append(Case("load", kind, size, size, load))
            self.once(self.cases[-1])

    def callers(self, kind: Kind, together: int, count: int) -> None:
        self.cases.append(Case("callers", kind, together, count))
        self.once(self.cases[-1])

    def backlog(self, kind: Kind, backlogs: Sequence[int], rounds: int) -> None:
        """Fill a queue up, and measure what an operation costs meanwhile."""
        path = self.place()
        found = engine_loads.backlog(kind, path, backlogs, rounds, 3 * self.seconds)
        for waiting, operations, values in found:
            self.note("backlog", kind, "put, get", waiting, operations, "us", values)
        self.cleared(kind, path)

    def further(self, case: Case) -> None:
        """Run a case once more, if there is time."""
        if time.monotonic() + case.seconds < self.until:
            self.once(case)

    def note(
        self, picture: str, kind: Kind, load: str, x: int, items: int, unit: str,
        values: Sequence[float],
    ) -> None:  # fmt: skip
        shown = (
            picture, kind.group, kind.name, kind.durability,
            "tasks" if kind.tasks else "threads", load, x, items, len(values), unit,
            *(round(number, 2) for number in (median(values), min(values), max(values))),
        )  # fmt: skip
        self.rows.append(dict(zip(COLUMNS, shown, strict=True)))

    def finished(self) -> list[dict[str, Any]]:
        """Return every row: loads, callers, then the others."""
        noted, self.rows = self.rows, []
        for case in sorted(self.cases, key=lambda case: case.picture, reverse=True):
            load = "{}/{}".format(*case.load) if case.picture == "load" else "put"
            self.note(
                case.picture, case.kind, load, case.x, case.items, "1/s", case.values
            )  # fmt: skip
        return self.rows + noted


def measure(run: Run, kinds: list[Kind], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run everything once, then the rest of the rounds; return the rows."""
    wanted = {options.only} if options.only else {"load", "callers", "backlog"}
    sizes = [n for n in SIZES if n <= options.items] or [options.items]
    together = [n for n in CALLERS if n <= options.callers] if "callers" in wanted else []
    backlogs = [10**n for n in range(2, 7) if 10**n <= options.backlog]
    loads = LOADS if "load" in wanted else []
    with Progress(len(kinds)) as progress:
        for kind in kinds:
            for load in loads:
                run.load(kind, load, sizes)
            for number in together:
                run.callers(kind, number, 3 * options.callers)
            if "backlog" in wanted and backlogs:
                run.backlog(kind, backlogs, options.rounds)
            progress.step(kind.name)
    with Progress((options.rounds - 1) * len(run.cases)) as progress:
        for _ in range(options.rounds - 1):
            for case in run.cases:
                run.further(case)
                progress.step(f"{case.kind.name} {case.picture} {case.x}")
    return run.finished()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers", action="store_true", help="aiodiskqueue, if installed")
    parser.add_argument("--kind", default="", help="only kinds that have this in their name")
    parser.add_argument("--group", choices=["engines", "classes", "peers"])
    parser.add_argument("--only", choices=["load", "backlog", "callers"])
    parser.add_argument("--items", type=int, default=20_000, help="bound of the loads")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="bound of the backlogs")
    parser.add_argument("--callers", type=int, default=300, help="bound of those that put")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement, at most")
    parser.add_argument("--minutes", type=float, default=25.0, help="no round is begun later")
    parser.add_argument("--out", type=Path, default=Path("engine_measurements"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the results."""
    options = _options(arguments)
    until = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=options.out))
        kinds = [*ours(stack), *(peers() if options.peers else [])]
        kinds = [
            kind
            for kind in kinds
            if options.kind in kind.name and options.group in (None, kind.group)
        ]
        try:
            rows = measure(Run(Path(folder), options.seconds, until), kinds, options)
        except LostError as lost:
            print(f"items were lost: {lost}", file=sys.stderr)
            return 1
        place = f"{machine(folder)}; medians of up to {options.rounds}"
    with (options.out / "engines.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for picture in draw(rows, place, options.out):
        print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
