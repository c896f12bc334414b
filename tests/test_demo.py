"""The demonstration: it passes because nothing is lost, and would notice if something were."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

import demo

EXAMPLES = Path(demo.__file__).parent
# It ends with its items; the seconds are for a machine that is busy.
SHORT = ["--seconds", "20", "--items", "2000", "--kills", "4", "--durability", "process"]
GOOD = demo.Result(
    put=9, lost=0, twice=1, unnoted=1, left=0, producer_kills=1, consumer_kills=1, seconds=1.0
)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_run_loses_nothing(durability: str) -> None:
    """Producers and the consumer are killed, and every acknowledged item is processed."""
    command = [sys.executable, str(EXAMPLES / "demo.py"), *SHORT, "--durability", durability]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "lost 0," in done.stdout
    assert " 4 kills with " in done.stdout
    assert "(2 of producers, 2 of the consumer)" in done.stdout


def test_a_planted_loss_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An item that a producer noted and nobody processed is lost, and the status says so."""
    (tmp_path / "put-p9.000.log").write_text("p9.000:00000000\n", newline="")
    assert demo.demonstrate(demo.parser().parse_args(SHORT), tmp_path) == 1
    assert "lost 1," in capsys.readouterr().out


def test_every_producer_takes_part(tmp_path: Path) -> None:
    """Both kinds put into the same queue, and the logs of a run can be kept."""
    options = ["--seconds", "20", "--items", "6000", "--kills", "2", "--dir", str(tmp_path)]
    command = [sys.executable, str(EXAMPLES / "demo.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    put = {name: [*tmp_path.glob(f"put-{name}.*.log")] for name in demo.PRODUCERS}
    assert all(any(log.stat().st_size for log in logs) for logs in put.values())


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    """Logs of an earlier run would be counted again: the directory must be empty."""
    (tmp_path / "put-p1.000.log").touch()
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_logs_are_compared_item_by_item() -> None:
    """Lost is what was acknowledged and never processed; twice counts every further delivery."""
    found = demo.check(["a", "b", "c"], ["a", "a", "a", "b", "x"])
    assert found == {"put": 3, "lost": 1, "twice": 2, "unnoted": 1}


def test_a_line_that_was_cut_short_is_no_item(tmp_path: Path) -> None:
    """A process that was killed while it wrote a line has not noted that item."""
    (tmp_path / "put-p1.000.log").write_text("p1.000:00000000\np1.000:0000", newline="")
    assert demo.read(tmp_path, "put") == ["p1.000:00000000"]


@pytest.mark.parametrize(
    ("wrong", "good"),
    [
        ({}, True),
        ({"twice": 50}, True),
        ({"lost": 1}, False),
        ({"left": 1}, False),
        ({"unnoted": demo.TASKS}, True),
        ({"unnoted": demo.TASKS + 1}, False),
        ({"put": 0}, False),
    ],
)
def test_what_is_good(wrong: dict[str, int], good: bool) -> None:
    """Twice is at least once; lost, left over, made up by somebody, or nothing at all is not."""
    assert replace(GOOD, **wrong).good is good
