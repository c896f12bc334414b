"""What a command found, as text and as JSON; and its progress bar."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field

from .._core.deadline import monotonic

MOST = 20  # damages that are listed; the others are counted
_AFTER, _EVERY = 0.5, 0.1  # s before a bar is shown, and between two drawings of it
_WIDTH = 30  # characters of a bar


@dataclass
class Part:
    """One queue or dict.

    Attributes:
        what: the classes that use it.
        counts: by name: items, readable ones, acked ones and so on.
        size: bytes of its items.
        oldest: seconds since the oldest item came, if that is known.
        oldest_is: the origin of that age.
    """

    name: str
    what: str
    serializer: str = "unknown"
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    oldest: float | None = None
    oldest_is: str = ""


@dataclass
class Report:
    """The state of a file queue, or of a database.

    Attributes:
        files: names and bytes.
        damage: in words; makes the exit status 1.
        set_aside: damage that is kept beside the rest: names, and bytes or rows.
        notes: good to know, and no damage.
        sqlite: the version of the library that was used.
    """

    path: str
    kind: str
    parts: list[Part] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sqlite: str | None = None

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage

    def as_json(self) -> dict[str, object]:
        """Return the report as values of JSON."""
        damage = {"first": self.damage[:MOST], "count": len(self.damage)}
        return {"fine": self.fine, **asdict(self), "damage": damage}

    def as_text(self) -> str:
        """Return the report as lines for people."""
        lines = [f"{shown(self.path)}: {self.kind}, {_bytes(sum(self.files.values()))}"]
        for part in self.parts:
            counts = ", ".join(f"{count:,} {name}" for name, count in part.counts.items())
            about = f"{counts or 'not counted'}; {_bytes(part.size)}"
            lines.append(f"  {shown(part.name)} ({part.what}): {about}")
            if part.oldest is not None:
                lines.append(f"    oldest item: {_age(part.oldest)} ({part.oldest_is})")
            if part.serializer:
                lines.append(f"    serializer: {part.serializer}")
        kept = "; kept: look at it, then take it away"
        lines += [f"  set aside: {shown(n)}, {size:,}{kept}" for n, size in self.set_aside.items()]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  DAMAGE: {what}" for what in self.damage[:MOST]]
        wrong = len(self.damage)
        if wrong > MOST:
            lines.append(f"  DAMAGE: and {wrong - MOST:,} more")
        things = "1 thing is" if wrong == 1 else f"{wrong:,} things are"
        lines.append(
            "  fine" if self.fine else f"  {things} wrong: see python -m persistqueue repair --help"
        )
        return "\n".join(lines)


def shown(name: str) -> str:
    """Return a name so that it can be printed on one line."""
    return name if name.isprintable() else ascii(name)


def text_of(item: object) -> str:
    """Return an item as text; the item's own code makes that, and may fail."""
    try:
        return repr(item)
    except Exception as error:  # noqa: BLE001 - its code may raise anything
        return f"<{type(item).__name__}, which cannot be shown: {type(error).__name__}>"


def _bytes(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _age(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name} old"
    return f"{max(seconds, 0):.0f} s old"


class Progress(AbstractContextManager["Progress"]):
    """A bar on the standard error, for work that takes a while; on a terminal only.

    It is drawn again and again on one line, and wiped at the end.

    Args:
        title: the work.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = monotonic() + _AFTER if sys.stderr.isatty() else float("inf")
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show how far the work is."""
        now = monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + _EVERY, True
        part = min(done / total, 1.0) if total else 1.0
        bar = ("#" * int(part * _WIDTH)).ljust(_WIDTH, ".")
        sys.stderr.write(f"\r{self._title} [{bar}] {part:4.0%} {done:,} of {total:,}")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
