"""The standard library's pickle at protocol 4: any Python object."""

from __future__ import annotations

import pickle
from typing import IO, Any

from ._sorting import by_key

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


def load_all(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` holds, and nothing else.

    Raises:
        pickle.UnpicklingError: bytes are left behind it, or it is no pickle.
    """
    stream = Stream(bytes_value)
    value = pickle.load(stream)
    if stream.at != len(bytes_value):
        raise pickle.UnpicklingError(f"{len(bytes_value) - stream.at} bytes behind the pickle")
    return value


class Stream:
    """Bytes as a stream in which an unpickler can look ahead: then it tells where it stopped.

    ``pickle.loads`` does not say so, and ignores bytes behind the pickle.
    """

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def peek(self, _size: int) -> bytes:
        at = self.at
        return self._data[at:] if at else self._data

    def read(self, size: int) -> bytes:
        at = self.at
        self.at = end = at + size
        return self._data[at:end]

    def readline(self) -> bytes:
        end = self._data.find(b"\n", self.at) + 1
        return self.read((end or len(self._data)) - self.at)
