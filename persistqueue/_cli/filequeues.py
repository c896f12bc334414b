"""A look at a file queue that changes nothing and takes no lock."""

from __future__ import annotations

import os
import re
import stat
import time
from typing import TYPE_CHECKING, Any

from .._core.block import reason_of
from .._core.deadline import monotonic
from .._core.disk import ReadOnlyDisk
from .._core.folder import Folder
from .._core.framing import recognise
from .._core.signedframing import SignedFraming
from .._files.directory import ChunkDirectory
from .._files.info import BadInfo
from .._files.salvage import Place
from ..exceptions import PersistQueueError
from . import choice
from .report import NOT_LOADED, Part, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.cursor import State
    from .._core.disk import Disk
    from .._files.salvage import Stretch

_ASIDE = re.compile(r".*\.corrupt-[0-9]+", re.DOTALL)
_OURS = re.compile(r"info|q[0-9]{5,}|\.lock|.*\.corrupt-[0-9]+", re.DOTALL)
_TRIES = 20  # looks at an info that somebody may be writing at this moment
_BEGINNING = 4096  # bytes of a file that tell its serializer


def is_file_queue(path: str) -> bool:
    """Return whether a directory holds a file queue."""
    names = set(os.listdir(path))
    return "info" in names or bool(ChunkDirectory(ReadOnlyDisk(), Folder(path)).chunks())


def is_part(path: str) -> bool:
    """Return whether a file has the name of one in a file queue's directory."""
    return bool(_OURS.fullmatch(os.path.basename(path)))


def place_of(path: str, serializer: Any, longest: int | None, disk: Disk | None = None) -> Place:
    """Return a directory, with the serializer given or recognised.

    Args:
        disk: None for one that reads only.

    Raises:
        UnknownSerializer: it is none of ours, and none was given.
    """
    serializer = serializer or choice.named(serializer_of(path))
    if serializer is None:
        raise choice.UnknownSerializer(
            f"{path}: it cannot be seen which serializer wrote it: say --serializer"
        )
    return Place(disk or ReadOnlyDisk(), path, choice.framing(serializer), longest)


def serializer_of(path: str, of_none: str | None = "pickle") -> str | None:
    """Return the name of the serializer, also while somebody puts the very first item.

    Args:
        of_none: of a queue without items, whichever it will be.
    """
    for _ in range(_TRIES):
        if name := _recognised(path):
            return name
        if _is_empty(path):
            return of_none
        time.sleep(0.005)
    return None


def stored_state(place: Place) -> tuple[bytes | None, State | None]:
    """Return what ``info`` holds; no state if there is no ``info``.

    Raises:
        BadInfo: it is damaged, and stays so.
    """
    for attempt in range(_TRIES):
        raw = place.info.read(monotonic())
        if raw is None:
            return None, None
        try:
            return raw, place.info.decode(raw)
        except BadInfo:  # torn: somebody is writing it
            if attempt == _TRIES - 1:
                raise
            place.info.close()
            time.sleep(0.005)
    raise AssertionError


def look(
    path: str,
    serializer: Any,
    longest: int,
    progress: Callable[[int, int], None],
    *,
    load: bool = False,
) -> tuple[Report, list[Stretch]]:
    """Return what is in a queue's directory, and where its damage is.

    Args:
        load: load each item, too: runs the code of pickles.
    """
    report = Report(path, "file queue", files=_sizes(path))
    report.set_aside = {name: n for name, n in report.files.items() if _ASIDE.fullmatch(name)}
    damage: list[Stretch] = []
    try:
        place = place_of(path, serializer, longest)
        try:
            damage = _look_at(place, report, progress, load)
        finally:
            place.close()
    except BadInfo as bad:
        report.damage.add(f"info: {bad}; opening the queue, or repair, rebuilds it from the chunks")
    except (PersistQueueError, ImportError, OSError) as error:
        report.damage.add(str(error))
    return report, damage


def _look_at(
    place: Place, report: Report, progress: Callable[[int, int], None], load: bool
) -> list[Stretch]:
    framing = place.framing
    unchecked = isinstance(framing, SignedFraming) and not framing.strict
    name = choice.name_of("signed") if unchecked else framing.name
    part = Part("items", "Queue, AsyncQueue", serializer=name)
    report.parts.append(part)
    raw, state = stored_state(place)
    chunks = place.chunks.chunks()
    if state is None:
        part.counts = {"items": 0}
        if not any(map(place.chunks.solid, chunks)):
            return []
        raw, state = stored_state(place)  # it may be there since: it is written first
    if state is None:
        report.damage.add("info is missing; opening the queue, or repair, rebuilds it")
        return []
    part.oldest, part.oldest_is = _oldest(place, state)
    readable, damage = 0, []
    for stretch in place.walk(state):
        readable += not stretch.reason
        if stretch.reason:
            damage.append(stretch)
        elif load and (reason := _load(place, stretch)):
            report.damage.add(f"{_where(place, stretch)}: {NOT_LOADED.format(reason)}")
        progress(state.ordinal(stretch.end) - state.ordinal(state.tail), state.size)
    after, now = stored_state(place)
    if now is not None and after != raw:
        report.notes.append("somebody uses it: this is how it was a moment ago")
        damage = [stretch for stretch in damage if stretch.start >= now.tail]
    part.counts = {"items": state.size, "readable": readable}
    part.size = sum(place.chunks.length(chunk) for chunk in chunks)
    for stretch in damage:
        report.damage.add(_describe(place, stretch, state))
    _note_strays(place, state if now is None else now, report)
    return damage


def _load(place: Place, stretch: Stretch) -> str:
    """Load an item, for nobody; returns why it cannot be, or nothing."""
    chunk, _, offset = stretch.start
    try:
        place.reader.decode(chunk, offset, None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever its code raises
        return reason_of(error)
    return ""


def _where(place: Place, stretch: Stretch) -> str:
    chunk, records, offset = stretch.start
    name = os.path.basename(place.chunks.chunk_path(chunk))
    return f"{name}, byte {offset}, record {records}"


def _describe(place: Place, stretch: Stretch, state: State) -> str:
    lost = state.ordinal(stretch.end) - state.ordinal(stretch.start)
    return f"{_where(place, stretch)}: {stretch.reason} (takes {lost} items)"


def _note_strays(place: Place, state: State, report: Report) -> None:
    for chunk in place.chunks.chunks():
        name = os.path.basename(place.chunks.chunk_path(chunk))
        if chunk < state.tail.chunk:
            report.notes.append(f"{name} is used up; opening the queue removes it")
        start = state.head.offset if chunk == state.head.chunk else 0
        if chunk >= state.head.chunk and place.chunks.solid(chunk, start):
            report.notes.append(
                f"{name} has bytes of a put that is under way or never finished; opening the "
                "queue sets them aside"
            )


def _oldest(place: Place, state: State) -> tuple[float | None, str]:
    if not state.size:
        return None, ""
    path = place.chunks.chunk_path(state.tail.chunk)
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError:
        return None, ""
    return age, f"or older: when {os.path.basename(path)} was last written to"


def _sizes(path: str) -> dict[str, int]:
    found = {}
    for name in sorted(os.listdir(path)):
        try:
            status = os.lstat(os.path.join(path, name))
        except OSError:
            continue  # gone meanwhile
        if stat.S_ISREG(status.st_mode) and _OURS.fullmatch(name):
            found[name] = status.st_size
    return found


def _is_empty(path: str) -> bool:
    """Return whether nobody has put anything yet."""
    chunks = ChunkDirectory(ReadOnlyDisk(), Folder(path))
    return "info" not in os.listdir(path) and not any(map(chunks.solid, chunks.chunks()))


def _recognised(path: str) -> str | None:
    """Return the name of the serializer, by ``info`` or by the first chunk."""
    disk = ReadOnlyDisk()
    chunks = ChunkDirectory(disk, Folder(path))
    try:
        file = disk.open(os.path.join(path, "info"))
        try:
            name = recognise(disk.read(file, _BEGINNING, 0))
        finally:
            file.close()
    except FileNotFoundError:
        name = None
    beginnings = (
        chunks.read(chunk, 0, min(_BEGINNING, chunks.length(chunk))) for chunk in chunks.chunks()
    )
    return name or next(filter(None, map(choice.recognise_chunk, beginnings)), None)
