"""A table of results, for reading, for documentation and for programs; and the machine of it."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmark.progress import Progress


NOTABLE = 1.05  # a ratio beyond it, or below its inverse, is marked
_MOUNTS = "/proc/self/mountinfo"  # Linux


@dataclass
class Report:
    """The results of a measurement.

    Attributes:
        facts: true of all rows, in order: label -> value.
        columns: headings of the table, the first one is of the rows' names.
        rows: cells as text.
        data: the rows as plain values, for ``json``, without the facts.
    """

    facts: dict[str, Any]
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)


def console(report: Report) -> str:
    """Return the report as aligned columns."""
    facts = [f"{label}: {value}" for label, value in report.facts.items()]
    widths = _widths(report)
    lines = [_aligned(row, widths) for row in (report.columns, *report.rows)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*facts, "", *lines])


def rst(report: Report) -> str:
    """Return the report as a field list and a grid table of reStructuredText."""
    facts = [f":{label}: {value}" for label, value in report.facts.items()]
    widths = _widths(report)
    rule, double = (
        "+" + "+".join(mark * (width + 2) for width in widths) + "+" for mark in ("-", "=")
    )
    lines = [rule, _grid_row(report.columns, widths), double]
    for row in report.rows:
        lines += [_grid_row(row, widths), rule]
    return "\n".join([*facts, "", *lines])


def as_json(report: Report) -> str:
    """Return the report as one JSON object: the facts, and ``rows``."""
    return json.dumps({**report.facts, "rows": report.data}, indent=2)


FORMATS: dict[str, Callable[[Report], str]] = {"console": console, "rst": rst, "json": as_json}


def compared(before: float, after: float) -> tuple[str, str]:
    """Return the ratio of two figures of which less is better, and a word where it is notable."""
    ratio = after / before if before else (math.inf if after else 1.0)
    word = "slower" if ratio > NOTABLE else "faster" if ratio < 1 / NOTABLE else ""
    return f"{ratio:.2f}", word


def in_turns(
    sides: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, bar: Progress
) -> dict[str, dict[str, float]]:
    """Return the medians of what each side finds: figure -> side -> median.

    Each round asks every side once, every second one in the opposite order.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            for what, figure in sides[name]().items():
                found.setdefault(what, {}).setdefault(name, []).append(figure)
            bar.step(name)
    return {
        what: {name: median(samples[name]) for name in sides if name in samples}
        for what, samples in found.items()
    }


def beside(unit: str, found: Mapping[str, Mapping[str, float]], *, more: bool) -> Report:
    """Return the table of figures of two sides or more, and how much better the first side is.

    Args:
        more: more is better.
    """
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    report = Report({}, (unit, *names, *("times" for _ in names[1:])))
    for what, figures in found.items():
        first = figures[names[0]]
        cells = [f"{figures[name]:,.1f}" if name in figures else "" for name in names]
        others = (figures.get(name, math.nan) for name in names[1:])
        times = (first / one if more else one / first for one in others)
        cells += ["" if math.isnan(one) else f"{one:.2f}" for one in times]
        report.rows.append([what, *cells])
    return report


def _widths(report: Report) -> list[int]:
    return [max(map(len, cells)) for cells in zip(report.columns, *report.rows, strict=True)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([name, *cells]).rstrip()


def _grid_row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f" {cell.ljust(width)} " for cell, width in zip(row, widths, strict=True))
    return "|" + "|".join(cells) + "|"


# -- the machine ----------------------------------------------------------------------------


def machine(directory: str) -> str:
    """Return the platform line of a report: system, Python, processors, file system."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    kind = file_system(directory)
    return ", ".join(
        [platform.platform(), python, f"{os.cpu_count()} CPUs", *([kind] if kind else [])]
    )


def file_system(directory: str) -> str:
    """Return the type of the file system of ``directory``; "" where that is not known."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return mounted_at(os.path.realpath(directory), file.read())
    except OSError:
        return ""


def mounted_at(path: str, mounts: str) -> str:
    """Return the type of the file system at ``path``, given the text of mountinfo."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        point = place.split()[4].replace("\\040", " ")
        inside = os.path.commonpath([point, path]) == point
        if inside and len(point) >= len(longest):  # the later mount covers the earlier
            longest, kind = point, rest.split()[0]
    return kind


def in_memory(directory: str) -> bool:
    """Return whether the file system is in memory, so that nothing survives a loss of power."""
    return file_system(directory) in {"tmpfs", "ramfs"}
