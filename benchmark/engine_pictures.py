"""The three pictures of ``measure_engines``; without matplotlib there are none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
    "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#000000",
)  # fmt: skip
_LINES = {"power": "-", "process": "--", "none": ":"}


def draw(rows: list[dict[str, Any]], place: str, out: Path) -> list[Path]:
    """Draw what was measured, as PNG and SVG, and return the files."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError:
        print("no pictures: they need matplotlib", file=sys.stderr)
        return []
    files = []
    for name, plot in (("load", _load), ("backlog", _backlog), ("callers", _callers)):
        mine = [row for row in rows if row["picture"] == name]
        if not mine:
            continue
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        plot(figure, mine)
        figure.suptitle(place, fontsize=7, color="#606060")
        for suffix in ("png", "svg"):
            files.append(out / f"engines_{name}.{suffix}")
            figure.savefig(files[-1], dpi=80, metadata={"Date": None} if suffix == "svg" else None)
    return files


def _series(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["durability"]), []).append(row)
    return found


def _lines(axes: Any, rows: list[dict[str, Any]]) -> None:
    series = _series(rows)
    kinds = list(dict.fromkeys(kind for kind, _ in series))
    for (kind, durability), mine in series.items():
        axes.plot(
            [row["x"] for row in mine],
            [row["median"] for row in mine],
            _LINES[durability],
            color=_COLOURS[kinds.index(kind) % len(_COLOURS)],
            marker="o",
            markersize=3,
            label=f"{kind} ({durability})",
        )
    axes.set(xscale="log", yscale="log")
    places = sorted({row["x"] for row in rows})
    axes.set_xticks(places, [f"{x:,}" for x in places])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _load(figure: Any, rows: list[dict[str, Any]]) -> None:
    loads = list(dict.fromkeys(row["load"] for row in rows))
    for axes, load in zip(
        figure.subplots(1, len(loads), sharey=True, squeeze=False)[0], loads, strict=True
    ):
        _lines(axes, [row for row in rows if row["load"] == load])
        axes.set(title=f"{load} producers/consumers", xlabel="items")
    figure.axes[0].set_ylabel("operations a second (put and get)")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7
    )


def _backlog(figure: Any, rows: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    _lines(axes, rows)
    axes.set(xlabel="items that wait", ylabel="microseconds for an operation")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7)


def _callers(figure: Any, rows: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    _lines(axes, rows)
    axes.set(xlabel="tasks that put at the same time", ylabel="puts a second")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7)
