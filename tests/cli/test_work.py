"""``python -m persistqueue work``: a function for each job, in one process or several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT
from waiting import until

from persistqueue import JobQueue
from persistqueue.__main__ import main

HANDLERS = """
import asyncio, os, time

def _note(item):
    with open("done.txt", "a") as file:
        file.write(f"{item} {os.getpid()}\\n")

def plain(item):
    if item == "slow":
        _note("began")
        time.sleep(60)
    _note(item)

async def coroutine(item):
    if item == "slow":
        _note("began")
        await asyncio.sleep(60)
    _note(item)

def strict(item):
    {}[item]

class Mail:
    @staticmethod
    def send(item):
        _note(item)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts the command in the folder of a test."""
    begun: list[subprocess.Popen[str]] = []

    def command(*arguments: object) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "persistqueue", "work", *map(str, arguments)],
                cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return begun[-1]

    yield command
    for process in begun:
        process.kill()
        process.communicate()


def done(place: Path) -> list[list[str]]:
    """Return what handlers have noted, and in which process."""
    file = place / "done.txt"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("function", ["plain", "coroutine", "Mail.send"])
def test_a_function_is_called_for_each_job_until_sigterm(
    place: Path, start: Start, function: str
) -> None:
    with JobQueue[str](place / "app.db", "mail") as q:
        q.put_many(["a", "b", "c"])
        process = start(f"handlers:{function}", "sqlite:app.db?name=mail", "--concurrency", 2)
        until(lambda: len(done(place)) == 3)
        q.join()
        process.terminate()
        assert ("", "") == process.communicate(timeout=20)
        assert 0 == process.returncode
    assert ["a", "b", "c"] == sorted(item for item, _ in done(place))


@pytest.mark.parametrize("function", ["plain", "coroutine"])
def test_what_runs_at_the_end_is_ready_again(place: Path, start: Start, function: str) -> None:
    """After ``--grace``; its attempt is not counted."""
    with JobQueue[str](place / "app.db") as q:
        q.put("slow")
        process = start(f"handlers:{function}", "app.db", "--grace", 0.2)
        until(lambda: len(done(place)) == 1)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=20)
        assert 0 == process.returncode
        assert time.monotonic() - began < 10
        with q.job(timeout=0) as job:
            assert ("slow", 1) == (job.item, job.attempt)


def test_several_processes_of_which_one_dies(place: Path, start: Start) -> None:
    """It is started again; the job that it held goes to another one."""
    with JobQueue[str](place / "app.db") as q:
        q.put_many(map(str, range(20)))
        process = start("handlers:plain", "app.db", "--processes", 2, "--grace", 0.1)
        until(lambda: len(done(place)) == 20)
        q.put("slow")
        until(lambda: len(done(place)) == 21)
        os.kill(int(done(place)[-1][1]), signal.SIGKILL)
        until(lambda: len(done(place)) == 22)  # elsewhere
        assert process.stderr is not None
        assert "a worker process ended with status -9" in process.stderr.readline()
        process.terminate()
        process.communicate(timeout=20)
        assert 0 == process.returncode
        assert (1, 0, 0, 0) == q.stats()[:4]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
def test_no_process_outlives_the_terminal(place: Path, start: Start) -> None:
    with JobQueue[str](place / "app.db") as q:
        q.put("slow")
        process = start("handlers:plain", "app.db", "--processes", 2, "--grace", 0.1)
        until(lambda: len(done(place)) == 1)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
        assert 0 == process.returncode
        assert (1, 0, 0, 0) == q.stats()[:4]


def test_a_handler_that_fails_is_logged(place: Path, start: Start) -> None:
    with JobQueue[Any](place / "app.db") as q:
        q.put(["no text that could be looked up"], max_attempts=1)
        process = start("handlers:strict", "app.db")
        q.join()
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert "a handler failed" in errors
        assert "TypeError: unhashable" in errors
        assert 1 == q.stats().dead


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["handlers", "app.db"], "module:function"),
        (["handlers:none", "app.db"], "no none"),
        (["handlers:os.sep", "app.db"], "cannot be called"),
        (["handlers:plain", "redis://localhost/0?name=a"], "SQLite"),
        (["nowhere:plain", "app.db"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(place)
    assert main(["work", *arguments]) in (1, 2)
    assert text in capsys.readouterr().err
    assert not (place / "app.db").exists()
