"""The standard library's pickle at protocol 4: any Python object."""

from __future__ import annotations

import pickle
from typing import IO, Any

from ._shared import by_key

#: The protocol of the stored format; every supported Python reads it.
protocol = 4


def dump(value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
    """Write ``value`` to ``fp``; ``sort_keys`` orders the keys of a top-level dict."""
    pickle.dump(by_key(value, sort_keys), fp, protocol=protocol)


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as bytes; ``sort_keys`` orders the keys of a top-level dict."""
    return pickle.dumps(by_key(value, sort_keys), protocol=protocol)


def load(fp: IO[bytes]) -> Any:
    """Read one value from ``fp`` and leave ``fp`` behind it."""
    return pickle.load(fp)


def loads(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` begins with."""
    return pickle.loads(bytes_value)
