"""An encoded item as a record of a storage engine, with a checksum.

Pickled items have a checksum of their own (see ``framing``), which every unpickler skips;
other items get four bytes of CRC-32 in front.
"""

from __future__ import annotations

import importlib
import io
from struct import Struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

from .._core.block import Block, Damaged, is_whole_pickle
from .._core.framing import PickleFraming, framing_of
from ..exceptions import FormatError, SerializationError

if TYPE_CHECKING:
    from .._core.framing import Framing

_CRC = Struct("<L")
_SIGNED = b"pqS1"  # begins a signed record


class Seal:
    """Makes records of a framing's encoded items, and items of records.

    Args:
        longest: bound on an encoded item, in bytes, checked before loading it.
    """

    def __init__(self, framing: Framing, longest: int) -> None:
        self._framing = framing
        self._longest = longest
        self._bare = isinstance(framing, PickleFraming)

    def put(self, encoded: bytes) -> bytes:
        """Return the record of an encoded item."""
        return encoded if self._bare else _CRC.pack(crc32(encoded)) + encoded

    def decode(self, record: bytes | None) -> Any:
        """Return the item.

        Raises:
            Damaged: the record is missing, or its bytes changed.
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            FormatError: it is whole, and another serializer wrote it.
        """
        if record is None:
            raise Damaged("the record is missing")
        encoded = record if self._bare else _unsealed(record)
        if encoded is None:
            self._refuse_others(record)
            raise Damaged("its checksum does not fit")
        try:
            return _decoded(self._framing, encoded, self._longest)
        except Damaged as damage:
            self._refuse_others(record)
            if self._bare or self._framing.name == "signed":  # its key says what is whole
                raise
            raise SerializationError(
                f"{self._framing.name} cannot decode it ({damage}), though its checksum fits; it "
                "stays stored: mend what fails, or get past it with set_aside()"
            ) from damage.__cause__

    def _refuse_others(self, record: bytes) -> None:
        """Raise if another shipped serializer wrote a record."""
        if not self._framing.native:  # a user's own may write the same bytes as a shipped one
            return
        if (name := writer_of(record)) is not None and name != self._framing.name:
            raise FormatError(
                f"it was written with the {name} serializer, this queue was opened with "
                f"{self._framing.name}; nothing was touched"
            )


def writer_of(record: bytes) -> str | None:
    """Return the shipped serializer that wrote a whole record; None if that cannot be seen."""
    if record[:2] == b"\x80\x04":
        return "pickle" if is_whole_pickle(record) else None
    encoded = _unsealed(record)
    if encoded is None:
        return None
    if encoded.startswith(_SIGNED):
        return "signed"
    for name in ("json", "msgpack", "cbor2"):
        try:
            framing = framing_of(importlib.import_module(f"persistqueue.serializers.{name}"))
            _decoded(framing, encoded, len(encoded))
        except (ImportError, Damaged, SerializationError):
            continue
        return name
    return None


def _unsealed(record: bytes) -> bytes | None:
    """Return the bytes behind a checksum; None if it does not fit."""
    checksum, encoded = record[: _CRC.size], record[_CRC.size :]
    return encoded if checksum == _CRC.pack(crc32(encoded)) else None


def _decoded(framing: Framing, encoded: bytes, longest: int) -> Any:
    """Return the item of one encoded item, with nothing behind it."""
    length = len(encoded)

    def stream(offset: int, limit: int | None) -> io.BytesIO:
        return io.BytesIO(encoded[offset:] if limit is None else encoded[offset : offset + limit])

    item, end = framing.decode(Block(0, 0, encoded, length, longest, stream), 0)
    if end != length:
        raise Damaged(f"{length - end} bytes too many")
    return item
