"""What a user calls a queue: a path or a URL, taken apart."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from . import choice

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSWORD = "PERSISTQUEUE_PASSWORD"  # noqa: S105 - the name of a variable
TARGET_PASSWORD = "PERSISTQUEUE_TARGET_PASSWORD"  # noqa: S105 - the same
_FORMS = (
    "give a path, file:DIRECTORY, sqlite:PATH?name=NAME, redis://HOST/DB?name=NAME or "
    "mysql://USER@HOST/DATABASE?name=NAME"
)
_SCHEME = re.compile("(file|sqlite|redis|rediss|unix|mysql):(.*)", re.DOTALL)
LOCAL = ("", "file", "sqlite")


class Name(NamedTuple):
    """A queue's name.

    Attributes:
        shown: the name without a password, for messages.
        scheme: empty for a path.
        address: a path, or the URL of a server.
        queue: the queue's own name, if the user has given one.
        serializer: that the user has named, if any.
        unique: whether the user says that the queue holds no equal items.
        options: further ones of the URL.
    """

    shown: str
    scheme: str
    address: str
    queue: str | None
    serializer: Any
    unique: bool
    options: dict[str, str]


def parsed(text: str, passwords: Sequence[str] = (PASSWORD,)) -> Name:
    """Take a path or a URL apart.

    Args:
        passwords: environment variables for a URL without a password; the first that is set
            counts.

    Raises:
        ValueError: it is neither.
    """
    scheme, address = match.groups() if (match := _SCHEME.fullmatch(text)) else ("", text)
    if not scheme and "://" in text and not os.path.exists(text):
        raise ValueError(f"{text}: {_FORMS}")
    bare, _, query = address.rpartition("?") if "?" in address else (address, "", "")
    if os.path.exists(address):  # with a question mark in its name
        bare, query = address, ""
    options = dict(parse_qsl(query, keep_blank_values=True))
    queue = options.pop("name", None)
    unique = options.pop("unique", "") in ("1", "true", "yes")
    shown, serializer = text, options.pop("serializer", None)
    if scheme in LOCAL:
        if not bare:
            raise ValueError(f"{text}: it names no path; {_FORMS}")
    else:
        bare, inner, shown = _server(text, f"{scheme}:{bare}", passwords)
        queue = inner if queue is None else queue
        if scheme != "mysql" and options:
            bare, options = f"{bare}?{urlencode(options)}", {}
    if options and scheme != "mysql":
        raise ValueError(f"{shown}: unknown option {', '.join(options)}")
    return Name(shown, scheme, bare, queue, _serializer(shown, serializer), unique, options)


def _server(text: str, url: str, passwords: Sequence[str]) -> tuple[str, str | None, str]:
    """Return a server's URL with its password, the name of a queue, and what to show."""
    scheme, netloc, path, _, _ = urlsplit(url)
    parts, queue = path.strip("/").split("/"), None
    if scheme == "mysql":
        if len(parts) > 2 or not parts[0]:
            raise ValueError(f"{_shown(text)}: the URL names no database; {_FORMS}")
        queue = unquote(parts.pop()) if len(parts) == 2 else None
    elif scheme != "unix":
        if len(parts) > 2:
            raise ValueError(f"{_shown(text)}: the URL's path is a number and a name; {_FORMS}")
        if len(parts) == 2 or not (parts[0].isdigit() or not parts[0]):
            queue = unquote(parts.pop()) or None
    if scheme == "unix":
        return f"unix://{path}", None, text
    path = "/" + "/".join(parts)
    user, _, host = netloc.rpartition("@")
    found = next(filter(None, map(os.environ.get, passwords)), None)
    if found and ":" not in user:
        netloc = f"{user}:{quote(found, safe='')}@{host}"
    return urlunsplit((scheme, netloc, path, "", "")), queue, _shown(text)


def _shown(url: str) -> str:
    """Return a URL without its password."""
    return re.sub(r"^([a-z]+://[^/@:]*):[^/@]*@", r"\1@", url)


def _serializer(shown: str, name: str | None) -> Any:
    if name is not None and name not in choice.SHIPPED and ":" not in name:
        raise ValueError(
            f"{shown}: serializer must be one of {', '.join(choice.SHIPPED)}, or module:object"
        )
    return choice.named(name)
