"""The benchmark script: its formats, its options, its comparison with persist-queue."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# At the end, behind an installed package of ours: only the folder "benchmark" is wanted.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmark import compare, instructions, report, run_benchmark
from benchmark.peers import Contest, Goal, Sizes, tabulate
from benchmark.progress import Progress
from benchmark.queues import COLUMNS, ENTRIES, Entry, measure
from benchmark.report import FORMATS, Report
from benchmark.side import BenchmarkError, Side

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmark" / "run_benchmark.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def numbers(cells: list[str]) -> list[float]:
    return [float(cell) for cell in cells]


# -- the table of queue types ---------------------------------------------------------------


QUEUES = [
    "File Queue",
    "AsyncFileQueue",
    "SQLiteQueue",
    "SQLiteQueue (auto_commit=False)",
    "FILOSQLiteQueue",
    "UniqueQ",
    "PriorityQueue",
    "SQLiteAckQueue",
    "AsyncSQLiteQueue",
    "AsyncSQLiteQueue (auto_commit=False)",
    "AsyncFILOSQLiteQueue",
    "AsyncUniqueQ",
    "AsyncPriorityQueue",
    "AsyncSQLiteAckQueue",
]


def test_console_has_a_row_of_seconds_for_each_queue_type(tmp_path: Path) -> None:
    """The console table has upstream's columns, and seconds below each of them."""
    done = run(3, "console", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("\n\n")[2].splitlines()
    assert [cell.strip() for cell in table[0].split("  ") if cell.strip()] == [
        "Queue type",
        *COLUMNS,
    ]
    assert len(QUEUES) == len(table[2:])
    for name, line in zip(QUEUES, table[2:], strict=True):
        assert line.startswith(f"{name}  ")
        assert all(seconds > 0 for seconds in numbers(line.removeprefix(name).split()))


def test_rst_is_valid(tmp_path: Path) -> None:
    """The rst output is a field list and a table to docutils, which finds no fault."""
    core = pytest.importorskip("docutils.core")
    nodes = pytest.importorskip("docutils.nodes")
    done = run(3, "rst", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    document = core.publish_doctree(done.stdout, settings_overrides={"report_level": 1})
    assert not list(document.findall(nodes.system_message))
    rows = [[cell.astext() for cell in row] for row in document.findall(nodes.row)]
    assert rows[0] == ["Queue type", *COLUMNS]
    assert QUEUES == [row[0] for row in rows[1:]]
    assert all(seconds > 0 for row in rows[1:] for seconds in numbers(row[1:]))


@pytest.mark.parametrize("durability", ["power", "process"])
def test_json_is_all_there_is_on_stdout(tmp_path: Path, durability: str) -> None:
    """The json output is one object and nothing else, with what was measured and on what."""
    done = run(3, "json", "--durability", durability, "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["count"], found["durability"], found["unit"]) == (3, durability, "seconds")
    assert sys.version.split()[0] in found["platform"]
    assert QUEUES == [row["queue"] for row in found["rows"]]
    for row in found["rows"]:
        assert row.keys() == {"queue", *COLUMNS}
        assert all(row[column] > 0 for column in COLUMNS)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The queues that were measured are removed."""
    assert run(3, "--dir", tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_defaults_are_upstreams() -> None:
    """Without arguments it is 1000 items, to be read on a console."""
    options = run_benchmark.parser().parse_args([])
    assert (options.count, options.format) == (1000, "console")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["10", "html"], "html"),
        (["0"], "'0' is not a number of 1 or more"),
        (["many"], "'many' is not a number of 1 or more"),
        (["10", "--durability", "hope"], "hope"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument that makes no sense ends the script with status 2 and a word on why."""
    with pytest.raises(SystemExit) as end:
        run_benchmark.main(arguments)
    assert end.value.code == 2
    assert why in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that cannot be used ends the script with status 1 and its name."""
    assert run_benchmark.main(["5", "--dir", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_without_aiofiles_the_other_rows_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a missing dependency leaves out is said on stderr; the table has the rest."""
    without = [entry for entry in ENTRIES if entry.waits]
    monkeypatch.setattr("benchmark.queues.ENTRIES", (ENTRIES[0], *without))
    monkeypatch.setattr(
        "benchmark.queues.find_spec", lambda name: None if name[:3] == "aio" else name
    )
    assert run_benchmark.main(["1", "--dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "AsyncFileQueue" not in printed.out
    assert "no AsyncFileQueue: aiofiles is not installed" in printed.err


class Fake(Entry):
    """A row of a class that is made here."""

    def open(self, path: str, durability: str) -> Any:
        del path, durability
        return self.options["make"]()


class LoopQueue(asyncio.Queue):  # type: ignore[type-arg]
    """A queue in memory, with which the benchmark's own steps are counted."""

    left: list[tuple[int, int]]

    async def task_done(self, count: int) -> None:  # type: ignore[override]
        for _ in range(count):
            super().task_done()

    async def close(self) -> None:
        self.left.append((self.qsize(), self._unfinished_tasks))


def test_a_queue_whose_methods_are_coroutines_is_one_entry(tmp_path: Path) -> None:
    """Such a queue gets its row too: each column puts, takes and finishes what it says."""
    LoopQueue.left = []
    entry = Fake("Loop", "AsyncQueue", {"make": LoopQueue})
    report = measure([entry], 10, "process", str(tmp_path), Progress(3, io.StringIO()))
    assert [row[0] for row in report.rows] == ["Loop"]
    assert LoopQueue.left == [(10, 10), (0, 0), (0, 0)]


class Acked:
    """A queue in memory that notes what is done with it, in an order of its own."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def put(self, item: str) -> None:
        self.notes.append("put")

    def get(self) -> int:
        self.notes.append("get")
        return self.notes.count("get")

    def ack(self, item: int) -> None:
        self.notes.append(f"ack {item}")

    def close(self) -> None:
        self.notes.append("close")


class AsyncAcked:
    """The same with coroutines."""

    def __init__(self, notes: list[str]) -> None:
        self._queue = Acked(notes)

    async def put(self, item: str) -> None:
        self._queue.put(item)

    async def get(self) -> int:
        return self._queue.get()

    async def ack(self, item: int) -> None:
        self._queue.ack(item)

    async def close(self) -> None:
        self._queue.close()


@pytest.mark.parametrize(
    ("name", "kind"), [("SQLiteAckQueue", Acked), ("AsyncSQLiteAckQueue", AsyncAcked)]
)
def test_an_ack_queue_acks_every_item(name: str, kind: Any, tmp_path: Path) -> None:
    """Each item is acked: at the end in the second column, at once in the third."""
    notes: list[str] = []
    entry = Fake(name, name, {"make": lambda: kind(notes)})
    measure([entry], 2, "process", str(tmp_path), Progress(3, io.StringIO()))
    second = notes.index("close") + 1
    third = notes.index("close", second) + 1
    assert notes[second:third] == ["put", "put", "get", "get", "ack 1", "ack 2", "close"]
    assert notes[third:] == ["put", "put", "get", "ack 3", "get", "ack 4", "close"]


# -- the comparison -------------------------------------------------------------------------

ROWS = [
    "put, process",
    "put, power",
    "get + task_done, process",
    "get + task_done, power",
    "16 threads put, power",
    "put_many of 300, process",
    "memory with 200 waiting",
    "import of Queue",
    "async put, 1 caller, process",
    "async put, 1 caller, power",
    "async put, 100 callers, process",
    "async put, 100 callers, power",
    "async get + task_done, 1 caller, process",
    "async get + task_done, 100 callers, process",
    "async put_many of 300, process",
    "async longest gap, 100 callers, power",
    "async 100 queues wait",
    "SQLite put, power",
    "SQLite get, power",
    "SQLite 16 threads put, power",
    "async SQLite put, 1 caller, power",
    "async SQLite get, 1 caller, power",
    "async SQLite put, 100 callers, power",
    "async SQLite get, 100 callers, power",
    "SQLite put_many of 300, power",
]
NOTHING = {  # rows that are held against nothing at all
    "async longest gap, 100 callers, power",
    "async 100 queues wait",
}


def test_peers_measures_every_row(tmp_path: Path) -> None:
    """The comparison has all rows, each with two numbers, a bound and a verdict."""
    sizes = ("--rounds", 1, "--bulk", 300, "--waiting", 200)
    done = run(40, "json", "--peers", *sizes, "--dir", tmp_path)
    if "pip cannot install" in done.stderr:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    memory = [] if sys.platform == "win32" else ["memory with 200 waiting"]
    assert list(rows) == [name for name in ROWS if not name.startswith("memory") or name in memory]
    assert {row["verdict"] for row in rows.values()} <= {"ok", "below"}
    for name, row in rows.items():
        assert row["other"] == 0 if name in NOTHING else row["other"] > 0
    gap = rows["async longest gap, 100 callers, power"]
    assert 0 < gap["here"] < 1000  # ms


@pytest.mark.parametrize(
    ("goal", "here", "other", "figure", "reached"),
    [
        (Goal("faster", 15), 10.0, 150.0, 15.0, True),
        (Goal("faster", 15), 10.0, 140.0, 14.0, False),
        (Goal("times", 3), 3.0, 1.0, 3.0, True),
        (Goal("times", 3), 3.5, 1.0, 3.5, False),
        (Goal("above", 40), 50.0, 10.0, 40.0, True),
        (Goal("above", 40), 51.0, 10.0, 41.0, False),
    ],
)
def test_a_goal_is_reached_at_its_bound(
    goal: Goal, here: float, other: float, figure: float, reached: bool
) -> None:
    """Figures are here against the other, each kind in its direction, bounds included."""
    assert goal.figure(here, other) == figure
    assert goal.reached(figure) is reached


def contest(here: Callable[[], float], other: Callable[[], float]) -> Contest:
    return Contest("thing", "that", Goal("faster", 2), "us", here, other)


def test_rounds_take_turns() -> None:
    """In a turned round the other side is measured first."""
    order: list[str] = []
    both = contest(lambda: order.append("A") or 1.0, lambda: order.append("B") or 1.0)
    both.measure(turned=False)
    both.measure(turned=True)
    assert order == ["A", "B", "B", "A"]


def test_medians_are_reported() -> None:
    """A row shows the medians of both sides, their ratio, the bounds and the verdict."""
    ours, theirs = iter([1.0, 100.0, 2.0]), iter([3.0, 3.0, 900.0])
    both = contest(lambda: next(ours), lambda: next(theirs))
    for _ in range(3):
        both.measure(turned=False)
    assert tabulate([both]).rows == [
        ["thing", "2.00 us", "3.00 us", "that", "1.50x", "at least 2x", "below"]
    ]


def test_a_side_measures_the_package_it_was_given(tmp_path: Path) -> None:
    """A folder without the package is an error, and no reason to measure another one."""
    with pytest.raises(BenchmarkError):
        Side(str(tmp_path))


def test_what_fails_in_a_worker_is_told(tmp_path: Path) -> None:
    """An exception in the worker ends the measurement with its type and message."""
    with Side(str(ROOT)) as side, pytest.raises(BenchmarkError, match="ValueError: durability"):
        side.measure("put", str(tmp_path / "queue"), count=1, durability="hope")


# -- one state against another ------------------------------------------------------------


def test_compare_has_every_row(tmp_path: Path) -> None:
    """All rows of both tables are there; one of each is measured in both checkouts."""
    tables = [f"{queue}: {column}" for queue in QUEUES for column in COLUMNS]
    peers = [name for name in ROWS if not (sys.platform == "win32" and "memory" in name)]
    sizes = Sizes(count=3, rounds=1, bulk=300, waiting=200)
    found = compare.contests([str(ROOT), str(ROOT)], sizes, "process", str(tmp_path))
    rows = {contest.name: contest for contest in found}
    assert [*tables, *peers] == list(rows)
    for name in ("put, process", "File Queue: Write/Read(many task_done)"):
        rows[name].measure(turned=True)
        assert all(sample > 0 for side in rows[name].samples for sample in side)
        assert [1, 1] == list(map(len, rows[name].samples))


def test_compare_marks_what_differs_by_more_than_5_percent() -> None:
    """The median before comes first; less is faster.  The best samples have a ratio, too."""
    found = []
    for before, after in ((1.0, 1.04), (1.0, 1.06), (1.0, 0.9), (0.0, 0.0), (0.0, 1.0)):
        pair = contest(iter([after / 2, after, 900.0]).__next__, iter([before] * 3).__next__)
        for turn in range(3):
            pair.measure(turned=turn == 1)
        found.append(compare.tabulate([pair]).rows[0][1:])
    assert [
        ["1.00 us", "1.04 us", "0.52", "1.04", ""],
        ["1.00 us", "1.06 us", "0.53", "1.06", "slower"],
        ["1.00 us", "0.90 us", "0.45", "0.90", "faster"],
        ["0.00 us", "0.00 us", "1.00", "1.00", ""],
        ["0.00 us", "1.00 us", "inf", "inf", "slower"],
    ] == found


def test_compare_unpacks_a_revision(tmp_path: Path) -> None:
    """A revision is a folder with its package; a folder is what it is."""
    git = ["git", "-C", str(ROOT), "show", "HEAD:persistqueue/__init__.py"]
    shown = subprocess.run(git, capture_output=True, check=False) if shutil.which("git") else None
    if shown is None or shown.returncode:
        pytest.skip("the tests are not in a clone")
    root = compare.checkout("HEAD", str(tmp_path))
    assert shown.stdout == Path(root, "persistqueue", "__init__.py").read_bytes()
    assert str(ROOT) == compare.checkout(str(ROOT), str(tmp_path / "unused"))


def test_compare_says_what_is_neither_folder_nor_revision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that means nothing ends the script with status 1, and nothing is left behind."""
    assert compare.main(["nowhere", str(ROOT), "--dir", str(tmp_path)]) == 1
    assert "nowhere is no folder, and no revision" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# A valgrind that runs the program and counts a thousand instructions for each mark it sets.
VALGRIND = """#!{python}
import os, sys
counts, program = sys.argv[2].partition("=")[2], sys.argv[6:]
marks = []
os.getpriority = lambda *_: marks.append(1000 * len(marks))
sys.argv = program[2:]
exec(program[2])
with open(counts, "w") as file:
    file.writelines(f"totals: {{count}}\\n" for count in [*marks, 0])
"""


@pytest.mark.skipif(os.name == "nt", reason="no valgrind there")
def test_instructions_are_those_between_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what valgrind counts, each verb gets its own part, without the first calls."""
    tool = tmp_path / "valgrind"
    tool.write_text(VALGRIND.format(python=sys.executable))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    report = instructions.compare(str(ROOT), str(ROOT), str(tmp_path), calls=2)
    counts = {"put": "2,000", "get": "2,500", "task_done": "3,000"}
    assert report.rows == [
        [f"{kind}: {verb}", count, count, "1.00", ""]
        for kind in ("Queue", "SQLiteQueue", "AsyncQueue")
        for verb, count in counts.items()
    ]


def test_instructions_without_valgrind_name_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compare.main([str(ROOT), str(ROOT), "--instructions", "--dir", str(tmp_path)]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().err


# -- parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_a_table_without_rows(name: str) -> None:
    """A report in which nothing was measured is a table too."""
    assert "count" in FORMATS[name](Report({"count": 1}, ("A", "B")))


def test_progress_in_a_log_is_a_line_per_tenth() -> None:
    """Where stderr is no terminal the bar writes ten lines, however many steps there are."""
    log = io.StringIO()
    with Progress(200, log) as bar:
        for _ in range(200):
            bar.step("x")
    assert len(log.getvalue().splitlines()) == 10
    assert "\r" not in log.getvalue()


def test_progress_on_a_terminal_is_wiped_out() -> None:
    """On a terminal one line is redrawn, and blank at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with Progress(2, terminal) as bar:
        bar.step()
        bar.step("last")
    assert "\n" not in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r" + " " * 79 + "\r")


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:27 / /tmp rw,nosuid shared:4 - tmpfs tmpfs rw
31 22 8:1 / /mnt/my\\040disk rw - xfs /dev/sda rw
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mountinfo is Linux's")
@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/a", "ext4"), ("/tmp/a", "tmpfs"), ("/tmpfiles", "ext4"), ("/mnt/my disk/q", "xfs")],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    """The longest mount point that holds the path decides."""
    assert report.mounted_at(path, MOUNTS) == kind
