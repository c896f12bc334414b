"""Names of queues and serializers, as users write them on the command line."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ..exceptions import PersistQueueError
from ..serializers._inmemory import in_memory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Literal, TypeAlias

    from ..serializers import Serializer

    #: A serializer; or that items are signed, without the key that is needed to load them.
    Known: TypeAlias = Serializer | Literal["signed"]

PASSWORD = "PERSISTQUEUE_PASSWORD"  # noqa: S105 - the name of a variable
TARGET_PASSWORD = "PERSISTQUEUE_TARGET_PASSWORD"  # noqa: S105 - the name of a variable
LOCAL = ("", "file", "sqlite")  # schemes of the file system
_SHIPPED = ("pickle", "json", "msgpack", "cbor2")
_FORMS = (
    "give a path, file:DIRECTORY, sqlite:PATH?name=NAME, redis://HOST/DB?name=NAME or "
    "mysql://USER@HOST/DATABASE?name=NAME"
)
_SCHEME = re.compile("(file|sqlite|redis|rediss|unix|mysql):(.*)", re.DOTALL)


class UnknownSerializer(PersistQueueError):
    """No serializer has this name, or no shipped one wrote the items."""


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the commands that look at one path."""
    parser.add_argument("path", metavar="PATH", help="a queue's directory, or a database")
    parser.add_argument(
        "--serializer",
        metavar="NAME",
        help="pickle, json, msgpack, cbor2, signed, or module:object for one of your own, which "
        "is imported and called; by default it is recognised by the stored items",
    )
    parser.add_argument(
        "--max-item-bytes",
        metavar="BYTES",
        type=counting_from(1),
        default=64 * 1024 * 1024,
        help="no longer item is read (default: 64 MiB)",
    )


def counting_from(least: int) -> Callable[[str], int]:
    """Return a function that reads a whole number, ``least`` or more, from an argument."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise ValueError(text)
        return value

    number.__name__ = f"number (from {least} on)"  # argparse tells the user
    return number


# -- serializers --------------------------------------------------------------------------


def named(name: str | None) -> Known | None:
    """Return the serializer of this name; None for no name.

    Raises:
        UnknownSerializer: there is none.
        ImportError: its module, or a library that it needs, is not there.
    """
    return "signed" if name == "signed" else None if name is None else _imported(name)


def _imported(name: str) -> Serializer:
    path = f"persistqueue.serializers.{name}" if name in _SHIPPED else name
    module, _, attribute = path.partition(":")
    if not all(module.split(".")):
        raise UnknownSerializer(f"{name!r} names no serializer: say module:object")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part, None)
    if found is None:
        raise UnknownSerializer(f"there is no {attribute} in the module {module}")
    try:
        in_memory(found, name)
    except AttributeError as error:
        raise UnknownSerializer(str(error)) from error
    serializer: Serializer = found
    return serializer


def usable(shown: str, found: Known | None) -> Serializer:
    """Return a serializer that was recognised by the stored items.

    Raises:
        ValueError: none was, or it needs a key.
    """
    if found is None or isinstance(found, str):
        what = "it is signed" if found else "it cannot be seen which serializer wrote it"
        raise ValueError(f"{shown}: {what}: say ?serializer=module:object")
    return found


# -- queues -------------------------------------------------------------------------------


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
    serializer: Serializer | None
    unique: bool
    options: dict[str, str]


def parsed(text: str, passwords: Sequence[str] = (PASSWORD,)) -> Name:
    """Take a path or a URL apart.

    Args:
        passwords: environment variables for a URL without a password; the first that is set
            counts, also one that is empty.

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
    if serializer is not None and serializer not in _SHIPPED and ":" not in serializer:
        raise ValueError(
            f"{shown}: serializer must be one of {', '.join(_SHIPPED)}, or module:object"
        )
    known = None if serializer is None else _imported(serializer)
    return Name(shown, scheme, bare, queue, known, unique, options)


def _server(text: str, url: str, passwords: Sequence[str]) -> tuple[str, str | None, str]:
    """Return a server's URL with its password, the name of a queue, and the URL to show."""
    scheme, netloc, path, _, _ = urlsplit(url)
    parts, queue = path.strip("/").split("/"), None
    if scheme == "unix":
        return f"unix://{path}", None, text
    shown = re.sub(r"^([a-z]+://[^/@:]*):[^/@]*@", r"\1@", text)
    if len(parts) > 2 or (scheme == "mysql" and not parts[0]):
        what = " names no database" if scheme == "mysql" else "'s path is a number and a name"
        raise ValueError(f"{shown}: the URL{what}; {_FORMS}")
    if len(parts) == 2 or (scheme != "mysql" and parts[0] and not parts[0].isdigit()):
        queue = unquote(parts.pop()) or None
    user, _, host = netloc.rpartition("@")
    found = next((os.environ[one] for one in passwords if one in os.environ), "")
    if found and ":" not in user:
        netloc = f"{user}:{quote(found, safe='')}@{host}"
    return urlunsplit((scheme, netloc, "/" + "/".join(parts), "", "")), queue, shown
