"""A table of results, for reading, for documentation and for programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


NOTABLE = 1.05  # a ratio beyond it, or below its inverse, is marked


@dataclass
class Report:
    """What was measured.

    Attributes:
        facts: what holds for all rows, in order: label -> value.
        columns: headings of the table, the first one is of the rows' names.
        rows: cells as they are to be read.
        data: the same as plain values, for ``json``, without the facts.
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


def _widths(report: Report) -> list[int]:
    return [max(map(len, cells)) for cells in zip(report.columns, *report.rows, strict=True)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([name, *cells]).rstrip()


def _grid_row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f" {cell.ljust(width)} " for cell, width in zip(row, widths, strict=True))
    return "|" + "|".join(cells) + "|"
