"""What README.rst, the pages in docs/ and the recipes in examples/ show is what happens."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks_of
from redis_server import shared
from waiting import until

from persistqueue import JobQueue

PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
REDIS = "redis://localhost:6379/0"  # in a block it stands for the tests' server
LANGUAGES = {"python", "console", "text"}  # console and text are read, not run
#: No first cell ends like this, unless it goes on in the next row.
_GOES_ON = re.compile(r"(,|\b(a|an|and|be|is|of|or|the|to))\s*$")
_PRINTS = re.compile(r"\bprint\(.*\)  # (.+)")

#: example -> what it prints last
EXAMPLES = {
    "bot.py": "fire in the kitchen; good morning; lunch is ready; water the flowers",
    "broker_batches.py": "1000 processed, 10 failed, 0 left",
    "broker_sync_and_async.py": "from a thread; from a plain queue",
    "crawler.py": "3 pages; dead: http://localhost:1/gone",
    "cron.py": "3 reports, 3 different ones",
    "graceful_shutdown.py": "3 jobs done, 7 wait for the next start",
    "journal_engine.py": "6 items after a restart, the oldest is 4",
    "producers_and_consumers.py": "60 jobs done, 60 different ones, 3 failed once",
    "sensor.py": "950 values in 10 uploads",
    "several_processes.py": "150 items put, 150 got, 150 different ones",
    "sync_producer.py": "5000 events shipped, 0 left, at most 250 at a time",
    "timeouts.py": "8 accepted, 2 sent away, 8 done",
    "typed_jobs.py": "Ping(host='localhost')",
}
#: example -> packages that this one does not bring
NEEDS = {"typed_jobs.py": ("msgspec", "pydantic")}

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
    for package in NEEDS.get(example, ()):
        pytest.importorskip(package)
    done = run(ROOT / "examples" / example, tmp_path)
    assert (0, "") == (done.returncode, done.stderr)
    assert EXAMPLES[example] == done.stdout.splitlines()[-1]


def listens(port: int) -> bool:
    """Return whether a server is there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_mails_survive_the_end_of_their_web_application(tmp_path: Path) -> None:
    """SIGTERM while 8 are being sent: the server ends in time, and all 8 are ready again."""
    for package in ("uvicorn", "starlette"):
        pytest.importorskip(package)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "mail_outbox:app", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")])},
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: listens(port))
        for takes in (0, *[60] * 8):
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", f"/order?takes={takes}")
            assert 202 == connection.getresponse().status
            connection.close()
        with JobQueue[dict[str, str]](tmp_path / "shop.db", "mails") as mails:
            until(lambda: mails.stats() == (0, 0, 8, 0, None, None))
            server.send_signal(signal.SIGTERM)
            began = time.monotonic()
            server.communicate(timeout=60)
            assert time.monotonic() - began < 30
            jobs = mails.take_many(9)
            assert [("60", 1)] * 8 == [(job.item["takes"], job.attempt) for job in jobs]
            assert (0, 0, 8, 0) == mails.stats()[:4]
    finally:
        server.kill()
        server.communicate()


def test_every_example_is_tested() -> None:
    """demo.py has tests of its own."""
    assert {*EXAMPLES, "demo.py", "mail_outbox.py"} == {
        path.name for path in (ROOT / "examples").glob("*.py")
    }


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
