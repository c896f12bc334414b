"""Every name of persist-queue 1.1.0 is there, or is told of in ``names.txt``."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from names_of import ACK_QUEUES, ASYNC_QUEUES, QUEUES, names
from upstream import Upstream, upstream_fixture  # noqa: F401

import persistqueue

HERE = Path(__file__).parent
SECTIONS = {
    **dict.fromkeys(("SQLiteQueue, two connections", *QUEUES), ("SQLite queues",)),
    **dict.fromkeys(ACK_QUEUES, ("SQLite queues", "SQLite ack queues")),
    **dict.fromkeys(ASYNC_QUEUES, ("async SQLite queues",)),
}
TOLD = "a subclass is told"


def table() -> dict[str, dict[str, str]]:
    """Return the verdict on each name, by section."""
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    section = sections["nothing"]
    for line in (HERE / "names.txt").read_text().splitlines():
        if line.startswith("["):
            section = sections[line.strip("[]")]
        elif line and not line.startswith("#"):
            verdict, _, listed = line.rpartition(": ")
            assert verdict.startswith(("works", "refused because ", "not needed because ")), line
            for name in listed.split():
                assert name not in section, f"{name} stands twice"
                section[name] = verdict
    return sections


TABLE = table()


def verdicts(subject: str) -> dict[str, str]:
    """Return the verdict on each name that is told of, of an object or a module."""
    return {
        name: verdict
        for section in SECTIONS.get(subject, [subject])
        for name, verdict in TABLE.get(section, {}).items()
    }


@pytest.fixture(scope="module")
def theirs(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    command = [sys.executable, str(HERE / "names_of.py"), str(tmp_path_factory.mktemp("theirs"))]
    environment = {**os.environ, "PYTHONPATH": str(upstream.site)}
    done = subprocess.run(
        command, cwd=upstream.site, env=environment, text=True, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_no_name_is_missing(theirs: dict[str, list[str]], tmp_path: Path) -> None:
    """What 1.1.0's objects and modules have, and ours have not, is told of, and nothing else is."""
    ours = names(tmp_path)
    wrong: dict[str, Any] = {}
    for subject, listed in theirs.items():
        missing, told = set(listed) - set(ours[subject]), verdicts(subject)
        works = {name for name, verdict in told.items() if verdict.startswith("works")}
        gone = {name for name in missing if not _reached(subject, name)}
        unknown = set(told) - set(listed) - works
        if gone != set(told) - works or unknown or works & gone:
            wrong[subject] = {"untold": gone - set(told), "told in vain": set(told) - works - gone,
                              "not theirs": unknown, "does not work": works & gone}  # fmt: skip
    assert {} == wrong
    assert set(TABLE) - {"nothing"} == {s for subject in theirs for s in
                                        SECTIONS.get(subject, [subject]) if s in TABLE}  # fmt: skip


def _reached(subject: str, name: str) -> bool:
    """Return whether a module has a name that it does not list."""
    kind, _, module = subject.partition(" ")
    return kind == "module" and hasattr(importlib.import_module(module), name)


SUBCLASSED = {
    "Queue": ["Queue"],
    "SQLite queues": [*QUEUES, *ACK_QUEUES],
    "SQLite ack queues": list(ACK_QUEUES),
    "PDict": ["PDict"],
    "AsyncQueue": ["AsyncQueue"],
    "async SQLite queues": list(ASYNC_QUEUES),
    "MySQLQueue": ["MySQLQueue"],
}


@pytest.mark.parametrize("section", SUBCLASSED)
def test_who_replaces_a_name_is_told(section: str) -> None:
    """A subclass with a name that is never used is warned of, with what to do instead."""
    hooks = [name for name, verdict in TABLE[section].items() if TOLD in verdict]
    assert hooks
    for kind in {getattr(persistqueue, kind) for kind in SUBCLASSED[section]}:
        for name in hooks:
            with pytest.warns(UserWarning, match=rf"^Mine\.{name} is never used") as warned:
                type("Mine", (kind,), {name: "anything", "__module__": __name__})
            assert [__file__] == [warning.filename for warning in warned]
            assert str(warned[0].message).rpartition("does not. ")[2], "it says what to do"


def test_own_classes_are_not_told_of() -> None:
    """Nothing is said of the package's own classes, nor of names of one's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in ("sqlbase", "queue", "pdict", "async_sqlqueue", "sqlackqueue"):
            importlib.import_module(f"persistqueue.{module}")
        for kind in vars(persistqueue).values():
            if inspect.isclass(kind) and hasattr(kind, "_HOOKS"):
                type("Mine", (kind,), {"peek_many": None, "_own": 1, "__module__": __name__})
