"""The ``info`` file: its size never changes, so one sector is the commit.

``info`` is 512 bytes from birth: the value as the serializer frames it, a trailer,
zeros.  Readers stop after the first value, persist-queue's own too.  The trailer
tells a torn write from a whole one::

    70 71 49       magic "pqI"
    01             version of the format
    .. .. .. ..    length of the value in front (little-endian)
    .. .. .. ..    its CRC-32

A supplement may stand behind the trailer (see ``supplement``).

``info`` is overwritten in place.  The first one, the first after persist-queue wrote it,
and every one of a foreign serializer (whose ``load`` may read to the end of the
file) is written to a temporary file that then replaces it.
"""

from __future__ import annotations

import os
import time
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from .._core.block import Damaged, Short
from .._core.cursor import NONE_MISSING, Missing, State, parse
from .._core.finished import AVOIDED as _MAGIC
from .._core.finished import decode as decode_ranges
from .._core.framing import plain_pickle, recognise
from ..exceptions import FormatError, QueueFailed, SerializationError
from . import supplement

if TYPE_CHECKING:
    from .._core.disk import Disk, File
    from .._core.finished import Finished
    from .._core.folder import Folder
    from .._core.framing import Framing
    from .supplement import Supplement

SIZE = 512
VERSION = 1
_TRAILER = Struct("<3sBLL")
_LONGEST = 4096  # bytes of a native info that are looked at
_READS_AT = hasattr(os, "pread")
RECHECK = 0.010  # s after which a name is looked up again


class BadInfo(Exception):
    """The bytes are no ``info`` of this queue; the message says why."""


class InfoFile:
    """Reads and writes one ``info``; the caller holds the directory's lock.

    Args:
        tempdir: where the temporary file goes; None for beside ``info``.
    """

    def __init__(self, disk: Disk, folder: Folder, framing: Framing, tempdir: str | None) -> None:
        self.path = os.path.join(folder.path, "info")
        self._disk = disk
        self._folder = folder
        self._framing = framing
        self._temporary = (
            os.path.join(folder.path, ".info.tmp")
            if tempdir is None
            else os.path.join(tempdir, f".persistqueue-{os.getpid()}-{time.time_ns()}.tmp")
        )
        self._temporary_in = folder if tempdir is None else None
        self._file: File | None = None
        self._identity: tuple[int, int] | None = None
        self._checked = float("-inf")
        self._in_place = False

    def read(self, now: float) -> bytes | None:
        """Return the bytes as they are now, or None when there is no ``info``.

        The name is looked up again after 10 ms, or each time when the program that writes it
        replaces the file: persist-queue does, and so do foreign serializers.
        """
        if now - self._checked >= RECHECK or not self._in_place:
            self._checked = now
            identity = self._disk.identity(self.path, self._folder)
            if identity is None or identity != self._identity:
                self._reopen(identity)
        if self._file is None:
            return None
        if self._in_place:
            return self._disk.read(self._file, SIZE, 0)
        size = _LONGEST if self._framing.native else self._disk.size(self._file)
        return self._disk.read(self._file, size, 0)

    def look_up(self) -> None:
        """Look the name up at the next ``read``."""
        self._checked = float("-inf")

    def decode(self, raw: bytes) -> State:
        """Return the state that ``raw`` holds; runs no code that ``raw`` names.

        Raises:
            FormatError: another serializer or a newer version wrote it.
            BadInfo: it is damaged.
        """
        value = self._value(raw)
        try:
            state = parse(self._framing.load_info(value))
        except (SerializationError, OSError):  # not the file's fault
            raise
        except Exception as error:
            other = recognise(value)
            ours = self._framing.native or _is_ours(raw)
            if ours and other is not None and other != self._framing.name:
                raise FormatError(
                    f"{self.path} was written with the {other} serializer, "
                    f"this queue was opened with {self._framing.name}; nothing was touched"
                ) from error
            reason = "it holds no whole value" if isinstance(error, Short | Damaged) else str(error)
            raise BadInfo(reason) from error
        self._in_place = self._framing.native and len(value) < len(raw)
        found = self._supplement(raw)
        missing = found.missing
        if missing is not NONE_MISSING:
            missing = Missing(missing.items, state.ordinal(state.tail) + missing.before)
        elif not found.mended:
            return state
        return state._replace(mended=found.mended, missing=missing)

    def encode(
        self, state: State, finished: Finished | None = None, *, flushed: bool = False
    ) -> bytes:
        """Return the bytes of ``info`` for a state.

        Args:
            finished: items behind the tail, of which as many are named as there is room for.
            flushed: the chunk of the head is safe against power loss up to the head.
        """
        value = self._framing.dump_info(state.mapping())
        if not self._framing.native:
            return value
        checksum = crc32(value)
        raw = value + _TRAILER.pack(_MAGIC, VERSION, len(value), checksum)
        known = state.mended or state.missing is not NONE_MISSING
        if flushed or known or (finished is not None and finished.ranges):
            raw += supplement.write(state, finished, SIZE - len(raw), checksum, flushed=flushed)
        return raw.ljust(SIZE, b"\0")

    def supplement(self, raw: bytes | None, state: State) -> tuple[bool, list[tuple[int, int]]]:
        """Return whether the head was flushed, and the ranges of finished items behind the tail.

        Args:
            state: what ``decode`` has returned for ``raw``.
        """
        found = supplement.NONE if raw is None else self._supplement(raw)
        ordinals = state.ordinal(state.tail), state.ordinal(state.head)
        try:
            return found.flushed, decode_ranges(found.ranges, *ordinals) if found.ranges else []
        except ValueError:  # written by something else
            return found.flushed, []

    def _supplement(self, raw: bytes) -> Supplement:
        found = _trailer_of(raw) if self._framing.native else None
        if found is None:
            return supplement.NONE
        at = found[0]
        return supplement.read(raw, at + _TRAILER.size, crc32(raw[:at]))

    def write(self, raw: bytes, *, sync: bool) -> None:
        """Make ``raw`` the content; with ``sync``, safe against power loss on return.

        Raises:
            QueueFailed: it is to replace a file, and the path leads to another directory by now.
        """
        if self._in_place and self._file is not None:
            self._disk.write(self._file, raw, 0)
            if sync:
                self._disk.sync(self._file)
        else:
            self._folder.check()
            self.put(raw, sync=sync)

    def put(self, raw: bytes | None, *, sync: bool) -> None:
        """Make ``raw`` the content, wherever the path leads by now; None: remove the file."""
        if raw is None:
            self.close()
            self._disk.unlink(self.path, self._folder)
        elif self._in_place and self._file is not None:
            self.write(raw, sync=sync)
            return
        else:
            self._replace(raw)
        if sync:
            self._disk.sync_directory(self._folder.path, self._folder)

    def is_whole(self, raw: bytes | None) -> bool:
        """Return whether ``raw`` is no damaged ``info``."""
        try:
            return raw is None or self.decode(raw) is not None
        except BadInfo:
            return False

    def holds(self, raw: bytes) -> bool:
        """Return whether ``raw`` is what the name leads to now."""
        try:
            file = self._disk.open(self.path, folder=self._folder)
        except (OSError, QueueFailed):
            return False
        try:
            return self._disk.read(file, len(raw) + 1, 0) == raw
        finally:
            file.close()

    def restore(self, raw: bytes | None, *, sync: bool) -> bool:
        """Make sure that ``raw`` (None: no file) is the content again after a failure.

        Args:
            sync: safe against power loss, too.

        Returns:
            whether it is.
        """
        try:
            if raw is None or not self.holds(raw):
                self.put(raw, sync=sync)
            elif sync:
                self.sync()
            return raw is None or self.holds(raw)
        except (OSError, QueueFailed):
            return False

    def differs(self, raw: bytes | None, by_name: bool) -> bool:
        """Return whether ``read`` may return something else now; any thread may ask.

        Args:
            by_name: look the name up, too, even if this one is overwritten in place.

        A descriptor that is closed under this call makes it answer True: "look again".
        Windows has no read at an offset, so there it always answers that.
        """
        file, in_place = self._file, self._in_place
        try:
            if by_name or not in_place:
                found = self._disk.identity(self.path, self._folder)
                if found != self._identity:
                    return True
            if file is None:
                return False
            size = SIZE if in_place else _LONGEST
            return not _READS_AT or self._disk.read(file, size, 0) != raw
        except (OSError, ValueError, QueueFailed):
            return True

    def probe(self, raw: bytes | None) -> tuple[int, bytes] | None:
        """Return the descriptor and ``raw``, if a read is enough to see a change."""
        file = self._file
        if file is None or raw is None or not self._in_place or not _READS_AT:
            return None
        return file.fd, raw

    @property
    def name(self) -> tuple[int, int] | None:
        """The file that its name leads to, where that stays the same over commits."""
        return self._identity if self._in_place else None

    def is_current(self) -> bool:
        """Return whether its name leads to what is written to."""
        return self._disk.identity(self.path, self._folder) == self._identity

    def sync(self) -> None:
        """Force what was written to stable storage."""
        if self._file is not None:
            self._disk.sync(self._file)

    def close(self) -> None:
        """Close the descriptor."""
        if self._file is not None:
            self._file.close()
        self._file = self._identity = None
        self._in_place = False

    def _value(self, raw: bytes) -> bytes:
        """Return what stands in front of the trailer; all of it if there is none."""
        if not self._framing.native:
            return raw
        trailer = _trailer_of(raw)
        if trailer is None:
            if len(raw) == SIZE:
                raise BadInfo("its trailer is missing")
            return raw
        at, version, fits = trailer
        if version > VERSION:
            raise FormatError(
                f"{self.path} is of format {version}, this release reads format {VERSION}: "
                "update persist-queue; nothing was touched"
            )
        if not fits:
            raise BadInfo("its checksum does not fit")
        return raw[:at]

    def _replace(self, raw: bytes) -> None:
        # Without a sync before the rename, a power cut may leave an empty info.  A native
        # one is replaced once in its life; a foreign one could not be rebuilt.
        file = self._disk.open(self._temporary, create=True, folder=self._temporary_in)
        try:
            self._disk.truncate(file, 0)
            self._disk.write(file, raw, 0)
            self._disk.sync(file)
        except OSError:
            file.close()
            self._disk.unlink(self._temporary, self._temporary_in)
            raise
        finally:
            file.close()  # Windows renames no open file, and none over an open one
        self.close()
        self._disk.replace(self._temporary, self.path, self._folder)
        self._reopen(self._disk.identity(self.path, self._folder))
        self._in_place = self._framing.native

    def _reopen(self, identity: tuple[int, int] | None) -> None:
        self.close()
        if identity is not None:
            self._file = self._disk.open(self.path, folder=self._folder)
            self._identity = identity


def _trailer_of(raw: bytes) -> tuple[int, int, bool] | None:
    """Return where the trailer begins, its version, and whether it fits the value in front.

    A checksum may hold the magic by chance, so the trailer is the last magic that fits.
    """
    found, end = None, len(raw)
    while (at := raw.rfind(_MAGIC, 0, end)) >= 0:
        if len(raw) >= at + _TRAILER.size:
            _, version, length, checksum = _TRAILER.unpack_from(raw, at)
            fits = length == at and checksum == crc32(raw[:at])
            found = found if found and not fits else (at, version, fits)
            if fits:
                break
        end = at + len(_MAGIC) - 1
    return found


def _is_ours(raw: bytes) -> bool:
    """Return whether a shipped serializer, or persist-queue, wrote this, and it is whole."""
    trailer = _trailer_of(raw)
    if trailer is not None:
        return trailer[2]
    try:
        parse(plain_pickle(raw))
    except Exception:  # noqa: BLE001 - a few bytes may raise any error
        return False
    return True
