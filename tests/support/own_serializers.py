"""Serializers by name, and one that a user might write."""

from __future__ import annotations

import ast
from typing import IO, Any

import pytest

from persistqueue import serializers


class Lines:
    """A user's serializer: Python literals, one a line."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        fp.write(repr(value).encode() + b"\n")

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return ast.literal_eval(fp.readline().decode())


def serializer_of(name: str) -> Any:
    """Return a serializer by name, or skip the test that needs a missing library."""
    if name == "lines":
        return Lines()
    if name in ("msgpack", "cbor2"):
        pytest.importorskip(name)
    return getattr(serializers, name)
