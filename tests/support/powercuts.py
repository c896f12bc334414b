"""Losses of power: what a disk may hold after one, and what a queue on it has to hold.

A ``Platter`` is told every change to a directory, and which of them were synced.  It keeps
a ``Moment`` for each, from which the states that a power cut can leave are made: unsynced
writes dropped, torn at sectors, in another order; names missing.  Who tells it is a
``PowerDisk`` (below a file queue) or a recording of system calls (below SQLite).
The checks at the end run a script of ``crashdisk`` and open every state.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crashdisk import (
    CHANGES,
    CHUNKSIZE,
    LOOKS,
    Driver,
    Model,
    NumberedDisk,
    Step,
    contents,
    copied,
    drain,
    files_of,
    item_of,
    lay_out,
    on_disk,
    random_script,
    unsynced,
)

from persistqueue import Queue, QueueFailed, serializers
from persistqueue._core.disk import Disk, File, SyncError
from persistqueue._core.framing import framing_of

SECTOR = 512

# -- what is on the platter ---------------------------------------------------------


class Change(NamedTuple):
    """A write (``data`` at ``at``), or a truncation to ``at`` (``data`` is None)."""

    at: int
    data: bytes | None


class Inode:
    """A file's bytes: those on the platter, and changes that are in the cache only."""

    def __init__(self, durable: bytes = b"", pending: tuple[Change, ...] = ()) -> None:
        self.durable = durable
        self.pending = pending

    def sync(self) -> None:
        """Bring everything to the platter."""
        self.durable, self.pending = self.after(lambda at: True, len(self.pending)), ()

    def lose(self, chance: random.Random) -> None:
        """Forget what a flush that failed has not written; the cache goes on showing it."""
        survives, sizes = chance.choice((0.0, 0.5, 1.0)), chance.randint(0, len(self.pending))
        written = self.after(lambda at: chance.random() < survives, sizes)
        cuts = tuple(change for change in self.pending if not change.data)
        self.durable, self.pending = written, cuts  # lengths are the journal's

    def after(self, survives: Callable[[int], bool], sizes: int) -> bytes:
        """Return the bytes that a power cut leaves.

        Args:
            survives: whether a sector of a pending write reached the platter.
            sizes: how many of the pending changes reached the file's length.
        """
        data, size = bytearray(self.durable), len(self.durable)
        for number, change in enumerate(self.pending):
            if change.data is None:
                if number < sizes:
                    del data[change.at :]
                    size = change.at
                continue
            for start, piece in _sectors(change.at, change.data):
                if survives(start):
                    data.extend(bytes(max(start + len(piece) - len(data), 0)))
                    data[start : start + len(piece)] = piece
            if number < sizes:
                size = max(size, change.at + len(change.data))
        del data[size:]
        return bytes(data).ljust(size, b"\0")


def _sectors(at: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split bytes where the disk would."""
    end = at + len(data)
    while at < end:
        stop = min(at - at % SECTOR + SECTOR, end)
        yield at, data[: stop - at]
        at, data = stop, data[stop - at :]


class Moment(NamedTuple):
    """What platter and cache hold at a crash point.

    ``names`` are the directory's entries that are durable, ``renames`` the changes to
    them that are not, oldest first: a journal keeps their order.
    """

    step: int
    inodes: dict[int, Inode]
    names: dict[str, int]
    renames: tuple[tuple[str, int | None], ...]

    def files(self, chance: random.Random | None = None, share: float = 0.0) -> dict[str, bytes]:
        """Return the files that a power cut leaves.

        Args:
            chance: decides what of the cache reached the platter; None for nothing.
            share: how probable that is for a sector.
        """
        names = dict(self.names)
        for name, inode in self.renames[: chance.randint(0, len(self.renames)) if chance else 0]:
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        return {
            name: self._left(self.inodes[inode], chance, share) for name, inode in names.items()
        }

    def _left(self, inode: Inode, chance: random.Random | None, share: float) -> bytes:
        if chance is None or not inode.pending:
            return inode.after(lambda at: False, 0)
        sizes = chance.randint(0, len(inode.pending))
        return inode.after(lambda at: chance.random() < share, sizes)


class Platter:
    """Keeps what a loss of power at each change of a directory would leave.

    A write or truncation is volatile until its file is synced; a new name, a rename or a
    removal until the directory is.

    Attributes:
        step: set by whoever drives the queue; noted with each moment.
        moments: what was there before each change, and at the end of each step.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.step = 0
        self.moments: list[Moment] = []
        self._numbers = itertools.count()
        self._inodes: dict[int, Inode] = {}
        self._durable: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._renames: list[tuple[str, int | None]] = []
        for name, data in files.items():
            self._durable[name] = self._names[name] = number = next(self._numbers)
            self._inodes[number] = Inode(data)

    def note(self) -> None:
        """Keep what a loss of power would leave now."""
        inodes = {
            number: Inode(node.durable, node.pending) for number, node in self._inodes.items()
        }
        self.moments.append(Moment(self.step, inodes, dict(self._durable), tuple(self._renames)))

    def open(self, name: str) -> int:
        """Return the number of a file, which is created if it is missing."""
        if name not in self._names:
            self._bind(name, next(self._numbers))
            self._inodes[self._names[name]] = Inode()
        return self._names[name]

    def change(self, inode: int, at: int, data: bytes | None) -> None:
        """Write to a file; truncate it if ``data`` is None."""
        self._inodes[inode].pending += (Change(at, data),)

    def sync(self, inode: int) -> None:
        """Bring a file to the platter."""
        self._inodes[inode].sync()

    def lose(self, inode: int, chance: random.Random) -> None:
        """Drop what a flush that failed has not brought to the platter."""
        self._inodes[inode].lose(chance)

    def sync_names(self) -> None:
        """Bring the directory to the platter."""
        self._durable, self._renames = dict(self._names), []

    def replace(self, source: str, target: str) -> None:
        """Rename a file."""
        # One entry of the journal: both names change or none, so the new name goes last
        # and the old one, which no reader looks for, may stay behind.
        self._bind(target, self._names[source])
        self._bind(source, None)

    def unlink(self, name: str) -> None:
        """Remove a name, if it is there."""
        if name in self._names:
            self._bind(name, None)

    def _bind(self, name: str, inode: int | None) -> None:
        if inode is None:
            del self._names[name]
        else:
            self._names[name] = inode
        self._renames.append((name, inode))


class PowerDisk(NumberedDisk):
    """Does everything, and tells a platter.  Only what is in ``directory`` is looked at."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = str(directory)
        self.platter = Platter({path.name: path.read_bytes() for path in directory.glob("*")})
        self.synced: set[str] = set()  # directories
        self._open: dict[int, int] = {}  # descriptor -> inode

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        if name in CHANGES:
            self.platter.note()
        elif name not in LOOKS:
            raise NotImplementedError(f"say in powercuts.py what a loss of power does to {name}")
        done = call(*args, **options)
        follow = getattr(self, f"_{name}_done", None)
        if follow is not None:
            follow(done, *args, **options)
        return done

    def _open_done(self, file: File, path: str, **how: Any) -> None:
        self._open[file.fd] = self.platter.open(self._name(path))

    def _allocate_done(self, done: bool, file: File, size: int) -> None:
        if done:
            self.platter.change(self._open[file.fd], size, b"")

    def _write_done(self, done: None, file: File, data: bytes, offset: int) -> None:
        self.platter.change(self._open[file.fd], offset, data)

    def _truncate_done(self, done: None, file: File, size: int) -> None:
        self.platter.change(self._open[file.fd], size, None)

    def _sync_done(self, done: None, file: File) -> None:
        self.platter.sync(self._open[file.fd])

    def _sync_directory_done(self, done: None, path: str, folder: Any = None) -> None:
        self.synced.add(path)
        if path == self._directory:
            self.platter.sync_names()

    def _replace_done(self, done: None, source: str, target: str, folder: Any = None) -> None:
        self.platter.replace(self._name(source), self._name(target))

    def _unlink_done(self, done: None, path: str, folder: Any = None) -> None:
        self.platter.unlink(self._name(path))

    def _name(self, path: str) -> str:
        directory, name = os.path.split(path)
        assert directory == self._directory, f"{path} is outside of {self._directory}"
        return name


class LossyDisk(PowerDisk):
    """A disk whose flushes fail while ``broken``, and then never write what they were about.

    Names are different: a file system that cannot write its journal stops.
    """

    def __init__(self, directory: Path, seed: object) -> None:
        super().__init__(directory)
        self.broken = False
        self._chance = random.Random(f"lossy {seed}")

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        if self.broken and name.startswith("sync"):
            if name == "sync":
                self.platter.note()
                self.platter.lose(self._open[args[0].fd], self._chance)
            raise SyncError(errno.EIO, os.strerror(errno.EIO), getattr(args[0], "path", args[0]))
        return super().happen(name, call, args, options)


# -- the checks ---------------------------------------------------------------------


class Bounds(NamedTuple):
    """What has to be there when a number of steps is finished and the next is under way."""

    put: int  # items that were acknowledged
    putting: int  # items of the step under way
    oldest: int  # the first that is not finished, on the platter for certain
    newest: int  # the same, if everything is on the platter
    synced: int  # items before the last sync()


def bounds_of(script: list[Step], model: Model, power: bool) -> list[Bounds]:
    """Return the bounds for each number of finished steps."""
    bounds: list[Bounds] = []
    oldest, synced = model.put - len(model.stored), model.put if power else 0
    for done, step in itertools.pairwise([Step("open"), *script, Step("peek")]):
        put = model.put
        if done.verb == "sync":
            synced = put
        if done.verb == "sync" or (power and done.verb in ("put", "put_many")):
            oldest = put - len(model.stored)
        model.apply(step)
        bounds.append(Bounds(put, model.put - put, oldest, model.put - len(model.stored), synced))
    return bounds


def moments_of(
    path: Path,
    script: list[Step],
    model: Model,
    disk: Callable[[Path], PowerDisk] = PowerDisk,
    family: Callable[[Disk], Any] = on_disk,
    **options: Any,
) -> list[Moment]:
    """Run a script and return what a loss of power would leave at each crash point."""
    power = disk(path)
    platter = power.platter
    driver = Driver(family(power), path, model, **options)
    for step in script:
        driver.run(step)
        platter.step += 1
        platter.note()
    return platter.moments


def crashes_of(moments: list[Moment], variants: int) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield different states that losses of power leave, each with the steps finished."""
    seen = set()
    for number, moment in enumerate(moments):
        for variant in range(variants + 1):
            chance = random.Random(f"{number}/{variant}") if variant else None
            files = moment.files(chance, share=(0.5, 0.9, 0.1)[variant % 3])
            key = (moment.step, *sorted(files.items()))
            if key not in seen:
                seen.add(key)
                yield moment.step, files


def check_power(path: Path, script: list[Step], variants: int, model: Model, **options: Any) -> int:
    """Cut the power everywhere in a script of durability "power"; return the states checked.

    The queue is in ``path / "run"``, and holds what ``model`` says.
    """
    bounds = bounds_of(script, model.copy(), power=True)
    moments = moments_of(path / "run", script, model, durability="power", **options)
    states, cut = 0, path / "cut"
    for states, (step, files) in enumerate(crashes_of(moments, variants), 1):
        lay_out(files, cut)
        stored = contents(cut, serializer=options["serializer"])
        put, putting, oldest, newest, _ = bounds[step]
        allowed = [
            [item_of(number) for number in range(first, last)]
            for first in range(oldest, newest + 1)
            for last in {put, put + putting}
        ]
        assert stored in allowed, f"state {states}, under way: {[*script, None][step]}"
        if states % 4 == 0:
            with unsynced(cut, serializer=options["serializer"]) as queue:
                queue.put("more")
            assert contents(cut, serializer=options["serializer"]) == [*stored, "more"]
    return states


def check_power_out_of_turn(path: Path, script: list[Step], variants: int) -> int:
    """Cut the power in a script that finishes items out of turn; return the states checked.

    What is unfinished is there.  What was finished before the last flush of ``info`` is not.
    """
    model, worlds, gone = Model(False), [set[str]()], [set[str]()]
    for step in script:
        model.apply(step)
        worlds.append(set(model.stored))
        flushed = step.verb in ("put", "put_many", "sync")
        finished = {item_of(number) for number in range(model.put)} - worlds[-1]
        gone.append(finished if flushed else gone[-1])
    moments = moments_of(path / "run", script, Model(False), durability="power")
    states = 0
    for states, (done, files) in enumerate(crashes_of(moments, variants), 1):
        lay_out(files, path / "cut")
        stored = contents(path / "cut")
        where = f"state {states}, under way: {[*script, None][done]}"
        assert stored == sorted(set(stored), key=lambda item: int(item.split(":")[0])), where
        assert worlds[done] & worlds[min(done + 1, len(script))] <= set(stored), where
        assert set() == gone[done] & set(stored), where
    return states


def twice(path: Path, seed: int, variants: int) -> int:
    """Cut the power, go on, and cut it again; return the states checked."""
    model, script = Model(autosave=seed % 2 == 0), random_script(f"first {seed}")
    moments = moments_of(path / "first", script, model, durability="power")
    chance = random.Random(seed)
    lay_out(chance.choice(moments).files(chance, share=0.5), path / "run")
    with copied(path / "run") as twin:
        stored = contents(twin)
    numbers = [number for number in range(model.put + 7) if item_of(number) in stored]
    first, put = (numbers[0], numbers[-1] + 1) if numbers else (0, 0)
    assert len(numbers) == len(stored) == put - first
    second = Model(not model.autosave, first, put)
    return check_power(
        path, random_script(f"second {seed}"), variants, second, serializer=serializers.pickle
    )


def intact(files: dict[str, bytes]) -> list[int]:
    """Return the numbers of the pickled items that a state holds whole, by its ``info``."""
    framing = framing_of(serializers.pickle)
    info = serializers.pickle.loads(files["info"])
    tail, head = info["tail"], info["head"]
    whole = []
    for chunk in range(tail[0], head[0] + 1):
        data = files.get(f"q{chunk:05d}", b"")
        first, last = chunk * CHUNKSIZE, (chunk + 1) * CHUNKSIZE
        offset = 0
        for number in range(first, min(last, head[0] * CHUNKSIZE + head[1])):
            record = framing.encode(item_of(number))
            if number >= tail[0] * CHUNKSIZE + tail[1]:
                if data[offset : offset + len(record)] == record:
                    whole.append(number)
                elif chunk == head[0] and len(data) < head[2]:
                    break  # a chunk that ends early: what is behind a hole in it is not looked for
            offset += len(record)
    return whole


def check_process(
    path: Path, script: list[Step], variants: int, autosave: bool, **options: Any
) -> int:
    """Cut the power everywhere in a script of durability "process"; return the states checked."""
    bounds = bounds_of(script, Model(autosave), power=False)
    moments = moments_of(path / "run", script, Model(autosave), durability="process", **options)
    numbers = {item_of(number): number for number in range(bounds[-1].put)}
    states, cut = 0, path / "cut"
    for states, (step, files) in enumerate(crashes_of(moments, variants), 1):
        lay_out(files, cut)
        with unsynced(cut, durability="process", on_corrupt="skip") as queue:
            stored = [numbers[item] for item in drain(queue)]
        bound = bounds[step]
        where = f"state {states}, under way: {[*script, None][step]}"
        assert stored == sorted(set(stored)), where
        assert stored[-1:] < [bound.put + bound.putting], where
        assert set(range(bound.newest, bound.synced)) <= set(stored), where
        if "info" in files:
            assert set(intact(files)) <= set(stored), where
    return states


class Life:
    """Several objects of both durabilities on one path, used by turns; some flushes fail.

    Attributes:
        safe: for each step, the items that a loss of power must leave.
        put: all items that were acknowledged, oldest first.
        refused: items whose put raised.
        finished: items that were finished.
    """

    def __init__(
        self, path: Path, seed: int, family: Callable[[Disk], Any], failing: bool, **options: Any
    ) -> None:
        self._chance = random.Random(f"life {seed}")
        self._path, self._failing = path, failing
        self.disk = LossyDisk(path, seed)
        self._options = {"chunksize": CHUNKSIZE, **options}
        self._kind = family(self.disk)
        self._open: dict[str, Any] = {}
        self._numbers = itertools.count()
        self.safe: list[list[str]] = [[]]
        self.put: list[str] = []
        self.refused: list[str] = []
        self._in_hand: list[str] = []
        self.finished: set[str] = set()

    def run(self, steps: int) -> None:
        """Take so many steps, then let every object go."""
        for _ in range(steps):
            name = self._chance.choice(["power", "power 2", "process"])
            self.disk.broken = self._failing and self._chance.random() < 0.25
            safe = self.safe[-1]
            try:
                safe = self._step(name)
            except (OSError, QueueFailed):
                assert self.disk.broken
            self.disk.broken = False
            self.safe.append(list(safe))
            self.disk.platter.step += 1
            self.disk.platter.note()
        for queue in self._open.values():
            queue.qsize()  # whatever failed is over
            queue.close()

    def _step(self, name: str) -> list[str]:
        """Take one step; return what is safe then."""
        safe, verb = (
            self.safe[-1],
            self._chance.choice(["put", "put", "many", "get", "sync", "new"]),
        )
        if name not in self._open or verb == "new":
            if name in self._open:
                self._open.pop(name).close()
            self._in_hand = [] if name == "process" else self._in_hand
            durability = name.split(maxsplit=1)[0]
            self._open[name] = self._kind(self._path, durability=durability, **self._options)
        elif verb == "sync":
            self._open[name].sync()
            return list(self.put)
        elif verb == "get":
            if name == "process":  # two that consume may both get an item
                self._consume(self._open[name])
        else:
            items = [item_of(next(self._numbers)) for _ in range(1 if verb == "put" else 5)]
            try:
                self._open[name].put_many(items)
            except (OSError, QueueFailed):
                self.refused += items
                raise
            self.put += items
            if name != "process":
                return safe + items
        return safe

    def _consume(self, queue: Any) -> None:
        """Finish an item; what could not be finished is still in hand the next time."""
        if not self._in_hand and queue.qsize():
            self._in_hand.append(queue.get(block=False))
            assert self._in_hand[0] not in self.finished
        while self._in_hand:
            queue.task_done(item=self._in_hand[0])
            self.finished.add(self._in_hand.pop())


def check_lives(
    path: Path, seed: int, variants: int, *, family: Callable[[Disk], Any] = on_disk,
    failing: bool = False, **options: Any,
) -> int:  # fmt: skip
    """Let several objects of both durabilities live on a path; return the states checked.

    Nothing that is acknowledged is lost, or comes twice, as long as there is power; what was
    put at "power", or before a sync, is there when it was cut.
    """
    shutil.rmtree(path, ignore_errors=True)
    (path / "run").mkdir(parents=True)
    life = Life(path / "run", seed, family, failing, **options)
    life.run(20)
    serializer = options.get("serializer", serializers.pickle)
    left = [item for item in life.put if item not in life.finished]
    assert left == contents(path / "run", serializer=serializer)
    states, known = 0, {*life.put, *life.refused}
    for states, (step, files) in enumerate(crashes_of(life.disk.platter.moments, variants), 1):
        lay_out(files, path / "cut")
        with unsynced(path / "cut", serializer=serializer, on_corrupt="skip") as queue:
            stored = drain(queue)
        there = set(stored)
        assert len(stored) == len(there), f"state {states}: twice"
        missing = [item for item in life.safe[step] if item not in there | life.finished]
        assert [] == missing, f"state {states}, step {step}: lost"
        if serializer is serializers.pickle:
            assert there <= known, f"state {states}: never put"
    return states


def damaged(damage: str) -> dict[str, bytes]:
    """Return the files of a queue of ten items that has something to be repaired."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        with Queue[str](path, chunksize=CHUNKSIZE, durability="process") as queue:
            queue.put_many([item_of(number) for number in range(11)])
            queue.get()
            queue.task_done()
        files = files_of(path)
    head, junk = files["q00003"], framing_of(serializers.pickle).encode("never acknowledged")
    repairs: dict[str, dict[str, bytes]] = {
        "info is torn": {"info": files["info"][:40] + bytes(472)},
        "no info": {"info": b""},
        "junk behind the head": {"q00003": head + junk},
        "zeros behind the head": {"q00003": head + bytes(100)},
        "short head": {"q00003": head[:-10]},
        "first chunk missing": {"q00000": b""},
        "all at once": {"info": b"?", "q00000": b"", "q00003": head + junk},
    }
    files.update(repairs[damage])
    return {name: data for name, data in files.items() if data}
