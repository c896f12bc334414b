"""Unpickling of plain values: a pickle that would call into a class is refused.

A file that another user could write must not run code when an engine opens it; what the
items in it may do is the serializer's affair.
"""

from __future__ import annotations

import io
import pickle
from typing import Any


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def loads(data: bytes) -> Any:
    """Return the plain value that a pickle holds; raises what ``pickle.loads`` may raise."""
    return _Inert(io.BytesIO(data)).load()
