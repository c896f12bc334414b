"""Disk calls that fail, and what a file queue has to make of it.

A script of ``crashdisk`` is run once for each of its calls to the disk; that one goes wrong.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import (
    CHUNKSIZE,
    Driver,
    Fault,
    FaultyDisk,
    Model,
    NumberedDisk,
    Step,
    contents,
    copied,
    descriptors,
    drain,
    on_disk,
    unsynced,
)
from waiting import until

from persistqueue import QueueFailed
from persistqueue._core import patience
from persistqueue._core.disk import Disk, File, SyncError
from persistqueue.engines import MemoryEngine

Family = Callable[[Disk], Any]  #: makes a class of queues on a disk


def calls_of(
    script: list[Step], path: Path, autosave: bool, family: Family = on_disk, **options: Any
) -> list[str]:
    """Return the names of the disk calls that a script comes to."""
    disk = NumberedDisk()
    driver = Driver(family(disk), path, Model(autosave), **options)
    for step in script:
        driver.run(step)
    return disk.names_called


class Failing:
    """Runs a script in which one disk call goes wrong, and checks what is left.

    When the trouble is over the object is used on, or, with ``anew``, another one is opened.
    """

    def __init__(
        self,
        path: Path,
        fault: Fault,
        autosave: bool,
        interrupt: bool,
        family: Family = on_disk,
        anew: bool = False,
        **options: Any,
    ) -> None:
        self._path = path
        self._serializer = options["serializer"]
        self._interrupt = interrupt
        self._anew = anew
        self._disk = FaultyDisk(fault, KeyboardInterrupt if interrupt else None)
        self._driver = Driver(family(self._disk), path, Model(autosave), **options)
        self._driver.short = lambda: self._disk.ails or self._disk.calls >= fault.at > self._calls
        self._calls = 0  # when the step began

    def run(self, script: list[Step]) -> None:
        """Run the whole script, then see what a new process finds."""
        try:
            for step in script:
                self._step(step)
        finally:
            self._disk.heal()
            self._driver.close()
        assert contents(self._path, serializer=self._serializer) == self._driver.model.stored

    def _step(self, step: Step) -> None:
        self._calls = self._disk.calls
        try:
            self._driver.run(step)
        except (OSError, KeyboardInterrupt) as error:
            assert self._disk.hit, "a call failed before its disk did"
            assert isinstance(error, KeyboardInterrupt) == self._interrupt
            if self._disk.fault.how.endswith("rest") and step.verb not in ("open", "close"):
                self._while_it_lasts()
            self._disk.heal()
            self._after_failure(step)

    def _while_it_lasts(self) -> None:
        """Whatever is called now raises, and nothing hangs."""
        queue = self._driver.queue
        assert queue is not None
        for call in (queue.qsize, queue.sync, lambda: queue.put("never")):
            with pytest.raises((OSError, QueueFailed)):
                call()

    def _after_failure(self, step: Step) -> None:
        driver, model = self._driver, self._driver.model
        if step.verb == "open":
            driver.run(step)
        elif step.verb == "close":
            model.apply(step)
        elif self._interrupt and step.verb.startswith("get") and model.autosave:
            # All is given back; what is in no chunk any more, in memory only.
            assert driver.queue is not None
            assert drain(driver.queue) == model.stored
            model.stored.clear()
        else:
            self._go_on(step)

    def _go_on(self, step: Step) -> None:
        """Use the object on, or close it and open another, and see that the step did nothing.

        What an interrupted one did, nobody can know.
        """
        driver = self._driver
        if self._anew:
            driver.close()
        else:
            assert driver.queue is not None
            driver.queue.qsize()
        done = self._follow(step, either=self._interrupt)
        if self._anew:
            driver.run(Step("open"))
        elif step.verb in ("task_done", "finish") and not done:
            driver.run(step)
        assert driver.queue is not None
        assert driver.queue.qsize() == len(driver.model.waiting())

    def _follow(self, step: Step, either: bool) -> bool:
        """Look what is stored: nothing of the step, or all of it if nobody can know.

        Returns:
            whether it is stored.
        """
        before = self._driver.model
        with copied(self._path) as twin:
            stored = contents(twin, serializer=self._serializer)
        if stored != before.stored:
            assert either, "a call failed, and something of it is stored"
            after = before.copy()
            after.apply(step)
            assert stored == after.stored
            self._driver.model = after
            return True
        before.skip(step)
        return False


class FailingBesideAnother(Failing):
    """Another object on the path, opened just before, puts an item after the failure."""

    def _step(self, step: Step) -> None:
        with unsynced(self._path, serializer=self._serializer, chunksize=CHUNKSIZE) as other:
            before = self._disk.hit
            super()._step(step)
            if self._disk.hit and not before:
                other.put("beside")
                self._driver.model.stored.append("beside")


def check_failures(
    path: Path,
    script: list[Step],
    hows: tuple[str, ...],
    autosave: bool,
    interrupt: bool = False,
    kind: type[Failing] = Failing,
    family: Family = on_disk,
    errors: tuple[int, ...] = (errno.EIO, errno.ENOSPC),
    anew: int = 0,
    moments: range = range(1, 10_000),
    **options: Any,
) -> int:
    """Run a script once for each of its disk calls, in which that call goes wrong.

    By turns the object is used on, and another one is opened.

    Args:
        hows: in which ways (see ``Fault``).
        errors: by turns, what the disk says.
        anew: 0 or 1: which are used on.
        moments: numbers of the calls that go wrong.

    Returns:
        how many runs that were.
    """
    names = calls_of(script, path / "clean", autosave, family, **options)
    before = descriptors()
    problems, runs = [], 0
    for at, name in enumerate(names, 1):
        for how in hows:
            if at not in moments or (how.startswith("half") and name != "write"):
                continue
            runs += 1
            fault = Fault(at, how, errors[at % len(errors)])
            try:
                place = path / f"{at}-{how}"
                one = kind(
                    place, fault, autosave, interrupt, family, bool((at + anew) % 2), **options
                )
                one.run(script)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - goes into the report
                problems.append((at, name, how, repr(error)[:200]))
            if (now := _descriptors(before, family)) != before:
                problems.append((at, name, how, f"{now - before} descriptors stay open"))
                before = now
    assert not problems, "\n".join(map(str, problems))
    return runs


def _descriptors(expected: int, family: Family) -> int:
    """Return how many are open; those of an async queue that did not open go with its thread."""
    if family is on_disk:
        return descriptors()
    with contextlib.suppress(AssertionError):  # a thread that ends leaves garbage behind
        until(lambda: gc.collect() >= 0 and descriptors() <= expected)
    return max(descriptors(), expected)  # fewer: those of another test are gone by now


def stuff(place: Path) -> Path:
    """Fill a file system to the last byte; return the file that fills it."""
    ballast = place / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for piece in (4096, 1):
            try:
                while file.write(bytes(piece)):
                    pass
            except OSError as error:
                assert errno.ENOSPC == error.errno
    return ballast


@contextlib.contextmanager
def locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold a queue's lock as another process would, and make patience short."""
    fcntl: Any = pytest.importorskip("fcntl")
    monkeypatch.setattr(patience, "LOCK_PATIENCE", 0.05)  # else this lasts 10 s
    with open(path / ".lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class Unsynced(Disk):
    """A disk whose syncs fail from some time on."""

    broken = False

    def sync(self, file: File) -> None:
        if self.broken:
            raise SyncError(errno.EIO, os.strerror(errno.EIO), file.path)


class Uncounted(MemoryEngine):
    """An engine that does not say how many records it has."""

    def open(self) -> Any:
        super().open()
