"""Whether a server and its keys are such as a queue can use; looked at when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.log import warn
from ..exceptions import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .connection import Link
    from .scripts import Keys

_OLDEST = (6, 2)  # the server's release


def check(link: Link, label: str, known: Mapping[str, str]) -> str:
    """Look at a server and at keys.

    Args:
        label: what the server is called in messages.
        known: names of keys -> the type of what may be there.

    Returns:
        what the server removes when its memory is full: its ``maxmemory-policy``; empty if it
        removes nothing, or does not say.

    Raises:
        FormatError: the server is too old, or a key holds something else.
    """
    asked = [("TYPE", name) for name in known]
    *kinds, server, memory = link.answers(
        *asked, ("INFO", "server"), ("INFO", "memory"), again=True
    )
    for (name, wanted), kind in zip(known.items(), link.checked(kinds), strict=True):
        if kind.decode() not in (wanted, "none"):
            raise FormatError(
                f"{label}: {name} is a {kind.decode()}, not the {wanted} of a queue or pool; "
                "choose another name"
            )
    _check_release(_fields(server))
    return _policy(label, _fields(memory))


def _fields(info: object) -> dict[str, str]:
    """Return what INFO says; nothing, if this user may not ask."""
    if not isinstance(info, bytes):
        return {}
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_release(server: dict[str, str]) -> None:
    version = server.get("redis_version", "")
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if version and release < _OLDEST:
        raise FormatError(f"the server is Redis {version}; this needs 6.2 or newer, or Valkey")


def _policy(label: str, memory: dict[str, str]) -> str:
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory", "0") == "0" or policy == "noeviction":
        return ""
    if policy.startswith("allkeys"):
        warn(
            "%s: with its maxmemory-policy %s the server removes whole queues when its memory is "
            "full; set noeviction or a volatile policy, or use a server of its own for queues",
            label, policy,
        )  # fmt: skip
    return policy


def check_serializer(link: Link, label: str, keys: Keys, serializer: str) -> None:
    """See that values are written with this serializer, or note that they are.

    Raises:
        FormatError: they are written with another one.
    """
    name = serializer.encode()
    _, found = link.ask(("SET", keys.meta, name, "NX"), ("GET", keys.meta), again=True)
    if found != name:
        raise FormatError(
            f"{label}: {keys.base} was written with the serializer "
            f"{found.decode(errors='replace')}, not with {serializer}; nothing was done"
        )
