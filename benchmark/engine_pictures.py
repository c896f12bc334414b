"""The pictures that ``measure_engines`` makes of its rows (they need matplotlib)."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
    "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#000000",
)  # fmt: skip
_LINES = {"power": "-", "process": "--", "none": ":"}
_BARS = {"power": "#1f77b4", "process": "#7fb8de", "none": "#c8c8c8"}
_SHOWN = 5_000  # items of the loads that are drawn as bars
Row = dict[str, Any]


def draw(rows: list[Row], place: str, out: Path) -> list[Path]:
    """Draw the rows, as PNG and SVG, and return the files."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError:
        print("no pictures: they need matplotlib", file=sys.stderr)
        return []
    files = []
    for subject, groups in (("engines", ("engines", "peers")), ("classes", ("classes",))):
        for name, plot in (("load", _load), ("backlog", _backlog), ("callers", _callers)):
            mine = [row for row in rows if row["picture"] == name and row["group"] in groups]
            if not mine:
                continue
            figure = Figure(layout="constrained")
            plot(figure, mine)
            figure.suptitle(place, fontsize=7, color="#606060")
            for suffix in ("png", "svg"):
                file = out / f"{subject}_{name}.{suffix}"
                figure.savefig(file, dpi=80, metadata={"Date": None} if suffix == "svg" else None)
                files.append(file)
    return files


# -- bars -----------------------------------------------------------------------------


def _load(figure: Any, rows: list[Row]) -> None:
    """Draw a bar for each kind, the fastest first in its group."""
    loads = sorted({row["load"] for row in rows}, key=lambda load: int(load.split("/")[0]))
    best = _largest(rows)
    labels = sorted(
        {(row["group"], row["kind"], row["durability"]) for row in rows},
        key=lambda key: (
            ("engines", "classes", "peers").index(key[0]),
            not key[1].startswith("Async"),
            -best.get((*key[1:], "5/1"), {"median": 0})["median"],
        ),
    )
    figure.set_size_inches(11, 1.6 + 0.22 * len(labels))
    panels = figure.subplots(1, len(loads), sharey=True, squeeze=False)[0]
    shown = [row["median"] for row in best.values()]
    for axes, load in zip(panels, loads, strict=True):
        for place, (_, kind, durability) in enumerate(labels):
            row = best.get((kind, durability, load))
            if row is not None:
                axes.barh(place, row["median"], 0.75, color=_BARS[durability])
                fewer = f" ({row['items']:,} items)" if row["items"] < _SHOWN else ""
                axes.text(
                    row["median"], place, f" {row['median']:,.0f}{fewer}", va="center", size=6
                )
        axes.set(xscale="log", title=f"{load} producers/consumers", xlabel="put and got, 1/s")
        axes.set(xlim=(10 ** int(math.log10(min(shown))), 25 * max(shown)))
        axes.set_ylim(-0.7, len(labels) - 0.3)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(labels)), [f"{kind} ({what})" for _, kind, what in labels])
    panels[0].tick_params(axis="y", labelsize=8)
    panels[0].invert_yaxis()


def _largest(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    """Return the rows with 5,000 items, or else with the most below that."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = row["kind"], row["durability"], row["load"]
        if row["items"] <= _SHOWN and row["items"] > found.get(key, {"items": 0})["items"]:
            found[key] = row
    return found


# -- lines ----------------------------------------------------------------------------


def _panels(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Divide rows that would be too many for one diagram."""
    own = [row for row in rows if row["group"] != "peers"]
    parts = [
        ("tasks, asyncio", [row for row in own if row["callers"] == "tasks"]),
        ("threads", [row for row in own if row["callers"] == "threads"]),
        ("other libraries", [row for row in rows if row["group"] == "peers"]),
    ]
    return [(title, part) for title, part in parts if part]


def _lines(figure: Any, rows: list[Row], across: str, up: str) -> None:
    parts = _panels(rows)
    figure.set_size_inches(4.2 * max(len(parts), 2), 6.5)
    for axes, (title, mine) in zip(
        figure.subplots(1, len(parts), sharey=True, squeeze=False)[0], parts, strict=True
    ):
        _series(axes, mine)
        axes.set(title=title, xlabel=across)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=7, frameon=False)
    figure.axes[0].set_ylabel(up)


def _series(axes: Any, rows: list[Row]) -> None:
    series: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        series.setdefault((row["kind"], row["durability"]), []).append(row)
    kinds = list(dict.fromkeys(kind for kind, _ in series))
    for (kind, durability), mine in series.items():
        axes.plot(
            [row["x"] for row in mine],
            [row["median"] for row in mine],
            _LINES[durability],
            color=_COLOURS[kinds.index(kind) % len(_COLOURS)],
            marker="os^"[kinds.index(kind) // len(_COLOURS) % 3],
            markersize=3,
            label=f"{kind} ({durability})",
        )
    axes.set(xscale="log", yscale="log")
    places = sorted({row["x"] for row in rows})
    axes.set_xticks(places, list(map(_short, places)))
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _backlog(figure: Any, rows: list[Row]) -> None:
    _lines(figure, rows, "items that wait", "microseconds for a put or a get")


def _callers(figure: Any, rows: list[Row]) -> None:
    _lines(figure, rows, "callers that put at the same time", "puts a second")


def _short(count: int) -> str:
    """Return a number as it stands below an axis."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"
