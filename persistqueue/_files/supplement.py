"""What stands behind the trailer of ``info``: what is finished, what is missing, what was flushed.

Releases that do not know of it ignore it, and write ``info`` without it::

    70 71 46       magic "pqF"
    ..             bit 0: the head was flushed; bits 1 to 3: how often ordinals got another
                   meaning, modulo 8; bit 4: items are missing; the other bits mean nothing
    .. ..          length of what stands in front of the checksum
    ..             if items are missing: how many, and in front of which record behind the tail;
                   seven bits a byte, the lowest first, with the highest bit; a 00 ends each
    ..             ranges of finished items behind the tail (see ``finished``)
    .. .. .. ..    the CRC-32 of the value and all of this

It never holds the trailer's magic, which is searched from the right: the ranges avoid it, the
numbers in front of them hold no letters, and bits that mean nothing give another checksum.  A
supplement that is damaged counts as none: then finished items are redelivered.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from .._core.cursor import MENDINGS, NONE_MISSING, Missing
from .._core.finished import AVOIDED as MAGIC
from .._core.finished import decode_number, numbers_without_letters

if TYPE_CHECKING:
    from .._core.cursor import State
    from .._core.finished import Finished

_HEAD = Struct("<3sBH")
_MAGIC = b"pqF"
_CHECKSUM = Struct("<L")
SIZE = _HEAD.size + _CHECKSUM.size  # of one that says nothing
_FLUSHED, _MISSING, _FREE = 1, 16, 32  # flags; from the last on they mean nothing
_USUAL = _HEAD.pack(_MAGIC, _FLUSHED, 0)  # the supplement of most infos


class Supplement(NamedTuple):
    """What a supplement says.

    Attributes:
        flushed: the chunk of the head is safe against power loss up to the head.
        mended: see ``State``.
        missing: how many items, and in front of which record behind the tail.
        ranges: the finished items, as ``Finished.encode`` writes them.
    """

    flushed: bool = False
    mended: int = 0
    missing: Missing = NONE_MISSING
    ranges: bytes = b""


NONE = Supplement()


def read(raw: bytes, at: int, checksum: int) -> Supplement:
    """Return what the supplement at an offset says; nothing if there is none or it is damaged.

    Args:
        checksum: of the value.
    """
    if not raw.startswith(_MAGIC, at) or len(raw) < at + SIZE:
        return NONE
    _, flags, length = _HEAD.unpack_from(raw, at)
    first, end = at + _HEAD.size, at + _HEAD.size + length
    if end + _CHECKSUM.size > len(raw):
        return NONE
    if _CHECKSUM.unpack_from(raw, end) != (crc32(raw[at:end], checksum),):
        return NONE
    missing = NONE_MISSING
    if flags & _MISSING:
        try:
            count, first = decode_number(raw[:end], first)
            before, first = decode_number(raw[:end], first)
        except ValueError:  # written by something else
            return NONE
        missing = Missing(count, before)
    mended = flags // 2 % MENDINGS
    return Supplement(bool(flags & _FLUSHED), mended, missing, raw[first:end])


def write(
    state: State, finished: Finished | None, room: int, checksum: int, *, flushed: bool
) -> bytes:
    """Return the supplement of a state; no bytes if it would say nothing, or has no room.

    Args:
        finished: items behind the tail, of which as many are named as there is room for.
        room: in bytes.
        checksum: of the value.
        flushed: the chunk of the head is safe against power loss up to the head.
    """
    flags, tail, data = flushed | state.mended << 1, state.ordinal(state.tail), b""
    if state.missing is not NONE_MISSING:
        count, before = state.missing
        flags |= _MISSING
        data = numbers_without_letters(count, max(before - tail, 0))
    if finished is not None and finished.ranges:
        data += finished.encode(tail, room - SIZE - len(data))
    if not (flags or data) or room < SIZE + len(data):
        return b""
    for more in range(0, 256, _FREE):
        start = _USUAL
        if data or flags + more != _FLUSHED:
            start = _HEAD.pack(_MAGIC, flags + more, len(data)) + data
        made = start + _CHECKSUM.pack(crc32(start, checksum))
        if MAGIC not in made:
            return made
    return b""
