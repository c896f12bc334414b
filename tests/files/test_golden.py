"""Directories that releases wrote are read, and written again, to the byte.

What they are and how to add a release's own: see ``golden_cases``.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from golden_cases import CASES, GOLDEN, SERIALIZERS, Case, write

from persistqueue import Queue, serializers

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = sorted(file.parent.name for file in GOLDEN.glob("*/infos.json"))
THIS = "persistqueue-2.0"  # the release that last changed how anything is written
INFOS = {release: json.loads((GOLDEN / release / "infos.json").read_text()) for release in RELEASES}

each_release = pytest.mark.parametrize("release", RELEASES)
each_serializer = pytest.mark.parametrize("name", SERIALIZERS)
each_case = pytest.mark.parametrize("kind", CASES)


def bring(release: str, name: str, kind: str, path: Path) -> Queue[Any]:
    """Open a copy of a golden directory."""
    shutil.copytree(GOLDEN / release / name / kind, path)
    return Queue(path, serializer=getattr(serializers, name))


def contents(path: Path) -> dict[str, bytes]:
    """Return what is in a directory; an empty file is a lock, or a chunk to come."""
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    return {name: data for name, data in files.items() if data}


def without_flag(info: bytes) -> bytes:
    """Return an ``info`` without the words that the head was flushed, which "power" adds."""
    at = info.index(b"pqF\x01\0\0")
    return info[:at] + bytes(10) + info[at + 10 :]


def cut_zeros(path: Path, info: dict[str, Any]) -> None:
    """Cut the space behind the head that is allocated ahead; nothing else may be there."""
    number, _, offset = info["head"]
    chunk = path / f"q{number:05d}"
    if chunk.exists():
        data = chunk.read_bytes()
        assert data[offset:].strip(b"\0") == b""
        chunk.write_bytes(data[:offset])


def test_every_case_was_written_by_every_release() -> None:
    """There is a directory, and what ``info`` says, for each release, serializer and case."""
    expected = {f"{name}/{kind}" for name in SERIALIZERS for kind in CASES}
    for release in RELEASES:
        folders = {"/".join(folder.parts[-3:-1]) for folder in GOLDEN.glob(f"{release}/*/*/info")}
        assert (expected, expected) == (folders, set(INFOS[release]))


@each_release
@each_serializer
@each_case
def test_an_old_directory_holds_what_was_put(
    path: Path, release: str, name: str, kind: str
) -> None:
    """Each item that was stored comes out, in order; new ones come behind them."""
    case = CASES[kind]
    with bring(release, name, kind, path) as queue:
        assert len(case.stored) == queue.qsize() == queue.unfinished_tasks
        queue.put("new")
        items = queue.get_many(100)
        assert [*case.stored, "new"] == items
        queue.task_done(len(items))
    with Queue[Any](path, serializer=getattr(serializers, name)) as queue:
        assert queue.empty()


@each_release
@each_serializer
@each_case
def test_an_old_info_says_what_it_said(path: Path, release: str, name: str, kind: str) -> None:
    """``info`` is the mapping that the release itself reported, key for key in its order."""
    with bring(release, name, kind, path) as queue:
        assert json.dumps(INFOS[release][f"{name}/{kind}"]) == json.dumps(queue.info)


@each_release
@each_serializer
@each_case
def test_opening_and_closing_changes_nothing(
    path: Path, release: str, name: str, kind: str
) -> None:
    """A directory that was only opened holds the same bytes; a killed put's are moved."""
    before = contents(GOLDEN / release / name / kind)
    bring(release, name, kind, path).close()
    after = contents(path)
    if stray := CASES[kind].stray:
        (aside,) = (name for name in after if ".corrupt-" in name)
        after["q00000"] += after.pop(aside)
        assert after["q00000"].endswith(stray)
    assert before == after


@each_serializer
@each_case
@pytest.mark.parametrize("durability", ["power", "process"])
def test_what_is_written_now_equals_what_was_written(
    path: Path, name: str, kind: str, durability: str
) -> None:
    """The same calls leave the same bytes in every file as in the release of that name."""
    info = write(path, name, CASES[kind], durability=durability)
    assert INFOS[THIS][f"{name}/{kind}"] == info
    if durability == "power" and not CASES[kind].stray:
        cut_zeros(path, info)
    found = contents(path)
    if durability == "power":
        found["info"] = without_flag(found["info"])
    assert contents(GOLDEN / THIS / name / kind) == found


@each_serializer
def test_an_old_directory_goes_on_as_a_new_one(tmp_path: Path, name: str) -> None:
    """Put and finished alike, an opened old directory and a fresh one end up the same."""
    old, fresh = tmp_path / "old", tmp_path / "fresh"
    bring(THIS, name, "half-consumed", old).close()
    write(fresh, name, CASES["half-consumed"])
    for path in (old, fresh):
        with Queue[Any](path, serializer=getattr(serializers, name)) as queue:
            queue.put_many(["more", "and more"])
            queue.get_many(3)
            queue.task_done(3)
    assert contents(fresh) == contents(old)


@each_serializer
@pytest.mark.parametrize("kind", ["fresh", "half-consumed", "all-consumed"])
def test_upstreams_directory_becomes_ours(path: Path, name: str, kind: str) -> None:
    """The first commit on upstream's directory makes its ``info`` ours, all at once."""
    case: Case = CASES[kind]
    with bring("persist-queue-1.1.0", name, kind, path) as queue:
        assert 512 > (path / "info").stat().st_size
        queue.put("first")
        assert 512 == (path / "info").stat().st_size
        assert [*case.stored, "first"] == queue.get_many(100)
