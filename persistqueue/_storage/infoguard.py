"""What keeps a hostile ``info`` from costing more than its few bytes.

Pickle and CBOR can say "the same object again".  A tuple of two tuples that are one object,
forty times over, is a hundred bytes; as a key of a dict it is hashed for days.  An ``info``
holds a dict of lists of numbers, so what such a thing is made of is refused unread.
"""

from __future__ import annotations

from .block import Damaged

_TUPLES = b"t\x85\x86\x87\x91"  # pickle's opcodes for what is immutable and holds others
_FEW = 2  # cannot do it in 4 KiB


def refuse_tuples(raw: bytes) -> None:
    """Refuse a pickle with tuples.

    Raises:
        Damaged: it holds them.
    """
    if len(raw) - len(raw.translate(None, _TUPLES)) - raw.count(b"tail") <= _FEW:
        return  # whatever these bytes stand for
    import pickletools  # 5 ms

    for opcode, _, _ in pickletools.genops(raw):
        if opcode.code.encode("latin-1") in _TUPLES:
            raise Damaged("it holds tuples")


def refuse_tags(data: bytes) -> None:
    """Refuse CBOR with anything but numbers, text, lists and maps.

    Raises:
        Damaged: it holds that.
        IndexError: it ends too early.
    """
    at, left = 0, 1
    while left:
        left -= 1
        major, value = divmod(data[at], 32)
        at += 1
        if value > 23:
            size = 1 << value - 24
            value = int.from_bytes(data[at : at + size], "big")
            at += size
        if major > 5:
            raise Damaged("it holds tags")
        at += value if major in (2, 3) else 0
        left += value * {4: 1, 5: 2}.get(major, 0)
