"""Waiting in tests: on a condition, with a deadline, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0  # s; generous, because the machines are shared


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the first true value of ``condition``, or fail after ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true in {PATIENCE} s"
        time.sleep(0.001)
    return value


class Interrupt(BaseException):
    """No ``Exception``: what a block gives back because of it is not held back."""


def interrupt(really: bool) -> None:
    if really:
        raise Interrupt


class Call(threading.Thread):
    """A call in a thread of its own; ``outcome()`` returns or raises what it did."""

    def __init__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call, self._args, self._kwargs = call, args, kwargs
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._call(*self._args, **self._kwargs)
        except BaseException as error:  # noqa: BLE001 - outcome() raises it
            self._error = error

    def outcome(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value
