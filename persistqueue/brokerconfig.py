"""``BrokerConfig``: how a broker's database is used, also from environment variables."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._core.arguments import DURABILITIES, one_of, whole
from ._core.log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BrokerConfig"]

_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class BrokerConfig:
    """The settings of a broker.

    Attributes:
        timeout: seconds to wait for the database's lock.
        cache_mb: MB that each connection may keep in memory.
        durability: ``"power"`` or ``"process"``: what an acknowledged call survives.
        auto_vacuum: give unused space back now and then.
        vacuum_interval: after how many writes that is looked after.
        vacuum_threshold: per cent of the file that must be unused for it.
        max_item_bytes: longest encoded item, checked before writing and reading.

    Raises:
        ValueError, TypeError: a value is wrong; says which.
    """

    timeout: float = 5.0
    cache_mb: int = 10
    durability: str = "power"
    auto_vacuum: bool = True
    vacuum_interval: int = 100
    vacuum_threshold: float = 10.0
    max_item_bytes: int = 10 * _MEGABYTE

    def __post_init__(self) -> None:
        _a_number("timeout", self.timeout)
        if not 0 <= self.timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds from 0 on, not {self.timeout}")
        whole("cache_mb", self.cache_mb, 1, 1 << 20)
        one_of("durability", self.durability, DURABILITIES)
        whole("vacuum_interval", self.vacuum_interval, 1)
        if not isinstance(self.auto_vacuum, bool):
            raise TypeError(f"auto_vacuum must be True or False, not {self.auto_vacuum!r}")
        _a_number("vacuum_threshold", self.vacuum_threshold)
        if not 0 <= self.vacuum_threshold <= 100:
            raise ValueError(f"vacuum_threshold must be 0 to 100, not {self.vacuum_threshold}")
        whole("max_item_bytes", self.max_item_bytes, 1)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> BrokerConfig:
        """Read the seven ``BROKER_*`` variables; a wrong value is a warning, and the default.

        Args:
            env: where to look instead of ``os.environ``.
        """
        env = os.environ if env is None else env
        found: dict[str, Any] = {}
        for variable, (field, read, wanted) in _VARIABLES.items():
            text = env.get(variable, "").strip()
            if not text:
                continue
            try:
                value = read(text)
                cls(**{field: value})
            except (ValueError, OverflowError):
                warn("%s=%r is not %s: the default is used", variable, text, wanted)
            else:
                found[field] = value
        return cls(**found)


def _a_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")


def _durability(text: str) -> str:
    return {"FULL": "power", "EXTRA": "power", "NORMAL": "process", "OFF": "process"}.get(
        text.upper(), text
    )


def _switch(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True}
    known |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


#: variable -> the attribute it sets, how it is read, and what it should be.
_VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "BROKER_BUSY_TIMEOUT": ("timeout", lambda text: int(text) / 1000, "a number of milliseconds"),
    "BROKER_CACHE_MB": ("cache_mb", int, "a number of MB from 1 on"),
    "BROKER_SYNC_MODE": ("durability", _durability, "OFF, NORMAL, FULL or EXTRA"),
    "BROKER_AUTO_VACUUM": ("auto_vacuum", _switch, "0 or 1"),
    "BROKER_AUTO_VACUUM_INTERVAL": ("vacuum_interval", int, "a number of writes from 1 on"),
    "BROKER_VACUUM_THRESHOLD": ("vacuum_threshold", float, "a percentage"),
    "BROKER_MAX_MESSAGE_SIZE": ("max_item_bytes", int, "a number of bytes from 1 on"),
}
