"""Key order, for callers that compare stored bytes."""

from __future__ import annotations

from typing import Any


def by_key(value: Any, sort_keys: bool) -> Any:
    """Return a dict with its top level in key order, anything else as it is."""
    if sort_keys and isinstance(value, dict):
        return {key: value[key] for key in sorted(value)}
    return value
