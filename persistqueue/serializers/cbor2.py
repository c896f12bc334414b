"""CBOR (RFC 8949): compact, with dates, decimals, sets and big integers.

Needs the package cbor2: ``pip install "persist-queue[extra]"``.
"""

from __future__ import annotations

import os
from typing import IO, Any

from ._shared import by_key, read_framed, write_framed

try:
    import cbor2
except ModuleNotFoundError:
    raise ImportError(
        'the cbor2 serializer needs the package cbor2: pip install "persist-queue[extra]"'
    ) from None


def dump(value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
    """Write a length and ``value`` to ``fp``; ``sort_keys`` orders a top-level dict."""
    write_framed(dumps(value, sort_keys), fp)


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as bytes; ``sort_keys`` orders the keys of a top-level dict."""
    data: bytes = cbor2.dumps(by_key(value, sort_keys))
    return data


def load(fp: IO[bytes]) -> Any:
    """Read one value from ``fp`` and leave ``fp`` behind it."""
    return loads(read_framed(fp))


def loads(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` holds.

    Raises:
        ValueError: bytes are left behind it, or it is no CBOR.
    """
    # cbor2 ignores bytes behind the first value, and only some of its releases tell where they
    # stopped.  So the value is read as the first one of a pair.
    try:
        value, mark = cbor2.loads(b"".join((_PAIR, bytes_value, _MARK)))
    except Exception:  # noqa: BLE001 - or it is as deep as can be, without a pair around it
        return _alone(bytes_value)
    if mark != _MARK[1:]:
        raise ValueError(_BEHIND)
    return value


def _alone(bytes_value: bytes) -> Any:
    value = cbor2.loads(bytes_value)
    try:
        cbor2.loads(bytes_value[:-1])
    except Exception:  # noqa: BLE001 - the last byte is missing, so it ends the value
        return value
    raise ValueError(_BEHIND)


_PAIR = b"\x82"
_MARK = b"\x48" + os.urandom(8)  # as bytes of CBOR; no other program writes these
_BEHIND = "bytes are left behind the value"
