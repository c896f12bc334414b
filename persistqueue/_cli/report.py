"""What a look at a queue has found, and how it is told: as text, or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_MOST = 20  # findings that are listed; the others are counted
NOT_LOADED = (
    "whole, but it cannot be loaded here ({}); it is no damage: when it is next, set_aside() or "
    "repair --set-aside 1 gets past it"
)


@dataclass
class Findings:
    """Things that are wrong: the first ones in words, and how many there are."""

    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, what: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.first) < _MOST:
            self.first.append(what)


@dataclass
class Part:
    """One queue or dict.

    Attributes:
        what: the classes that use it.
        counts: by name: items, readable ones, acked ones and so on.
        size: bytes of its items.
        oldest: seconds since the oldest item came, if that is known.
        oldest_is: what that age is.
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
    """What is in one path.

    Attributes:
        files: names and bytes.
        damage: what is wrong: it makes the exit status 1.
        set_aside: what was damaged and is kept beside the rest: names, and bytes or rows.
        notes: what is good to know.
        sqlite: the version of the library that was used.
    """

    path: str
    kind: str
    parts: list[Part] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    damage: Findings = field(default_factory=Findings)
    set_aside: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sqlite: str | None = None

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage.count

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {"fine": self.fine, **asdict(self)}

    def as_text(self) -> str:
        """Return it as lines for people."""
        lines = [f"{shown(self.path)}: {self.kind}, {_bytes(sum(self.files.values()))}"]
        for part in self.parts:
            lines += _part_lines(part)
        kept = "; kept: look at it, then take it away"
        lines += [f"  set aside: {shown(n)}, {size:,}{kept}" for n, size in self.set_aside.items()]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  DAMAGE: {what}" for what in self.damage.first]
        if more := self.damage.count - len(self.damage.first):
            lines.append(f"  DAMAGE: and {more:,} more")
        wrong = self.damage.count
        things = "1 thing is" if wrong == 1 else f"{wrong:,} things are"
        lines.append(
            "  fine" if self.fine else f"  {things} wrong: see python -m persistqueue repair --help"
        )
        return "\n".join(lines)


def shown(name: str) -> str:
    """Return a name that can be printed on one line, whatever is in it."""
    return name if name.isprintable() else ascii(name)


def _part_lines(part: Part) -> list[str]:
    counts = ", ".join(f"{count:,} {name}" for name, count in part.counts.items())
    lines = [f"  {shown(part.name)} ({part.what}): {counts or 'not counted'}; {_bytes(part.size)}"]
    if part.oldest is not None:
        lines.append(f"    oldest item: {_age(part.oldest)} ({part.oldest_is})")
    if part.serializer:
        lines.append(f"    serializer: {part.serializer}")
    return lines


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
