"""Measures storage engines: loads of several tasks, a growing backlog, many callers.

Run it from anywhere: ``python benchmark/measure_engines.py [--peers] [--out DIR]``.

The loads are those that aiodiskqueue measures itself with: so many producers and consumers
on one event loop, items of 256 bytes.  Every item that was put must come out, once; else the
run fails.  Kinds are interleaved, round by round, and medians reported: other programs on the
machine slow all of them alike.  The numbers are written as CSV, the pictures as PNG and SVG.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # run as a file: the package is beside it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark.engine_pictures import draw
from benchmark.engine_queues import OURS, peers
from benchmark.machine import machine
from benchmark.progress import Progress

LOADS = [(1, 1), (5, 1), (20, 2)]  # producers, consumers
ITEM_BYTES = 256
_STEPS = 200  # of puts and gets over a backlog
#: What becomes too slow to wait for above so many items.
_BOUND = {
    "PickledListEngine": 1_000,
    "aiodiskqueue DbmEngine": 5_000,
    "aiodiskqueue PickleSequence": 1_000,
    "aiodiskqueue PickledList": 1_000,
    "SimpleBroker": 5_000,
    "litequeue": 5_000,
    "persist-queue Queue": 5_000,
    "persist-queue SQLiteQueue": 5_000,
}

Open = Callable[[Path], AbstractAsyncContextManager[Any]]


class Case(NamedTuple):
    """One thing to be measured."""

    picture: str
    kind: str
    durability: str
    x: int  # items, backlog or callers
    load: str
    run: Callable[[], float]


class LostError(Exception):
    """What came out is not what went in."""


async def _load(opened: Open, path: Path, producers: int, consumers: int, count: int) -> float:
    """Return operations a second: each item is put once and got once."""
    share = count // producers
    got: list[str] = []
    async with opened(path) as queue:
        start = time.perf_counter()

        async def produce(who: int) -> None:
            for number in range(share):
                await queue.put(f"{who}-{number}".ljust(ITEM_BYTES, "."))

        async def consume(most: int) -> None:
            for _ in range(most):
                got.append(await queue.get())  # noqa: PERF401 - one at a time is the point

        whole, over = divmod(share * producers, consumers)
        await asyncio.gather(
            *map(produce, range(producers)),
            *(consume(whole + (number < over)) for number in range(consumers)),
        )
        spent = time.perf_counter() - start
    wanted = {f"{who}-{n}".ljust(ITEM_BYTES, ".") for who in range(producers) for n in range(share)}
    if len(got) != len(wanted) or set(got) != wanted:
        raise LostError(f"{path.name}: put {len(wanted)}, got {len(set(got))} different ones")
    return 2 * share * producers / spent


async def _backlog(opened: Open, path: Path, backlog: int) -> float:
    """Return microseconds for a put and a get behind and in front of so many items."""
    async with opened(path) as queue:
        item = "x" * ITEM_BYTES
        await queue.fill(item, backlog)
        start = time.perf_counter()
        for _ in range(_STEPS):
            await queue.put(item)
            await queue.get()
        return (time.perf_counter() - start) / (2 * _STEPS) * 1e6


async def _callers(opened: Open, path: Path, callers: int, count: int) -> float:
    """Return puts a second by so many tasks together."""
    async with opened(path) as queue:
        item, share = "x" * ITEM_BYTES, max(count // callers, 1)

        async def put() -> None:
            for _ in range(share):
                await queue.put(item)

        start = time.perf_counter()
        await asyncio.gather(*(put() for _ in range(callers)))
        return share * callers / (time.perf_counter() - start)


def cases(
    kinds: dict[tuple[str, str], Open], folder: Path, items: int, backlogs: int, callers: int
) -> list[Case]:
    """List everything that is to be measured, once, up to these bounds."""
    found: list[Case] = []
    numbers = iter(range(10**9))

    def add(picture: str, kind: tuple[str, str], x: int, load: str, measure: Any) -> None:
        def run() -> float:
            return float(asyncio.run(measure(folder / f"{next(numbers)}.queue")))

        if x <= _BOUND.get(kind[0], x):
            found.append(Case(picture, *kind, x, load, run))

    for kind, opened in kinds.items():
        for count in (n for n in (200, 1_000, 5_000, 20_000) if n <= items):
            for producers, consumers in LOADS:
                add(
                    "load", kind, count, f"{producers}/{consumers}",
                    lambda path, o=opened, p=producers, c=consumers, n=count: (
                        _load(o, path, p, c, n)
                    ),
                )  # fmt: skip
        for backlog in (10**n for n in range(2, 7) if 10**n <= backlogs):
            add(
                "backlog", kind, backlog, "put, get",
                lambda path, o=opened, n=backlog: _backlog(o, path, n),
            )  # fmt: skip
        for together in (n for n in (1, 3, 10, 30, 100, 300) if n <= callers):
            add(
                "callers", kind, together, "put",
                lambda path, o=opened, n=together: _callers(o, path, n, 3 * callers),
            )  # fmt: skip
    return found


def measure(todo: list[Case], rounds: int) -> list[dict[str, Any]]:
    """Run every case, round by round, and return the medians."""
    times: dict[int, list[float]] = {number: [] for number in range(len(todo))}
    with Progress(rounds * len(todo)) as progress:
        for _ in range(rounds):
            for number, case in enumerate(todo):
                times[number].append(case.run())
                progress.step(f"{case.picture} {case.kind} {case.x}")
    return [
        {
            "picture": case.picture,
            "kind": case.kind,
            "durability": case.durability,
            "load": case.load,
            "x": case.x,
            "median": round(statistics.median(times[number]), 1),
            "least": round(min(times[number]), 1),
            "most": round(max(times[number]), 1),
        }
        for number, case in enumerate(todo)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--peers", action="store_true", help="other libraries as well, if installed"
    )
    parser.add_argument("--kind", default="", help="only kinds that have this in their name")
    parser.add_argument("--items", type=int, default=20_000, help="bound of the loads")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="bound of the backlogs")
    parser.add_argument("--callers", type=int, default=300, help="bound of the tasks that put")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["load", "backlog", "callers"])
    parser.add_argument("--out", type=Path, default=Path("engine_measurements"))
    options = parser.parse_args(arguments)
    kinds = {**OURS, **(peers() if options.peers else {})}
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        todo = cases(kinds, Path(folder), options.items, options.backlog, options.callers)
        todo = [
            case
            for case in todo
            if options.only in (None, case.picture) and options.kind in case.kind
        ]
        try:
            rows = measure(todo, options.rounds)
        except LostError as lost:
            print(f"items were lost: {lost}", file=sys.stderr)
            return 1
        place = f"{machine(folder)}; medians of {options.rounds}"
    with (options.out / "engines.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for picture in draw(rows, place, options.out):
        print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
