"""Producers and consumers that are killed with kill -9, again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashdisk import contents, watchdog
from slaughter import AsyncBoth, AsyncConsumers, AsyncProducers, Slaughter, audit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(600):
        yield


KINDS = {
    "sync": Slaughter,
    "async to sync": AsyncProducers,
    "sync to async": AsyncConsumers,
    "async": AsyncBoth,
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def check(
    path: Path,
    rounds: int,
    durability: str,
    producers: int,
    consumers: int,
    autosave: bool,
    kind: type[Slaughter] = Slaughter,
) -> None:
    """Kill everybody in each round; then look for what is lost, double or out of order."""
    slaughter = kind(path, durability, autosave, seed=rounds)
    for _ in range(rounds):
        slaughter.round(producers, consumers)
    audit(slaughter, contents(path), rounds * consumers)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_producer_and_consumer(tmp_path: Path, durability: str) -> None:
    """What put has acknowledged survives kill -9, in order, until task_done."""
    check(tmp_path / "queue", 6, durability, producers=1, consumers=1, autosave=False)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_several_producers(tmp_path: Path, durability: str) -> None:
    """Several producers may be killed at the same time, in the middle of each other's puts."""
    check(tmp_path / "queue", 3, durability, producers=3, consumers=1, autosave=False)


def test_autosave_consumers(tmp_path: Path) -> None:
    """Consumers with autosave get nothing twice, and lose one item each to a kill -9 at the most."""
    check(tmp_path / "queue", 3, "process", producers=2, consumers=2, autosave=True)


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("kind", [AsyncProducers, AsyncConsumers, AsyncBoth])
def test_event_loops(tmp_path: Path, kind: type[Slaughter], durability: str) -> None:
    """What an async put has acknowledged survives kill -9 as well, whoever consumes."""
    check(tmp_path / "queue", 3, durability, producers=1, consumers=1, autosave=False, kind=kind)


def test_event_loops_that_autosave(tmp_path: Path) -> None:
    """Async consumers with autosave get nothing twice, and lose one item each at the most."""
    check(tmp_path / "queue", 2, "process", 2, consumers=2, autosave=True, kind=AsyncBoth)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_at_length(tmp_path: Path, kind: type[Slaughter], durability: str, autosave: bool) -> None:
    """Many rounds of kill -9 lose nothing that was acknowledged."""
    rounds = 100 if kind is Slaughter else 30  # a loop takes a while to start
    check(tmp_path / "queue", rounds, durability, 3, 1 + autosave, autosave, kind)
