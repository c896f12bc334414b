"""The directory is exchanged under a queue that is in use: nothing acknowledged is lost by it.

A link is flipped, the directory is moved away or removed, and another queue takes its name,
at each call to the disk.  The other queue must stay as it is until the object says that its
own is gone, and opens that one anew.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import ON_DISK, NumberedDisk, contents, drain, files_of, unsynced
from own_serializers import Lines

from persistqueue import Queue, QueueFailed, serializers
from persistqueue._core import folder
from persistqueue._core import patience as reopening

needs_links = pytest.mark.skipif(os.name == "nt", reason="what is open cannot be moved there")
pytestmark = needs_links

CHUNKSIZE = 2


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    """A directory in memory where that can be had: nothing here needs the disk itself."""
    return memory


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Let every call reopen a queue that has failed; a hundred warnings are expected."""
    monkeypatch.setattr(reopening, "PAUSE", 0.0)
    caplog.set_level(logging.ERROR, "persistqueue")


@pytest.fixture(params=["by descriptor", "by path"])
def named(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find files from the open directory, and by their paths as where that cannot be done."""
    monkeypatch.setattr(folder, "RELATIVE", request.param == "by descriptor" and folder.RELATIVE)


class Exchanging(NumberedDisk):
    """Calls ``exchange`` before one of the calls to the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.at = -1  # which call, counted from when it was set
        self.exchange: Callable[[], object] = lambda: None

    def count(self) -> None:
        """Begin to count."""
        self.calls, self.names_called = 0, []

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        if self.calls == self.at:
            self.exchange()
        return call(*args, **options)


def flip(path: Path, other: Path) -> Path:
    """Let the link lead to the other queue; return where the first one is now."""
    first = path.resolve()
    path.with_name("new").symlink_to(other)
    path.with_name("new").replace(path)
    return first


def move(path: Path, other: Path) -> Path:
    """Give the other queue's directory the name of the first one's."""
    away = path.with_name("away")
    path.rename(away)
    other.rename(path)
    return away


WAYS = {"a link is flipped": flip, "moved away": move}


class Scene:
    """A queue in use, another one that will take its name, and the disk of the first."""

    def __init__(self, place: Path, way: str, family: str, **options: Any) -> None:
        self._serializer = options.get("serializer", serializers.pickle)
        self.path, self.other, self.disk = place / "path", place / "other", Exchanging()
        with unsynced(self.other, chunksize=CHUNKSIZE, serializer=self._serializer) as queue:
            queue.put_many([f"theirs {number}" for number in range(20)])
        if way == "a link is flipped":
            (place / "first").mkdir(parents=True)
            self.path.symlink_to(place / "first")
        self._way, self.first = way, self.path
        self.disk.exchange = self._exchange
        self.queue = ON_DISK[family](self.disk)(self.path, chunksize=CHUNKSIZE, **options)
        self.queue.put_many(["ours 0", "ours 1", "ours 2"])

    def _exchange(self) -> None:
        self.theirs = files_of(self.other)
        self.first = WAYS[self._way](self.path, self.other)

    @property
    def exchanged(self) -> bool:
        return self.first is not self.path

    def at(self, call: int) -> None:
        """Exchange the directories before that call to the disk."""
        self.disk.count()
        self.disk.at = call

    def left(self) -> list[Any]:
        """Return what the first queue holds."""
        return contents(self.first, serializer=self._serializer)

    def check_other(self) -> None:
        """The other queue is as it was."""
        assert self.theirs == files_of(self.path)


def put_until_it_fails(queue: Any) -> list[str]:
    """Put until the queue says that its directory is gone; return what it took until then."""
    taken: list[str] = []
    while True:
        try:
            queue.put("elsewhere")
        except QueueFailed as error:
            assert "removed or replaced" in str(error)
            return taken
        taken.append("elsewhere")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ON_DISK)
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("serializer", ["pickle", "lines"])
@pytest.mark.usefixtures("named")
def test_put_while_the_directory_is_exchanged(
    tmp_path: Path, way: str, family: str, durability: str, serializer: str
) -> None:
    """A put is in its own queue or has raised; at "power" it is where the path leads, or has raised."""
    format_: Any = Lines() if serializer == "lines" else serializers.pickle
    new = ["new 0", "new 1", "new 2", "new 3"]
    outcomes: list[bool] = []
    while True:
        call = len(outcomes) + 1
        scene = Scene(tmp_path / str(call), way, family, durability=durability, serializer=format_)
        scene.at(call)
        try:
            scene.queue.put_many(new)
        except QueueFailed:
            outcomes.append(False)
        else:
            outcomes.append(True)
        if not scene.exchanged:
            scene.queue.close()
            break
        assert durability == "process" or not outcomes[-1], "it was acknowledged"
        scene.check_other()
        later = put_until_it_fails(scene.queue) if outcomes[-1] else []
        scene.check_other()
        left = scene.left()
        # What was replaced cannot be put back where the directory is found by its path only.
        done = outcomes[-1] or (not folder.RELATIVE and serializer == "lines" and "new 0" in left)
        assert ["ours 0", "ours 1", "ours 2", *(new if done else []), *later] == left
        scene.queue.put("last")  # where the path leads now
        assert "last" == drain(scene.queue)[-1]
        scene.queue.close()
    assert len(outcomes) > 4
    assert not all(outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ON_DISK)
def test_what_is_in_hand_settles_nothing_in_another_queue(
    tmp_path: Path, way: str, family: str
) -> None:
    """Items of a directory that is gone are still there, and finishing them finishes no others."""
    scene = Scene(tmp_path, way, family)
    items = scene.queue.get_many(2)
    with scene.queue.process() as third:
        scene.disk.exchange()
        put_until_it_fails(scene.queue)
        assert 20 == scene.queue.qsize()
    scene.queue.task_done(item=items[1])
    scene.queue.task_done()
    assert "theirs 0" == scene.queue.get()
    scene.queue.task_done()
    assert [f"theirs {number}" for number in range(1, 20)] == contents(scene.path)
    assert [*items, third] == scene.left()
    scene.queue.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ON_DISK)
def test_what_is_given_back_with_autosave_goes_where_the_path_leads(
    tmp_path: Path, way: str, family: str
) -> None:
    """An item that is stored nowhere any more comes next, and is stored when the queue is closed."""
    scene = Scene(tmp_path, way, family, autosave=True)
    with suppress(ZeroDivisionError), scene.queue.process() as item:
        scene.disk.exchange()
        put_until_it_fails(scene.queue)
        assert 20 == scene.queue.qsize()
        raise ZeroDivisionError
    assert (item, 21) == (scene.queue.peek(), scene.queue.qsize())
    scene.queue.close()
    assert [*(f"theirs {number}" for number in range(20)), item] == contents(scene.path)


@pytest.mark.parametrize("family", ON_DISK)
def test_a_removed_directory_is_not_made_again(tmp_path: Path, family: str) -> None:
    """Every call says that it is gone; when one is there again, the next call opens it."""
    scene = Scene(tmp_path, "moved away", family)
    shutil.rmtree(scene.path)
    put_until_it_fails(scene.queue)
    for _ in range(3):
        with pytest.raises(QueueFailed, match=r"to reopen the queue failed, too.*No such file"):
            scene.queue.qsize()
        assert not scene.path.exists()
    scene.other.rename(scene.path)
    assert 20 == scene.queue.qsize()
    scene.queue.close()


def test_what_the_last_commit_stored_stays_when_the_queue_is_opened_anew(tmp_path: Path) -> None:
    """A chunk that it had just filled is not taken for one that is to be cut."""
    with Queue(tmp_path, chunksize=1, durability="process") as queue:
        queue.put("here")
        (tmp_path / ".lock").unlink()
        later = put_until_it_fails(queue)
        assert ["here", *later] == queue.get_many(1000)


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("family", ON_DISK)
def test_a_lock_that_a_cleaner_removed(tmp_path: Path, family: str, durability: str) -> None:
    """Two would hold "the" lock: so it is opened anew; what is in hand is still in hand."""
    scene = Scene(tmp_path, "moved away", family, durability=durability)
    assert "ours 0" == scene.queue.get()
    (scene.path / ".lock").unlink()
    later = put_until_it_fails(scene.queue)
    scene.queue.put("more")
    assert ["ours 1", "ours 2", *later, "more"] == drain(scene.queue)
    assert 4 + len(later) == scene.queue.unfinished_tasks
    scene.queue.task_done(4 + len(later))
    assert [] == contents(scene.path)
    scene.queue.close()
