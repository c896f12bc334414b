"""Every crash point: each call to the disk fails, is interrupted, is the last one, or
is followed by a loss of power; see ``crashdisk`` for the disks and the script.
"""

from __future__ import annotations

import ast
import errno
import itertools
import logging
import os
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from crashdisk import (
    KILLED,
    ON_DISK,
    OUT_OF_TURN,
    SCRIPT,
    DeadlyDisk,
    Driver,
    Fault,
    FaultyDisk,
    Model,
    NumberedDisk,
    Step,
    UnsyncedDisk,
    async_on_disk,
    contents,
    erased,
    in_child,
    item_of,
    lay_out,
    on_disk,
    random_script,
    unsynced,
)
from failures import FailingBesideAnother, calls_of, check_failures
from own_serializers import serializer_of
from powercuts import (
    check_lives,
    check_power,
    check_power_out_of_turn,
    check_process,
    crashes_of,
    damaged,
    moments_of,
    twice,
)

from persistqueue import QueueFailed, serializers
from persistqueue._core import folder
from persistqueue._core import patience as reopening
from persistqueue._core.disk import SyncError
from persistqueue._files import info

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
forks = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    """A directory in memory where that can be had: nothing here needs the disk itself."""
    return memory


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Do without ten thousand warnings of what was repaired."""
    caplog.set_level(logging.ERROR, "persistqueue")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call reopen a queue that has failed, not one a second."""
    monkeypatch.setattr(reopening, "PAUSE", 0.0)


SERIALIZERS = [
    "msgpack",  # framed with a length, as cbor2
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("cbor2", "json")),
    "lines",
]
#: Crosses a chunk border with each verb once; for all serializers.
SHORT_SCRIPT = SCRIPT[:16]


# -- a call fails -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "durability"),
    [("instead", "power"), ("half", "power"), ("behind", "power"), ("rest", "power"),
     ("half alike", "power"), ("behind alike", "power"),
     ("instead", "process"), ("half", "process"), ("behind alike", "process")],
)  # fmt: skip
@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
def test_failed_call(
    moments: range, tmp_path: Path, how: str, autosave: bool, durability: str
) -> None:
    """A call that the disk fails raises OSError, leaves what was there, and the next one works."""
    check_failures(
        tmp_path,
        SCRIPT,
        (how,),
        autosave,
        durability=durability,
        serializer=serializers.pickle,
        moments=moments,
    )


@pytest.mark.parametrize("how", ["instead", "half alike", "rest"])
def test_failed_call_async(moments: range, tmp_path: Path, how: str) -> None:
    """So it is for an ``AsyncQueue``."""
    options = {"family": async_on_disk, "serializer": serializers.pickle}
    check_failures(tmp_path, SHORT_SCRIPT, (how,), False, moments=moments, **options)


@pytest.mark.parametrize("family", ON_DISK)
def test_failed_call_on_a_system_that_can_do_less(
    moments: range, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are found by their paths, nothing is read at an offset or reserved ahead."""
    monkeypatch.setattr(folder, "RELATIVE", False)
    monkeypatch.setattr(info, "_READS_AT", False)
    if hasattr(os, "posix_fallocate"):
        monkeypatch.setattr(os, "posix_fallocate", unable)
    options = {"family": ON_DISK[family], "serializer": serializers.pickle}
    check_failures(tmp_path, SHORT_SCRIPT, ("instead", "half"), False, moments=moments, **options)


def unable(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("name", SERIALIZERS)
def test_failed_call_serializers(moments: range, tmp_path: Path, name: str) -> None:
    """What a failed disk call leaves does not depend on the serializer."""
    check_failures(
        tmp_path,
        SHORT_SCRIPT,
        ("instead", "half"),
        False,
        serializer=serializer_of(name),
        moments=moments,
    )


def test_failed_call_beside_another(moments: range, tmp_path: Path) -> None:
    """What a failed disk call leaves is right for an object that was open all the time."""
    check_failures(
        tmp_path,
        SCRIPT,
        ("instead",),
        False,
        kind=FailingBesideAnother,
        durability="process",
        serializer=serializers.pickle,
        moments=moments,
    )


@pytest.mark.parametrize("family", ON_DISK)
def test_failed_call_out_of_turn(moments: range, tmp_path: Path, family: str) -> None:
    """An item that could not be finished behind others is not finished; others stay so."""
    options: dict[str, Any] = {"family": ON_DISK[family], "serializer": serializers.pickle}
    options["moments"] = moments
    check_failures(tmp_path, OUT_OF_TURN, ("instead", "half"), False, **options)
    options["interrupt"] = True
    check_failures(tmp_path / "interrupt", OUT_OF_TURN, ("behind",), False, **options)


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("how", ["instead", "behind"])
def test_interrupted_call(moments: range, tmp_path: Path, how: str, autosave: bool) -> None:
    """Ctrl-C in any disk call leaves the call done or not done, and the queue usable."""
    check_failures(
        tmp_path,
        SCRIPT,
        (how,),
        autosave,
        interrupt=True,
        serializer=serializers.pickle,
        moments=moments,
    )


def test_failed_queue_is_quiet(tmp_path: Path) -> None:
    """A queue whose sync fails for ever says so at each call, and goes without a noise."""
    names = calls_of(SCRIPT[:2], tmp_path / "clean", False)
    disk = FaultyDisk(Fault(len(names) - names[::-1].index("sync"), "rest"))
    queue = on_disk(disk)(tmp_path / "q")
    with pytest.raises(SyncError):
        queue.put(item_of(0))
    for call in (queue.get_nowait, queue.qsize, queue.sync, partial(queue.put, item_of(1))):
        with pytest.raises(QueueFailed, match="to reopen the queue failed, too"):
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


def check_deaths(
    moments: range, path: Path, script: list[Step], autosave: bool, **options: Any
) -> int:
    """Let a process die at disk calls of a script; return how many deaths that were."""
    names = calls_of(script, path / "clean", autosave, **options)
    worlds = worlds_of(script, autosave)
    serializer = options["serializer"]
    deaths = [(at, False) for at in range(1, len(names) + 1)]
    deaths += [(at, True) for at, name in enumerate(names, 1) if name == "write"]
    deaths = [death for number, death in enumerate(deaths, 1) if number in moments]
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
@pytest.mark.parametrize("durability", ["power", pytest.param("process", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "autosave", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["task_done", "autosave"]
)
def test_death(moments: range, tmp_path: Path, autosave: bool, durability: str) -> None:
    """A process may die at any disk call: what it had acknowledged is there, the rest whole or not."""
    check_deaths(
        moments, tmp_path, SCRIPT, autosave, durability=durability, serializer=serializers.pickle
    )


@needs_fork
@forks
@pytest.mark.parametrize("durability", ["power", pytest.param("process", marks=pytest.mark.slow)])
def test_death_out_of_turn(moments: range, tmp_path: Path, durability: str) -> None:
    """What was finished behind an unfinished item does not come again, wherever a process dies."""
    options: dict[str, Any] = {"durability": durability, "serializer": serializers.pickle}
    check_deaths(moments, tmp_path, OUT_OF_TURN, False, **options)


@needs_fork
@forks
@pytest.mark.parametrize("name", SERIALIZERS)
def test_death_serializers(moments: range, tmp_path: Path, name: str) -> None:
    """What a process leaves that dies at a disk call does not depend on the serializer."""
    check_deaths(moments, tmp_path, SHORT_SCRIPT, False, serializer=serializer_of(name))


class ToTheEnd:
    """A user's serializer whose ``load`` reads all there is: right for one item a chunk."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        fp.write(repr(value).encode())

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return ast.literal_eval(fp.read().decode())


class AwaitedToTheEnd:
    """The same with coroutine functions."""

    @staticmethod
    async def dump(value: Any, fp: Any) -> None:
        await fp.write(repr(value).encode())

    @staticmethod
    async def load(fp: Any) -> Any:
        return ast.literal_eval((await fp.read()).decode())


@needs_fork
@forks
@pytest.mark.parametrize("name", ["to the end", "awaited", "signed", "pickle", "json"])
@pytest.mark.parametrize("family", ON_DISK)
def test_what_a_death_in_a_put_leaves_is_no_part_of_others_items(
    moments: range, tmp_path: Path, family: str, name: str
) -> None:
    """An object that is open all the time writes over it, in the same places, and reads its own."""
    serializer: Any = ToTheEnd() if name in ("to the end", "awaited") else None
    if name == "signed":
        serializer = serializers.signed(ToTheEnd(), b"k" * 32)
    options: dict[str, Any] = {"chunksize": 1, "serializer": serializer or serializer_of(name)}
    own: Any = AwaitedToTheEnd() if name == "awaited" else options["serializer"]
    if name == "awaited" and family == "Queue":
        pytest.skip("coroutine functions are for AsyncQueue")
    for at in moments:
        queue = ON_DISK[family](UnsyncedDisk())(tmp_path / str(at), chunksize=1, serializer=own)
        queue.put("first")

        def die_in_a_put(acknowledge: Any, at: int = at, path: Path = tmp_path) -> None:
            disk = DeadlyDisk(at)
            on_disk(disk)(path / str(at), **options).put_many(["x" * 50, "y" * 40, "z" * 30])
            acknowledge()

        _, done = in_child(die_in_a_put)
        items = ["second", "third", "fourth"]
        for item in items:
            queue.put(item)
        there = queue.get_many(10)
        assert ["first", *items] in (there, there[:1] + there[4:])  # it may have come to its end
        assert there == contents(tmp_path / str(at), **options)
        queue.close()
        if done:
            break


@needs_fork
@forks
@pytest.mark.parametrize(
    "damage",
    ["info is torn", "no info", "junk behind the head", "zeros behind the head", "short head",
     "first chunk missing", "all at once"],
)  # fmt: skip
def test_death_in_recovery(moments: range, tmp_path: Path, damage: str) -> None:
    """A process may die at any disk call of a repair: the next one repairs it all the same."""
    files, path = damaged(damage), tmp_path / "queue"
    lay_out(files, path)
    repaired = contents(path)
    assert len(repaired) >= 7
    lay_out(files, path)
    names = calls_of([Step("open")], path, False)
    deaths = list(itertools.product(range(1, len(names) + 1), (False, True)))
    for at, torn in deaths[moments.start - 1 :: moments.step]:
        lay_out(files, path)
        die(path, [Step("open")], at, torn, False, serializer=serializers.pickle)
        assert contents(path) == repaired, names[at - 1]
        files_then = {
            name: data for name, data in files.items() if name != "info" or "info" in damage
        }
        assert [] == erased(files_then, path), names[at - 1]


# -- the power fails ----------------------------------------------------------------


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


def test_loss_of_power_out_of_turn(tmp_path: Path) -> None:
    """No unfinished item is lost, and what was finished before ``info`` was flushed stays so."""
    assert check_power_out_of_turn(tmp_path, OUT_OF_TURN, 8) > 100


@pytest.mark.parametrize("name", SERIALIZERS)
def test_loss_of_power_serializers(tmp_path: Path, name: str) -> None:
    """What a loss of power leaves does not depend on the serializer."""
    states = check_power(tmp_path, SCRIPT, 8, Model(False), serializer=serializer_of(name))
    assert states > 50


def test_loss_of_power_twice(tmp_path: Path) -> None:
    """A queue that a loss of power has left keeps its promises at the next one."""
    assert sum(twice(tmp_path / str(seed), seed, 3) for seed in range(6)) > 200


@pytest.mark.parametrize(
    "autosave", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["task_done", "autosave"]
)
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


@pytest.mark.parametrize("failing", [False, True], ids=["whole", "flushes fail"])
@pytest.mark.parametrize("family", ON_DISK)
def test_loss_of_power_beside_others(tmp_path: Path, family: str, failing: bool) -> None:
    """Whatever objects of the other durability made, and flushes lost: the promise of each holds."""
    # Lives in which a name that is not flushed, or bytes that are not written again, are missed.
    seeds = (3, 4, 10, 18, 19) if family == "Queue" else (4, 18)
    states = sum(
        check_lives(tmp_path / "life", seed, 2, family=ON_DISK[family], failing=failing)
        for seed in seeds
    )
    assert states > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pickle", *SERIALIZERS])
def test_loss_of_power_beside_others_at_length(tmp_path: Path, name: str) -> None:
    """The same with every serializer, in many more lives."""
    for seed in range(100):
        for failing in (False, True):
            place = tmp_path / "life"
            check_lives(place, seed, 10, failing=failing, serializer=serializer_of(name))


@pytest.mark.parametrize("there", [False, True], ids=["new", "made by others"])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_new_directory_is_synced(tmp_path: Path, durability: str, there: bool) -> None:
    """The name of a new queue's directory survives a loss of power, whoever put the first item."""
    synced: set[Path] = set()
    path = tmp_path / "new" / "queue"
    if there:
        path.mkdir(parents=True)

    class Noting(NumberedDisk):
        def happen(self, name: str, call: Any, args: tuple[Any, ...], options: Any) -> Any:
            if name == "sync_directory":
                synced.add(Path(args[0]))
            return call(*args, **options)

    with on_disk(Noting())(path, durability=durability) as queue:
        queue.put("item")
    expected = {path.parent} if there else {path.parent, tmp_path}
    assert expected | ({path} if durability == "power" else set()) <= synced
    synced.clear()
    with on_disk(Noting())(path, durability=durability) as queue:
        queue.put("item")
    assert ({path} if durability == "power" else set()) == synced


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
