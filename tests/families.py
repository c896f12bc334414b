"""The queue classes under contract, each behind the same blocking methods.

A contract test is written once, in blocking calls.  The sync family is used as it is;
an async family would run each call on a loop of its own and block until it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from persistqueue import Queue

#: name -> opens a queue: ``open(path, **arguments)``.
FILE_FAMILIES: dict[str, Callable[..., Any]] = {"Queue": Queue}
