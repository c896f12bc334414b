"""What is promised of the engines, as numbers: flat costs, times a peer's, opening."""

from __future__ import annotations

from typing import Any

_FEW, _MANY, _COMPARED = 1_000, 20_000, 5_000  # items of a load
_LOAD = "5/1"
Row = dict[str, Any]


def ratios(rows: list[Row]) -> list[Row]:
    """Return rows made of others; none where what they need was not measured whole."""
    return [*_flat(rows), *_against(rows), *_opening(rows)]


def _flat(rows: list[Row]) -> list[Row]:
    """How much dearer an item is in a load of 20,000 than in one of 1,000."""
    found = []
    for many in _whole(rows, _MANY):
        for few in _whole(rows, _FEW):
            if _same(many, few) and many["group"] == "engines":
                value = round(few["median"] / many["median"], 2)
                found.append(_made(many, f"cost of an item, {_MANY:,} to {_FEW:,}", value))
    return found


def _against(rows: list[Row]) -> list[Row]:
    """How many times as fast as aiodiskqueue's best engine.

    Where that ran fewer items it counts as it is: its cost grows with them, if at all.
    """
    theirs = [
        row
        for row in rows
        if row["picture"] == "load"
        and (row["load"], row["x"]) == (_LOAD, _COMPARED)
        and row["kind"].startswith("aiodiskqueue")
    ]
    if not theirs:
        return []
    best = max(theirs, key=lambda row: row["median"])
    return [
        _made(row, f"times {best['kind']}", round(row["median"] / best["median"], 2))
        for row in _whole(rows, _COMPARED)
        if row["group"] == "engines"
    ]


def _opening(rows: list[Row]) -> list[Row]:
    return [
        {**row, "picture": "ratio", "load": f"{row['load']}, {row['x']:,} items wait"}
        for row in rows
        if row["picture"] == "opening"
    ]


def _whole(rows: list[Row], items: int) -> list[Row]:
    """Return the rows of the load that was run with just so many items."""
    return [
        row
        for row in rows
        if row["picture"] == "load" and row["load"] == _LOAD and row["items"] == items == row["x"]
    ]


def _same(one: Row, other: Row) -> bool:
    return all(one[name] == other[name] for name in ("kind", "durability"))


def _made(row: Row, what: str, value: float) -> Row:
    return {
        **row, "picture": "ratio", "load": what, "unit": "times", "median": value,
        "least": value, "most": value,
    }  # fmt: skip
