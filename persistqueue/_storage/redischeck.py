"""Whether a server and its keys are such as a queue can use; looked at when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import FormatError

if TYPE_CHECKING:
    from .redislink import Link
    from .redisscripts import Keys

_OLDEST = (6, 2)  # the server's release


def check(link: Link, label: str, keys: Keys, serializer: str | None) -> None:
    """Look at a server and a queue's keys.

    Args:
        label: what the server is called in messages.
        serializer: the name of what the values are written with, if that is of importance.

    Raises:
        FormatError: the server is too old, or the keys hold something else.
    """
    (kind,) = link.ask(("TYPE", keys.base), again=True)
    (info,) = link.answers(("INFO", "server"), again=True)
    if kind not in (b"list", b"none"):
        raise FormatError(f"{label}: {keys.base} is a {kind.decode()}, not a queue")
    if isinstance(info, bytes):  # else an error: this user may not ask
        _check_release(info)
    if serializer is not None:
        _check_serializer(link, label, keys, serializer)


def _check_release(info: bytes) -> None:
    for line in info.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "redis_version":
            release = tuple(int(part) for part in value.split(".")[:2] if part.isdigit())
            if release < _OLDEST:
                raise FormatError(
                    f"the server is Redis {value}; this needs 6.2 or newer, or Valkey"
                )


def _check_serializer(link: Link, label: str, keys: Keys, serializer: str) -> None:
    name = serializer.encode()
    _, found = link.ask(("SET", keys.meta, name, "NX"), ("GET", keys.meta), again=True)
    if found != name:
        raise FormatError(
            f"{label}: {keys.base} was written with the serializer "
            f"{found.decode(errors='replace')}, not with {serializer}; nothing was done"
        )
