"""CBOR (RFC 8949): compact, with dates, decimals, sets and big integers.

Needs the package cbor2: ``pip install "persist-queue[extra]"``.
"""

from __future__ import annotations

from typing import IO, Any

from . import _framed
from ._sorting import by_key

try:
    import cbor2
except ImportError as error:
    raise ImportError(
        'the cbor2 serializer needs the package cbor2: pip install "persist-queue[extra]"'
    ) from error


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
    """Return the value that ``bytes_value`` holds."""
    return cbor2.loads(bytes_value)
