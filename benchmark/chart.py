"""A bar chart of a comparison; the only place that needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.side import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.report import Report

_OURS, _OTHER, _BOUND = "#1f77b4", "#b0b0b0", "#d62728"


def load() -> Any:
    """Return matplotlib's figure type.

    Raises:
        BenchmarkError: it is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BenchmarkError(
            "--plot needs matplotlib, which the extra named bench brings: "
            'pip install ".[bench]" in the checkout'
        ) from error
    return Figure


def draw(report: Report, file: str) -> None:
    """Draw what a comparison measured: microseconds on the left, ratios on the right."""
    rows = [row for row in report.data if row["unit"] == "us"]
    figure = load()(figsize=(13, 1.5 + 0.6 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _microseconds(left, rows)
    _ratios(right, rows)
    left.invert_yaxis()  # the first row on top
    figure.savefig(file)


def _microseconds(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    for shift, key, colour, label in (
        (-0.2, "here", _OURS, "here"),
        (0.2, "other", _OTHER, "what it is measured against"),
    ):
        places = [place + shift for place in range(len(rows))]
        bars = axes.barh(places, [row[key] for row in rows], 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_yticks(range(len(rows)), [f"{row['what']}\nagainst: {row['against']}" for row in rows])
    axes.set(xscale="log", xlabel="microseconds per operation (less is better)")
    axes.margins(x=0.2)
    _legend(axes)


def _ratios(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    ratios = [row["other"] / row["here"] for row in rows]
    wanted = [row["wanted"] if row["goal"] == "faster" else 1 / row["wanted"] for row in rows]
    bars = axes.barh(range(len(rows)), ratios, 0.6, color=_OURS)
    axes.bar_label(bars, fmt="%.2fx", padding=3)
    places = range(len(rows))
    axes.scatter(wanted, places, color=_BOUND, marker="|", s=400, label="wanted", zorder=3)
    axes.set(xscale="log", xlabel="times as fast as what it is measured against")
    axes.margins(x=0.2)
    _legend(axes)


def _legend(axes: Any) -> None:
    """Put it above the bars, where it hides none."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
