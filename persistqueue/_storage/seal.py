"""An encoded item as a record of a storage engine, with a checksum.

Pickled ones carry a checksum of their own (see ``framing``), which every unpickler skips;
others get four bytes of CRC-32 in front.
"""

from __future__ import annotations

import io
from struct import Struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

from .block import Block, Damaged
from .framing import PickleFraming

if TYPE_CHECKING:
    from .framing import Framing

_CRC = Struct("<L")


class Seal:
    """Puts a checksum on what a framing encodes, and decodes what carries one.

    Args:
        longest: bound on an encoded item, in bytes, checked before loading it.
    """

    def __init__(self, framing: Framing, longest: int) -> None:
        self._framing = framing
        self._longest = longest
        self._bare = isinstance(framing, PickleFraming)

    def put(self, encoded: bytes) -> bytes:
        """Return the record."""
        return encoded if self._bare else _CRC.pack(crc32(encoded)) + encoded

    def decode(self, record: bytes | None) -> Any:
        """Return the item.

        Raises:
            Damaged: the record is missing, or is not what was stored.
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
        """
        if record is None:
            raise Damaged("the record is missing")
        if not self._bare:
            checksum, record = record[: _CRC.size], record[_CRC.size :]
            if checksum != _CRC.pack(crc32(record)):
                raise Damaged("its checksum does not fit")
        data, length = record, len(record)

        def stream(offset: int, limit: int | None) -> io.BytesIO:
            return io.BytesIO(data[offset:] if limit is None else data[offset : offset + limit])

        item, end = self._framing.decode(Block(0, 0, data, length, self._longest, stream), 0)
        if end != length:
            raise Damaged(f"{length - end} bytes too many")
        return item
