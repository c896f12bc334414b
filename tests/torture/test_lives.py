"""A random life of every class: a state machine with crashes, kills and restarts as steps.

The model is what a person would write down: which items are stored, in order, and which
of them this object has handed out.  ``test_model`` and the SQL tests know more of single
classes; this one asks the same of all.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cases import Case, tortured
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from persistqueue import Empty


class Life(RuleBasedStateMachine):
    """One path, opened again and again; items are lists of one number."""

    case: Case

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.stored: list[int] = []  # in the order of their puts
        self.held: list[Any] = []  # items that this object handed out
        self.next = 0
        self.q = self.case.open(self.folder / "q")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.q.close()
            shutil.rmtree(self.folder)

    def waiting(self) -> list[int]:
        """Return what can be taken, first what comes first."""
        out = {item[0] for item in self.held}
        left = [number for number in self.stored if number not in out]
        return left[::-1] if self.case.newest_first else left

    # -- what callers do ------------------------------------------------------------

    @rule()
    def put(self) -> None:
        self.q.put([self.next])
        self.stored.append(self.next)
        self.next += 1

    @rule(number=st.integers(1, 9))
    def put_many(self, number: int) -> None:
        new = list(range(self.next, self.next + number))
        self.q.put_many([[n] for n in new])
        self.stored += new
        self.next += number

    @rule(most=st.integers(1, 6))
    def get_many(self, most: int) -> None:
        expected = self.waiting()[:most]
        if not expected:
            with pytest.raises(Empty):
                self.q.get(block=False)
            return
        taken = self.q.get_many(most)
        assert [[number] for number in expected] == taken
        if self.case.at_most_once:
            self.stored = [number for number in self.stored if number not in expected]
        else:
            self.held += taken

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 9))
    def finish(self, pick: int) -> None:
        item = self.held.pop(pick % len(self.held))
        self.case.finish(self.q, item)
        self.stored.remove(item[0])

    @rule()
    def sync(self) -> None:
        self.q.sync()

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        """Close and open again; after a crash, in a copy of what is on the disk."""
        was = self.folder / "q"
        if crash:  # as a process that was killed leaves it
            shutil.copytree(was, self.folder / "copy")
        self.held = []
        self.q.close()
        if crash:
            shutil.rmtree(was)
            (self.folder / "copy").rename(was)
        self.q = self.case.open(was)

    @invariant()
    def the_count_is_exact(self) -> None:
        if hasattr(self, "q"):
            assert len(self.waiting()) == self.q.qsize()


@tortured(["AsyncQueue-task_done", "SQLiteQueue-get", "AsyncUniqueAckQ-ack"], 4, 120)
def test_a_random_life(case: Case, amount: int, figures: Any) -> None:
    """Delivered and still stored are together what was put, in order, after any steps."""
    run_state_machine_as_test(
        type("Machine", (Life,), {"case": case}),
        settings=settings(
            max_examples=amount,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures(lives=amount)
