"""Two objects that consume one queue without autosave: the one that finds out says so, once.

Each of the two gets every item.  What is said is certain: an item that an object had in hand
was finished by another one.  Nothing is said where no item was worked on twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import FILE_FAMILIES, MYSQL_FAMILIES, SQL_FAMILIES
from waiting import Interrupt

Open = Callable[..., Any]

_KINDS = ("FILOSQLiteQueue", "PriorityQueue", "SQLiteQueue", "UniqueQ")
FAMILIES = {
    **FILE_FAMILIES,
    **{
        name: family
        for name, family in SQL_FAMILIES.items()
        if name.removeprefix("Async") in _KINDS
    },
    **{name: family for name, family in MYSQL_FAMILIES.items() if "Ack" not in name},
}


@pytest.fixture(params=sorted(FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Open:
    """Opens a queue whose items are finished by task_done."""
    return FAMILIES[request.param]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_an_item_that_two_objects_worked_on_is_said_once(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The words name the way out; the object that finds out says them, the first time only."""
    with open_queue(path) as one, open_queue(path) as other:
        one.put_many(range(4))
        for _ in range(4):
            item = one.get(timeout=0)
            assert item == other.get(timeout=0)
            other.task_done()
            one.task_done()
    (warning,) = said(caplog)
    assert "SQLiteAckQueue" in warning
    assert "another object has finished an item that this one has in hand" in warning


def test_one_consumer_and_many_producers_are_nothing_to_speak_of(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is looking: the producers peek, and count."""
    with open_queue(path) as consumer, open_queue(path) as one, open_queue(path) as other:
        for n in range(6):
            one.put(n)
            other.put(10 + n)
            one.peek()
            for _ in range(2):
                consumer.get(timeout=0)
                other.qsize()
                consumer.task_done()
            assert 0 == other.qsize()
    assert [] == said(caplog)


def test_a_restart_is_nothing_to_speak_of(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was in hand at the end comes again, to one object."""
    with open_queue(path) as q:
        q.put_many(range(4))
        q.get()
        q.task_done()
        q.get()
    with open_queue(path) as q, open_queue(path) as producer:
        for _ in range(3):
            q.get(timeout=0)
            q.task_done()
            producer.put(9)
    assert [] == said(caplog)


def test_one_after_the_other_is_nothing_to_speak_of(
    open_queue: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An object has finished, or given back, what it took, before another one takes."""
    with open_queue(path) as one, open_queue(path) as other:
        one.put_many(range(6))
        for q in (one, other, one):
            q.get(timeout=0)
            q.task_done()
        with pytest.raises(Interrupt), one.process(timeout=0):
            raise Interrupt
        other.get(timeout=0)
        other.task_done()
        one.put(7)
        one.get(timeout=0)
        one.task_done()
    assert [] == said(caplog)
