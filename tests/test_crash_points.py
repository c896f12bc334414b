"""Every crash point: each call to the disk fails, is interrupted, is the last one, or
is followed by a loss of power; see ``crashdisk`` for the disks and the script.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import itertools
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest
from crashdisk import (
    CHUNKSIZE,
    KILLED,
    SCRIPT,
    DeadlyDisk,
    Driver,
    Fault,
    FaultyDisk,
    Model,
    Moment,
    NumberedDisk,
    PowerDisk,
    Step,
    contents,
    copied,
    descriptors,
    drain,
    erased,
    files_of,
    in_child,
    item_of,
    lay_out,
    on_disk,
    random_script,
    unsynced,
)

from persistqueue import Queue, QueueFailed, serializers
from persistqueue._storage.files import SyncError
from persistqueue._storage.framing import framing_of

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
forks = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory where that can be had: nothing here needs the disk itself."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Do without ten thousand warnings of what was repaired."""
    caplog.set_level(logging.ERROR, "persistqueue")


class Lines:
    """A user's serializer: Python literals, one a line."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        fp.write(repr(value).encode() + b"\n")

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return ast.literal_eval(fp.readline().decode())


SERIALIZERS = ["msgpack", "cbor2", "json", "lines"]
#: Crosses a chunk border with each verb once; for all serializers.
SHORT_SCRIPT = SCRIPT[:16]


def serializer_of(name: str) -> Any:
    """Return a serializer by name, or skip the test that needs a missing library."""
    if name == "lines":
        return Lines()
    if name in ("msgpack", "cbor2"):
        pytest.importorskip(name)
    return getattr(serializers, name)


def calls_of(script: list[Step], path: Path, autosave: bool, **options: Any) -> list[str]:
    """Return the names of the disk calls that a script comes to."""
    disk = NumberedDisk()
    driver = Driver(on_disk(disk), path, Model(autosave), **options)
    for step in script:
        driver.run(step)
    return disk.names_called


# -- a call fails -------------------------------------------------------------------


class Failing:
    """Runs a script in which one disk call goes wrong, and checks what is left."""

    def __init__(
        self, path: Path, fault: Fault, autosave: bool, interrupt: bool, **options: Any
    ) -> None:
        self._path = path
        self._serializer = options["serializer"]
        self._interrupt = interrupt
        self._disk = FaultyDisk(fault, KeyboardInterrupt if interrupt else None)
        self._driver = Driver(on_disk(self._disk), path, Model(autosave), **options)
        self._driver.short = lambda: self._disk.calls >= fault.at > self._calls
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
            self._disk.heal()
            self._after_failure(step, isinstance(error, SyncError))

    def _after_failure(self, step: Step, unknown: bool) -> None:
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
            failed = self._has_failed()
            assert failed or not unknown, "a failed sync must not be forgotten"
            done = self._follow(step, either=failed or self._interrupt)
            if failed:
                self._reopen()
            elif step.verb == "task_done" and not done:
                driver.run(step)
            assert driver.queue is not None
            assert driver.queue.qsize() == len(driver.model.waiting())

    def _has_failed(self) -> bool:
        assert self._driver.queue is not None
        try:
            self._driver.queue.qsize()
        except QueueFailed:
            return True
        return False

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

    def _reopen(self) -> None:
        with contextlib.suppress(QueueFailed):
            self._driver.close()
        self._driver.run(Step("open"))


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
    **options: Any,
) -> None:
    """Run a script once for each of its disk calls, in which that call goes wrong."""
    names = calls_of(script, path / "clean", autosave, **options)
    before = descriptors()
    problems = []
    for at, name in enumerate(names, 1):
        for how in hows:
            if how == "half" and name != "write":
                continue
            fault = Fault(at, how, (errno.EIO, errno.ENOSPC)[at % 2])
            try:
                kind(path / f"{at}-{how}", fault, autosave, interrupt, **options).run(script)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - goes into the report
                problems.append((at, name, how, repr(error)[:200]))
            if (now := descriptors()) != before:
                problems.append((at, name, how, f"{now - before} descriptors stay open"))
                before = now
    assert not problems, "\n".join(map(str, problems))


@pytest.mark.parametrize(
    ("how", "durability"),
    [("instead", "power"), ("half", "power"), ("behind", "power"), ("rest", "power"),
     ("instead", "process"), ("half", "process")],
)  # fmt: skip
@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_failed_call(tmp_path: Path, how: str, autosave: bool, durability: str) -> None:
    """A call that the disk fails raises OSError, leaves what was there, and the next one works."""
    check_failures(
        tmp_path, SCRIPT, (how,), autosave, durability=durability, serializer=serializers.pickle
    )


@pytest.mark.parametrize("name", SERIALIZERS)
def test_failed_call_serializers(tmp_path: Path, name: str) -> None:
    """What a failed disk call leaves does not depend on the serializer."""
    check_failures(
        tmp_path, SHORT_SCRIPT, ("instead", "half"), False, serializer=serializer_of(name)
    )


def test_failed_call_beside_another(tmp_path: Path) -> None:
    """What a failed disk call leaves is right for an object that was open all the time."""
    check_failures(
        tmp_path,
        SCRIPT,
        ("instead",),
        False,
        kind=FailingBesideAnother,
        durability="process",
        serializer=serializers.pickle,
    )


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("how", ["instead", "behind"])
def test_interrupted_call(tmp_path: Path, how: str, autosave: bool) -> None:
    """Ctrl-C in any disk call leaves the call done or not done, and the queue usable."""
    check_failures(
        tmp_path, SCRIPT, (how,), autosave, interrupt=True, serializer=serializers.pickle
    )


def test_failed_queue_is_quiet(tmp_path: Path) -> None:
    """A queue whose sync failed says so at each call, and goes without a noise."""
    names = calls_of(SCRIPT[:2], tmp_path / "clean", False)
    queue = on_disk(FaultyDisk(Fault(len(names) - names[::-1].index("sync"), "instead")))(
        tmp_path / "q"
    )
    with pytest.raises(SyncError):
        queue.put(item_of(0))
    for call in (queue.get_nowait, queue.qsize, queue.sync, partial(queue.put, item_of(1))):
        with pytest.raises(QueueFailed, match="reopen"):
            call()
    del queue, call  # an error in __del__ would be a warning


# -- the process dies ---------------------------------------------------------------


def worlds_of(script: list[Step], autosave: bool) -> list[list[str]]:
    """Return what is stored after each number of steps, from 0 to all."""
    model = Model(autosave)
    worlds = [list(model.stored)]
    for step in script:
        model.apply(step)
        worlds.append(list(model.stored))
    return worlds


def die(path: Path, script: list[Step], at: int, torn: bool, autosave: bool, **options: Any) -> int:
    """Run a script in a process that ends at one disk call; return the steps it finished."""

    def work(acknowledge: Any) -> None:
        driver = Driver(on_disk(DeadlyDisk(at, torn)), path, Model(autosave), **options)
        for step in script:
            driver.run(step)
            acknowledge()

    status, finished = in_child(work)
    # How often a name is looked up depends on the clock: the last calls may not come.
    assert status == KILLED or (status == 0 and finished == len(script))
    return finished


def check_deaths(path: Path, script: list[Step], autosave: bool, **options: Any) -> int:
    """Let a process die at each disk call of a script; return how many deaths that were."""
    names = calls_of(script, path / "clean", autosave, **options)
    worlds = worlds_of(script, autosave)
    serializer = options["serializer"]
    deaths = [(at, False) for at in range(1, len(names) + 1)]
    deaths += [(at, True) for at, name in enumerate(names, 1) if name == "write"]
    for at, torn in deaths:
        place = path / f"{at}-{torn}"
        finished = die(place, script, at, torn, autosave, **options)
        where = (
            f"call {at} ({names[at - 1]}{', torn' if torn else ''}) in {[*script, None][finished]}"
        )
        stored = contents(place, serializer=serializer)
        assert stored in worlds[finished : finished + 2], where
        with unsynced(place, serializer=serializer) as queue:
            queue.put("more")
        assert contents(place, serializer=serializer) == [*stored, "more"], where
    return len(deaths)


@needs_fork
@forks
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize(
    "autosave", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["task_done", "autosave"]
)
def test_death(tmp_path: Path, autosave: bool, durability: str) -> None:
    """A process may die at any disk call: what it had acknowledged is there, the rest whole or not."""
    check_deaths(tmp_path, SCRIPT, autosave, durability=durability, serializer=serializers.pickle)


@needs_fork
@forks
@pytest.mark.parametrize("name", SERIALIZERS)
def test_death_serializers(tmp_path: Path, name: str) -> None:
    """What a process leaves that dies at a disk call does not depend on the serializer."""
    check_deaths(tmp_path, SHORT_SCRIPT, False, serializer=serializer_of(name))


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


@needs_fork
@forks
@pytest.mark.parametrize(
    "damage",
    ["info is torn", "no info", "junk behind the head", "zeros behind the head", "short head",
     "first chunk missing", "all at once"],
)  # fmt: skip
def test_death_in_recovery(tmp_path: Path, damage: str) -> None:
    """A process may die at any disk call of a repair: the next one repairs it all the same."""
    files, path = damaged(damage), tmp_path / "queue"
    lay_out(files, path)
    repaired = contents(path)
    assert len(repaired) >= 7
    lay_out(files, path)
    names = calls_of([Step("open")], path, False)
    for at, torn in itertools.product(range(1, len(names) + 1), (False, True)):
        lay_out(files, path)
        die(path, [Step("open")], at, torn, False, serializer=serializers.pickle)
        assert contents(path) == repaired, names[at - 1]
        files_then = {
            name: data for name, data in files.items() if name != "info" or "info" in damage
        }
        assert [] == erased(files_then, path), names[at - 1]


# -- the power fails ----------------------------------------------------------------


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


def moments_of(path: Path, script: list[Step], model: Model, **options: Any) -> list[Moment]:
    """Run a script and return what a loss of power would leave at each crash point."""
    disk = PowerDisk(path)
    driver = Driver(on_disk(disk), path, model, **options)
    for step in script:
        driver.run(step)
        disk.step += 1
        disk.note()
    return disk.moments


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


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_loss_of_power(tmp_path: Path, autosave: bool) -> None:
    """With durability="power" a loss of power loses no acknowledged item, wherever it comes."""
    states = check_power(tmp_path, SCRIPT, 8, Model(autosave), serializer=serializers.pickle)
    for seed in range(8):
        script = random_script(seed)
        states += check_power(
            tmp_path / str(seed), script, 4, Model(autosave), serializer=serializers.pickle
        )
    assert states > 500


@pytest.mark.parametrize("name", SERIALIZERS)
def test_loss_of_power_serializers(tmp_path: Path, name: str) -> None:
    """What a loss of power leaves does not depend on the serializer."""
    states = check_power(tmp_path, SCRIPT, 8, Model(False), serializer=serializer_of(name))
    assert states > 50


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


def test_loss_of_power_twice(tmp_path: Path) -> None:
    """A queue that a loss of power has left keeps its promises at the next one."""
    assert sum(twice(tmp_path / str(seed), seed, 3) for seed in range(6)) > 200


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


def check_process(path: Path, script: list[Step], variants: int, autosave: bool) -> int:
    """Cut the power everywhere in a script of durability "process"; return the states checked."""
    bounds = bounds_of(script, Model(autosave), power=False)
    moments = moments_of(path / "run", script, Model(autosave), durability="process")
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


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_loss_of_power_unsynced(tmp_path: Path, autosave: bool) -> None:
    """With durability="process" a loss of power leaves a queue that opens, with what is intact."""
    states = check_process(tmp_path, SCRIPT, 8, autosave)
    states += sum(
        check_process(tmp_path / str(seed), random_script(seed), 4, autosave) for seed in range(8)
    )
    assert states > 1000


@pytest.mark.parametrize("name", SERIALIZERS)
def test_loss_of_power_unsynced_serializers(tmp_path: Path, name: str) -> None:
    """With durability="process" and any serializer a loss of power leaves a queue that opens."""
    serializer = serializer_of(name)
    moments = moments_of(
        tmp_path / "run", SCRIPT, Model(False), durability="process", serializer=serializer
    )
    for _, files in crashes_of(moments, 4):
        lay_out(files, tmp_path / "cut")
        contents(tmp_path / "cut", serializer=serializer, on_corrupt="skip")


def test_new_directory_is_synced(tmp_path: Path) -> None:
    """With durability="power" the name of a new queue's directory survives a loss of power."""
    synced: list[str] = []

    class Noting(NumberedDisk):
        def happen(self, name: str, call: Any, args: tuple[Any, ...], options: Any) -> Any:
            if name == "sync_directory":
                synced.append(args[0])
            return call(*args, **options)

    with on_disk(Noting())(tmp_path / "new" / "queue") as queue:
        queue.put("item")
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "queue")} <= set(synced)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_loss_of_power_at_length(tmp_path: Path, seed: int) -> None:
    """Many more states that losses of power leave keep all promises."""
    script, pickle = random_script(f"long {seed}"), serializers.pickle
    states = 0
    for autosave in (False, True):
        place = tmp_path / str(autosave)
        states += check_power(place, script, 40, Model(autosave), serializer=pickle)
        states += check_process(place / "process", script, 40, autosave)
    for number in range(10):
        states += twice(tmp_path / f"twice-{number}", 100 * seed + number, 10)
    assert states > 1000
