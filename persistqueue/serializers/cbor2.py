"""CBOR (RFC 8949): compact, with dates, decimals, sets and big integers.

Needs the package cbor2: ``pip install "persist-queue[extra]"``.
"""

from __future__ import annotations

import os
from math import inf
from typing import IO, Any

from . import _framed
from ._sorting import by_key

try:
    import cbor2
except ModuleNotFoundError:
    raise ImportError(
        'the cbor2 serializer needs the package cbor2: pip install "persist-queue[extra]"'
    ) from None


def dump(value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
    """Write a length and ``value`` to ``fp``; ``sort_keys`` orders a top-level dict."""
    _framed.write(dumps(value, sort_keys), fp)


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as bytes; ``sort_keys`` orders the keys of a top-level dict."""
    data: bytes = cbor2.dumps(by_key(value, sort_keys))
    return data


def load(fp: IO[bytes]) -> Any:
    """Read one value from ``fp`` and leave ``fp`` behind it."""
    return loads(_framed.read(fp))


def loads(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` holds.

    Raises:
        ValueError: bytes are left behind it, or it is no CBOR.
    """
    # cbor2 ignores what stands behind the first value, and tells where it stopped in some of
    # its releases only.  So the value is read as the first one of a pair.
    try:
        value, mark = cbor2.loads(b"".join((_PAIR, bytes_value, _MARK)))
    except Exception:  # noqa: BLE001 - or it is as deep as can be, without a pair around it
        return _alone(bytes_value)
    if mark != _MARK[1:]:
        raise ValueError(_BEHIND)
    return value


def _alone(bytes_value: bytes) -> Any:
    value = cbor2.loads(bytes_value)
    if _length(bytes_value) != len(bytes_value):
        raise ValueError(_BEHIND)
    return value


def _length(data: bytes) -> int:
    """Return where the first value ends; it can be decoded, so nothing of it is missing."""
    at = 0
    left: list[float] = [1]  # values to come, by level; endless where a break ends them
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        major, value = divmod(data[at], 32)
        at += 1
        if value == 31:
            left.append(inf) if major < 7 else left.pop()
            continue
        if value > 23:
            size = 1 << value - 24
            value = int.from_bytes(data[at : at + size], "big")
            at += size
        if major in (2, 3):
            at += value
        elif major in (4, 5):
            left.append(value * (major - 3))
        elif major == 6:
            left[-1] += 1
    return at


_PAIR = b"\x82"
_MARK = b"\x48" + os.urandom(8)  # eight bytes that no other program writes
_BEHIND = "bytes are left behind the value"
