"""Losses of power below a file queue: every state that one can leave is opened.

And the test of that test: with any one of the package's syncs switched off it has to fail.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import Case, on_files, tortured
from crashdisk import (
    SCRIPT,
    Model,
    Step,
    async_on_disk,
    contents,
    erased,
    lay_out,
    on_disk,
    random_script,
)
from own_serializers import Lines
from powercuts import PowerDisk, check_power, check_process, crashes_of, damaged, moments_of, twice

from persistqueue import serializers


@tortured(["AsyncQueue-task_done"], 1, 40, on_files)
def test_power_cut(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """Each state that a power cut can leave opens, with what was acknowledged."""
    family = async_on_disk if case.twin else on_disk
    model, states = Model(case.at_most_once), 0
    for seed in range(amount):
        script, place = random_script(f"torture {seed}"), memory / str(seed)
        options: dict[str, Any] = {"family": family, "serializer": serializers.pickle}
        states += check_power(place, script, 8, Model(model.autosave), **options)
        states += check_process(place / "process", script, 8, model.autosave, family=family)
        if not case.twin:
            states += twice(memory / f"twice {seed}", seed, 5)
    figures(scripts=amount, states=states)
    assert states > 30 * amount


# -- a repair is interrupted ----------------------------------------------------------


def broken() -> dict[str, dict[str, bytes]]:
    """Return the files of queues that have something to be set aside."""
    return {name: damaged(name) for name in ("info is torn", "junk behind the head", "all at once")}


def check_repair(place: Path, disk: Callable[[Path], PowerDisk] = PowerDisk) -> int:
    """Cut the power everywhere in a repair; return the states checked."""
    states = 0
    for name, files in broken().items():
        run_in = place / name / "run"
        run_in.parent.mkdir(parents=True, exist_ok=True)
        lay_out(files, run_in)
        repaired = contents(run_in)
        lay_out(files, run_in)
        script = [Step("open")]
        moments = moments_of(run_in, script, Model(False), disk=disk, durability="power")
        for _, left in crashes_of(moments, 8):
            states += 1
            cut = place / name / "cut"
            lay_out(left, cut)
            assert contents(cut) == repaired, name
            kept = {file: data for file, data in files.items() if file != "info" or "info" in name}
            assert [] == erased(kept, cut), f"{name}: bytes are gone"
    return states


def test_power_cut_in_a_repair(memory: Path) -> None:
    """A repair that a power cut interrupts is done again, and no byte is lost."""
    assert check_repair(memory) > 10


# -- the suite is tested, too -----------------------------------------------------------

Site = tuple[str, str, int]


def site_of_caller() -> Site:
    """Return which line of the package asks the disk for something."""
    frame = sys._getframe(1)
    while not re.search(r"persistqueue.(_files|_core.folder)", frame.f_code.co_filename):
        assert frame.f_back is not None
        frame = frame.f_back
    return Path(frame.f_code.co_filename).stem, frame.f_code.co_name, frame.f_lineno


def forgetful(site: Site | None, seen: set[Site]) -> Callable[[Path], PowerDisk]:
    """Return a kind of disk that does not do the syncs that one line asks for."""

    class Forgetful(PowerDisk):
        def happen(self, name: str, call: Any, args: tuple[Any, ...], options: Any) -> Any:
            if name.startswith("sync"):
                seen.add(here := site_of_caller())
                if here == site:
                    return None
            return super().happen(name, call, args, options)

    return Forgetful


def check_new_directory(place: Path, disk: Callable[[Path], PowerDisk]) -> None:
    """See that the names of new directories are synced before a put returns."""
    power = disk(place / "new" / "queue")
    with on_disk(power)(place / "new" / "queue") as q:
        q.put("item")
    assert {str(place), str(place / "new")} <= power.synced, "the name of a directory is volatile"


def battery(place: Path, disk: Callable[[Path], PowerDisk]) -> None:
    """Everything that needs a sync somewhere; raises where one is missing."""
    check_new_directory(place / "names", disk)
    check_repair(place / "repair", disk)
    script = [Step("open"), *[Step("put"), Step("put_many", 5), Step("sync")] * 2, Step("close")]
    check_process(place / "process", script, 6, False, disk=disk)
    script = [step for step in SCRIPT if step.verb != "sync"]
    check_process(place / "unsynced", script, 6, False, disk=disk)
    check_power(place / "lines", SCRIPT[:14], 6, Model(False), disk=disk, serializer=Lines())
    pickle = {"disk": disk, "serializer": serializers.pickle}
    check_power(place / "power", SCRIPT[:14], 6, Model(False), **pickle)


def sites(place: Path) -> list[Site]:
    """Return every line of the package that asks for a sync."""
    seen: set[Site] = set()
    place.mkdir()
    battery(place, forgetful(None, seen))
    return sorted(seen)


@pytest.mark.parametrize(
    "stride", [pytest.param(3, id="few"), pytest.param(1, id="all", marks=pytest.mark.torture)]
)
def test_each_sync_is_needed(stride: int, memory: Path, figures: Any) -> None:
    """With any one sync of the package switched off, a power cut loses something."""
    every = sites(memory / "sites")
    missed = []
    for number, site in enumerate(every[::stride]):
        (place := memory / str(number)).mkdir()
        try:
            battery(place, forgetful(site, set()))
        except Exception:  # noqa: BLE001 - an item is missing, or the queue does not open
            continue
        missed.append(site)
    figures(syncs=len(every), missed=len(missed))
    assert [] == missed
    assert len(every) >= 10
