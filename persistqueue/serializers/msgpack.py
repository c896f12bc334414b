"""MessagePack: compact and quick, for plain data (lists come back as tuples).

Needs the package msgpack: ``pip install "persist-queue[extra]"``.
"""

from __future__ import annotations

from typing import IO, Any

from ._shared import by_key, read_framed, write_framed

try:
    import msgpack
except ModuleNotFoundError:
    raise ImportError(
        'the msgpack serializer needs the package msgpack: pip install "persist-queue[extra]"'
    ) from None


def dump(value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
    """Write a length and ``value`` to ``fp``; ``sort_keys`` orders a top-level dict."""
    write_framed(dumps(value, sort_keys), fp)


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as bytes; ``sort_keys`` orders the keys of a top-level dict."""
    data: bytes = msgpack.packb(by_key(value, sort_keys), use_bin_type=True)
    return data


def load(fp: IO[bytes]) -> Any:
    """Read one value from ``fp`` and leave ``fp`` behind it."""
    return loads(read_framed(fp))


def loads(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` holds."""
    return msgpack.unpackb(bytes_value, use_list=False, raw=False, strict_map_key=False)
