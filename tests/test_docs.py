"""What README.rst, the pages in docs/ and the recipes in examples/ show is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks_of
from redis_server import shared

PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
REDIS = "redis://localhost:6379/0"  # in a block it stands for the tests' server
LANGUAGES = {"python", "console", "text"}  # console and text are read, not run
#: No first cell ends like this, unless it goes on in the next row.
_GOES_ON = re.compile(r"(,|\b(a|an|and|be|is|of|or|the|to))\s*$")
_PRINTS = re.compile(r"\bprint\(.*\)  # (.+)")

#: example -> what it prints last
EXAMPLES = {
    "broker_batches.py": "1000 processed, 10 failed, 0 left",
    "broker_dead_letters.py": "9 done, [4] failed for good",
    "broker_outbox.py": "2 orders, 2 messages",
    "broker_priorities.py": "fire, mail, sweep, dust",
    "broker_sync_and_async.py": "from a thread; from a plain queue",
    "graceful_shutdown.py": "3 jobs done, 7 wait for the next start",
    "journal_engine.py": "6 items after a restart, the oldest is 4",
    "producers_and_consumers.py": "60 jobs done, 60 different ones, 3 failed once",
    "several_processes.py": "150 items put, 150 got, 150 different ones",
    "sync_producer.py": "5000 events shipped, 0 left, at most 250 at a time",
    "timeouts.py": "8 accepted, 2 sent away, 8 done",
    "worker_pool.py": "0 jobs left, failed for good: [7]",
}


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def run(script: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would, with every warning an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "block", [pytest.param(b, id=b.name) for b in BLOCKS if b.language == "python"]
)
def test_a_block_runs_and_prints_what_it_says(block: Block, tmp_path: Path) -> None:
    """A block is a whole program; ``print(...)  # x`` prints x."""
    script = tmp_path / "block.py"
    code = block.code
    if REDIS in code:
        code = code.replace(REDIS, shared().url)
    script.write_text("\n" * (block.line - 1) + code, encoding="utf-8")
    done = run(script, tmp_path)
    assert (0, "") == (done.returncode, done.stderr)
    if expected := _PRINTS.findall(block.code):
        assert expected == done.stdout.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """No page has a literal block without a language, or in one that nobody checks."""
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    text = page.read_text(encoding="utf-8")
    literal = [line for line in text.splitlines() if line.endswith("::") and ".. " not in line]
    assert [] == literal


def test_the_pages_have_blocks() -> None:
    """The parser finds them: README, the guide and the asyncio page have several each."""
    python = [block.page.name for block in BLOCKS if block.language == "python"]
    assert python.count("README.rst") >= 2
    assert python.count("asyncio.rst") >= 5
    assert python.count("guide.rst") >= 10


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works(example: str, tmp_path: Path) -> None:
    """A recipe runs from anywhere, with the directory as its argument."""
    done = run(ROOT / "examples" / example, tmp_path)
    assert (0, "") == (done.returncode, done.stderr)
    assert EXAMPLES[example] == done.stdout.splitlines()[-1]


def test_every_example_is_tested() -> None:
    """demo.py has tests of its own."""
    assert {*EXAMPLES, "demo.py"} == {path.name for path in (ROOT / "examples").glob("*.py")}


def test_readme_is_whole_restructuredtext() -> None:
    """PyPI shows README.rst as it is only when docutils finds nothing wrong with it."""
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "report_level": 2, "syntax_highlight": "none"}
    for page in (ROOT / "README.rst", ROOT / "CHANGELOG.rst"):
        core.publish_string(page.read_text(encoding="utf-8"), settings_overrides=settings)


class Rows(HTMLParser):
    """The rows of all tables, as their readers see them: a list of texts each."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.rst"], ids=lambda page: page.name)
def test_no_cell_of_a_table_goes_on_in_a_row_of_its_own(page: Path) -> None:
    """A first cell that is wrapped in a simple table is two rows for its readers."""
    core = pytest.importorskip("docutils.core")
    writer = pytest.importorskip("docutils.writers.html5_polyglot").Writer()
    settings = {"report_level": 5, "syntax_highlight": "none"}  # Sphinx's roles are unknown here
    text = page.read_text(encoding="utf-8")
    html = core.publish_string(text, writer=writer, settings_overrides=settings)
    parser = Rows()
    parser.feed(html.decode())
    torn = [
        row
        for row in parser.rows
        if not all(cell.strip() for cell in row) or _GOES_ON.search(row[0])
    ]
    assert [] == torn


@pytest.mark.slow
def test_the_documentation_builds(tmp_path: Path) -> None:
    """Sphinx finds no broken reference and no malformed page."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs"]
    done = subprocess.run(
        [*command, str(tmp_path / "html"), "-d", str(tmp_path / "doctrees")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
