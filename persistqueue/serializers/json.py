"""One line of JSON an item: readable by any language and by eye."""

from __future__ import annotations

import json
from typing import IO, Any


def dump(value: Any, fp: IO[bytes], sort_keys: bool = False) -> None:
    """Write ``value`` and a newline to ``fp``; ``sort_keys`` orders keys at every depth."""
    fp.write(dumps(value, sort_keys) + b"\n")


def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as UTF-8 JSON; ``sort_keys`` orders keys at every depth."""
    return json.dumps(value, sort_keys=sort_keys).encode("utf-8")


def load(fp: IO[bytes]) -> Any:
    """Read one line from ``fp`` and return its value."""
    return loads(fp.readline())


def loads(bytes_value: bytes) -> Any:
    """Return the value that ``bytes_value`` holds."""
    return json.loads(bytes_value.decode("utf-8"))
