"""``--peers``: this package against persist-queue, and against fixed bounds.

A *contest* measures one thing on two sides.  A round measures every contest once,
first one side, then the other, in the next round the other way round: a slow
spell of the machine hits both.  The median over the rounds is reported.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmark.footprint import TELLS_MEMORY, Footprint
from benchmark.report import Report
from benchmark.side import PEER, PEER_VERSION, ROOT, FreshSide, Side, installed_peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmark.progress import Progress

COLUMNS = ("What", "Here", "Against", "", "Ratio", "Wanted", "Verdict")
BESIDE = f"{PEER} {PEER_VERSION}"
THREADS = 16
CALLERS = 100  # tasks, or queues
IDLE = 2.0  # s for which idle queues are watched
CHUNKSIZE = 10_000  # of the queue that takes put_many


@dataclass(frozen=True)
class Goal:
    """The bound that the two medians have to keep.

    Attributes:
        kind: "faster" (other / here, at least), "times" (here / other, at most) or
            "above" (here - other, at most).
        wanted: the bound.
    """

    kind: str
    wanted: float

    def figure(self, here: float, other: float) -> float:
        """Return the number that is compared with the bound."""
        if self.kind == "above":
            return here - other
        return other / here if self.kind == "faster" else here / other

    def reached(self, figure: float) -> bool:
        """Return whether ``figure`` is within the bound."""
        return figure >= self.wanted if self.kind == "faster" else figure <= self.wanted


TASKS_PUT = {"kind": "AsyncSQLiteQueue"}
SQL_THREADS = {"kind": "SQLiteQueue", "threads": THREADS, "multithreading": True}
#: Against persist-queue: name, task, durability, goal, further arguments of the task.
FILE_ROWS: tuple[tuple[str, str, str, Goal, dict[str, Any]], ...] = (
    ("put, process", "put", "process", Goal("faster", 15), {}),
    ("put, power", "put", "power", Goal("faster", 0.75), {}),
    ("get + task_done, process", "get", "process", Goal("faster", 15), {}),
    ("get + task_done, power", "get", "power", Goal("faster", 15), {}),
    (
        f"{THREADS} threads put, power", "threads_put", "power", Goal("faster", 3),
        {"threads": THREADS},
    ),
)  # fmt: skip
SQL_ROWS: tuple[tuple[str, str, str, Goal, dict[str, Any]], ...] = (
    ("SQLite put, power", "put", "power", Goal("faster", 0.9), {"kind": "SQLiteQueue"}),
    ("SQLite get, power", "get", "power", Goal("faster", 0.9), {"kind": "SQLiteQueue"}),
    (
        f"SQLite {THREADS} threads put, power", "threads_put", "power", Goal("faster", 3),
        SQL_THREADS,
    ),
)  # fmt: skip
#: The same with tasks; the number of callers is in front of the goal.
ASYNC_ROWS: tuple[tuple[str, str, str, int, Goal, dict[str, Any]], ...] = (
    ("async put", "tasks_put", "process", 1, Goal("faster", 6), {}),
    ("async put", "tasks_put", "power", 1, Goal("faster", 2), {}),
    ("async put", "tasks_put", "process", CALLERS, Goal("faster", 70), {}),
    ("async put", "tasks_put", "power", CALLERS, Goal("faster", 50), {}),
    ("async get + task_done", "tasks_get", "process", 1, Goal("faster", 7), {}),
    ("async get + task_done", "tasks_get", "process", CALLERS, Goal("faster", 40), {}),
)
ASYNC_SQL_ROWS: tuple[tuple[str, str, str, int, Goal, dict[str, Any]], ...] = (
    ("async SQLite put", "tasks_put", "power", 1, Goal("faster", 2), TASKS_PUT),
    ("async SQLite get", "sql_tasks_get", "power", 1, Goal("faster", 2), {}),
    ("async SQLite put", "tasks_put", "power", CALLERS, Goal("faster", 60), TASKS_PUT),
    ("async SQLite get", "sql_tasks_get", "power", CALLERS, Goal("faster", 60), {}),
)


@dataclass
class Contest:
    """One row: two measurements, and the bound that they should keep."""

    name: str
    against: str
    goal: Goal
    unit: str
    here: Callable[[], float]
    other: Callable[[], float]
    samples: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def measure(self, turned: bool) -> None:
        """Measure both sides once; the other one first if ``turned``."""
        for which in (1, 0) if turned else (0, 1):
            self.samples[which].append((self.here, self.other)[which]())


@dataclass(frozen=True)
class Sizes:
    """How many operations and items are measured."""

    count: int  # operations in one sample
    rounds: int
    bulk: int  # items in put_many
    waiting: int  # items in the long queue


class Arena:
    """Makes contests: knows the sides, the sizes and where queues may be put.

    Args:
        here: this checkout's worker.
        other: persist-queue's.
        sizes: how much is measured.
        directory: on the disk that is to be measured.
    """

    def __init__(
        self, here: Side | FreshSide, other: Side | FreshSide, sizes: Sizes, directory: str
    ) -> None:
        self._here = here
        self._other = other
        self._sizes = sizes
        self._directory = directory
        self._long = os.path.join(directory, "long")

    def prepare(self) -> None:
        """Fill the queue that has items waiting."""
        self._here.measure("fill", self._long, count=self._sizes.waiting)

    def contests(self) -> list[Contest]:
        """Return the rows, in the order of the report."""
        return [
            *(self._peer(*row) for row in FILE_ROWS),
            self._bulk(),
            *self._footprint(),
            *(self._tasks(*row) for row in ASYNC_ROWS),
            self._async_bulk(),
            *self._loop(),
            *(self._peer(*row) for row in SQL_ROWS),
            *(self._tasks(*row, theirs=0.2) for row in ASYNC_SQL_ROWS),  # it syncs several times
            self._sql_bulk(),
        ]

    def _peer(
        self, name: str, task: str, durability: str, goal: Goal, more: dict[str, Any], *,
        ours: float = 1, theirs: float = 1,
    ) -> Contest:  # fmt: skip
        """Return a row against persist-queue; each side may do more or fewer operations."""
        here, other = (max(1, int(self._sizes.count * times)) for times in (ours, theirs))
        arguments = {"durability": durability, **more}
        return Contest(
            name, BESIDE, goal, "us",
            lambda: self.sample(self._here, task, count=here, **arguments),
            lambda: self.sample(self._other, task, count=other, **arguments),
        )  # fmt: skip

    def _tasks(
        self, what: str, task: str, durability: str, callers: int, goal: Goal,
        more: dict[str, Any], *, theirs: float = 1,
    ) -> Contest:  # fmt: skip
        """Return a row in which many callers do more here: persist-queue would take minutes."""
        who = "1 caller" if callers == 1 else f"{callers} callers"
        return self._peer(
            f"{what}, {who}, {durability}", task, durability, goal, {"callers": callers, **more},
            ours=1 if callers == 1 else 10, theirs=theirs,
        )  # fmt: skip

    def _bulk(self) -> Contest:
        count = self._sizes.bulk
        arguments = {"count": count, "durability": "process", "chunksize": CHUNKSIZE}
        return Contest(
            f"put_many of {count:,}, process", "pickled to a plain file", Goal("times", 3), "us",
            lambda: self.sample(self._here, "put_many", **arguments),
            lambda: self.sample(self._here, "plain_file", count=count),
        )  # fmt: skip

    def _footprint(self) -> list[Contest]:
        fresh = Footprint(self._directory, self._here.root)
        count, waiting = self._sizes.count, self._sizes.waiting
        memory = Contest(
            f"memory with {waiting:,} waiting", "empty process", Goal("above", 40), "MiB",
            lambda: fresh.memory_used(self._long, count), fresh.memory_empty,
        )  # fmt: skip
        start = Contest(
            "import of Queue", "bare Python", Goal("above", 30), "ms",
            fresh.start_with_import, fresh.start_bare,
        )  # fmt: skip
        return [*([memory] if TELLS_MEMORY else []), start]

    def _async_bulk(self) -> Contest:
        count = self._sizes.bulk
        arguments = {"count": count, "durability": "process", "chunksize": CHUNKSIZE}
        return Contest(
            f"async put_many of {count:,}, process", "put_many of Queue", Goal("times", 1.2), "us",
            lambda: self.sample(self._here, "async_put_many", **arguments),
            lambda: self.sample(self._here, "put_many", **arguments),
        )  # fmt: skip

    def _loop(self) -> list[Contest]:
        """Return rows: AsyncQueue's cost for the event loop, and for the processor."""
        count = self._sizes.count
        gap = Contest(
            f"async longest gap, {CALLERS} callers, power", "none", Goal("above", 20), "ms",
            lambda: self.sample(
                self._here, "loop_gap", count=count, durability="power", callers=CALLERS
            ) / 1e3,
            lambda: 0.0,
        )  # fmt: skip
        idle = Contest(
            f"async {CALLERS} queues wait", "none", Goal("above", 2), "% of a core",
            lambda: self.sample(self._here, "idle", queues=CALLERS, seconds=IDLE) / 1e4,
            lambda: 0.0,
        )  # fmt: skip
        return [gap, idle]

    def _sql_bulk(self) -> Contest:
        count = self._sizes.bulk
        arguments = {"count": count, "durability": "power", "kind": "SQLiteQueue"}
        return Contest(
            f"SQLite put_many of {count:,}, power", "pickle and executemany by hand",
            Goal("times", 1.5), "us",
            lambda: self.sample(self._here, "put_many", **arguments),
            lambda: self.sample(self._here, "executemany", count=count),
        )  # fmt: skip

    def sample(self, side: Side | FreshSide, task: str, **arguments: Any) -> float:
        """Measure in a folder that is removed afterwards."""
        folder = os.path.join(self._directory, "sample")
        os.mkdir(folder)
        try:
            return side.measure(task, os.path.join(folder, "queue"), **arguments)
        finally:
            shutil.rmtree(folder)


def compare(sizes: Sizes, directory: str, progress: Callable[[int], Progress]) -> Report:
    """Run all contests and return the table.

    Args:
        sizes: how much is measured.
        directory: on the disk that is to be measured; what is put there is removed.
        progress: makes the bar, given the number of steps.

    Raises:
        BenchmarkError: persist-queue cannot be installed, or a side fails.
    """
    with Side(ROOT) as here, Side(installed_peer()) as other:
        arena = Arena(here, other, sizes, directory)
        contests = arena.contests()
        with progress(sizes.rounds * len(contests) + 1) as bar:
            arena.prepare()
            bar.step("filled")
            take_turns(contests, sizes.rounds, bar)
    return tabulate(contests)


def take_turns(contests: Sequence[Contest], rounds: int, bar: Progress) -> None:
    """Measure every contest once in each round; every second round begins with the other side."""
    for turn in range(rounds):
        for contest in contests:
            contest.measure(turned=turn % 2 == 1)
            bar.step(contest.name)


def tabulate(contests: Sequence[Contest]) -> Report:
    """Return the report of contests that were measured."""
    report = Report({}, COLUMNS)
    for contest in contests:
        here, other = map(median, contest.samples)
        figure = contest.goal.figure(here, other)
        verdict = "ok" if contest.goal.reached(figure) else "below"
        report.rows.append(_cells(contest, here, other, figure, verdict))
        report.data.append(
            {
                "what": contest.name, "unit": contest.unit, "here": here, "other": other,
                "against": contest.against, "goal": contest.goal.kind, "figure": figure,
                "wanted": contest.goal.wanted, "verdict": verdict,
            }
        )  # fmt: skip
    return report


def _cells(contest: Contest, here: float, other: float, figure: float, verdict: str) -> list[str]:
    unit, goal = contest.unit, contest.goal
    suffix = f" {unit}" if goal.kind == "above" else "x"
    least = "at least" if goal.kind == "faster" else "at most"
    sign = "+" if goal.kind == "above" else ""
    return [
        contest.name,
        f"{short(here)} {unit}",
        f"{short(other)} {unit}",
        contest.against,
        f"{sign}{short(figure)}{suffix}",
        f"{least} {goal.wanted:g}{suffix}",
        verdict,
    ]


def short(number: float) -> str:
    """Return a number with its significant digits."""
    if isinstance(number, int):
        return str(number)
    return f"{number:.2f}" if number < 10 else f"{number:.1f}"
