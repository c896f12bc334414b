"""Framing of the formats that are not self-delimiting: a 4-byte length in front."""

from __future__ import annotations

from struct import Struct
from typing import IO

LENGTH = Struct("<L")


def write(payload: bytes, fp: IO[bytes]) -> None:
    """Write the length of ``payload`` (little-endian, 4 bytes), then ``payload``."""
    fp.write(LENGTH.pack(len(payload)))
    fp.write(payload)


def read(fp: IO[bytes]) -> bytes:
    """Read one payload.

    Raises:
        EOFError: ``fp`` ends before the payload does.
    """
    prefix = fp.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        raise EOFError("no length prefix: the data ends here")
    (length,) = LENGTH.unpack(prefix)
    payload = fp.read(length)
    if len(payload) < length:
        raise EOFError(f"{length} bytes announced, {len(payload)} there")
    return payload
