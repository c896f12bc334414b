"""PDict: the mapping that people expect, on disk."""

from __future__ import annotations

import enum
import json
import os
import pickle
import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from waiting import Call

from persistqueue import (
    ItemTooLarge,
    PDict,
    QueueClosed,
    QueueCorrupt,
    QueueLocked,
    SerializationError,
    serializers,
)


def test_it_is_a_mapping(path: Path) -> None:
    """Everything that a dict does."""
    with PDict(path, "d") as d:
        assert isinstance(d, dict)
        assert isinstance(d, MutableMapping)
        assert not d
        d["a"] = 1
        d.update({"b": 2}, c=3)
        d.update([("d", 4)])
        assert {"a": 1, "b": 2, "c": 3, "d": 4} == d
        assert d == {"d": 4, "c": 3, "b": 2, "a": 1}
        assert d != {"a": 1}
        assert (4, True, False) == (len(d), "a" in d, "z" in d)
        assert (["a", "b", "c", "d"], [1, 2, 3, 4]) == (list(d), list(d.values()))
        assert [("a", 1), ("b", 2)] == list(d.items())[:2]
        assert {"a", "b", "c", "d"} == d.keys()
        assert ["d", "c", "b", "a"] == list(reversed(d))
        assert (1, None, 7) == (d.get("a"), d.get("z"), d.get("z", 7))
        assert (1, 9) == (d.setdefault("a", 5), d.setdefault("e", 9))
        assert (9, 0) == (d.pop("e"), d.pop("e", 0))
        assert ("d", 4) == d.popitem()
        del d["c"]
        assert {"a": 1, "b": 2} == d.copy() == dict(d) == {**d}
        assert {"a": 1, "b": 5, "x": 1} == d | {"b": 5, "x": 1}
        assert {"b": 2, "x": 1, "a": 1} == {"b": 5, "x": 1} | d
        d |= {"f": None}
        assert d["f"] is None
        assert ["a", "b", "f"] == list(d.iterkeys())
        assert [1, 2, None] == list(d.itervalues())
        assert [("a", 1), ("b", 2), ("f", None)] == list(d.iteritems())
        assert '{"a": 1, "b": 2, "f": null}' == json.dumps(d.copy())
        d.clear()
        assert 0 == len(d)
        assert {} == d


def test_what_is_missing_is_a_key_error(path: Path) -> None:
    """In [], del, pop and popitem, with persist-queue's message."""
    with PDict(path, "d") as d:
        for call in (lambda: d["x"], lambda: d.pop("x"), lambda: d.__delitem__("x")):
            with pytest.raises(KeyError, match=r"Key: x not exists\."):
                call()
        with pytest.raises(KeyError, match="empty"):
            d.popitem()


def test_it_survives_a_restart(path: Path) -> None:
    """What was set is there when it is opened again, in the order in which keys came."""
    with PDict(path, "d") as d:
        d.update(b=1, a=2)
        d["b"] = 3
    with PDict(path, "d") as d, PDict(path, "other") as other:
        assert [("b", 3), ("a", 2)] == list(d.items())
        assert 0 == len(other)


@pytest.mark.parametrize("key", ["", "x", "ü🎉", "nul\0", b"raw\xff", 0, -5, 2**70, True, 1.5, 1e300, 0.1 + 0.2, float("inf")])  # fmt: skip
def test_keys_keep_their_type(path: Path, key: Any) -> None:
    """A key comes back from iteration as what it was."""
    with PDict(path, "d") as d:
        d[key] = "value"
    with PDict(path, "d") as d:
        assert "value" == d[key]
        assert key in d
        found = list(d)
        assert [key] == found
        assert type(key) is type(found[0])
        del d[key]
        assert not d


def test_a_number_and_its_text_are_one_key(path: Path) -> None:
    """As in persist-queue, whose text the key is; the last one set gives the type."""
    with PDict(path, "d") as d:
        d[1] = "a"
        assert "a" == d["1"]
        d["1"] = "b"
        assert ["1"] == list(d)


def test_which_keys_are_one(path: Path) -> None:
    """True and 1, and floats that share 15 digits, are one key; 1 and 1.0 are two."""
    with PDict(path, "d") as d:
        d.update({True: "a", 0.1 + 0.2: "b"})
        assert ["a", "b"] == [d[1], d[0.3]]
        assert 1.0 not in d
        d[1] = d[0.3] = "c"
        assert {1: "c", 0.3: "c"} == d.copy()


class Shown(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "shown"

    def encode(self, *_: Any) -> bytes:
        raise ZeroDivisionError


class Raw(bytes):
    def __bytes__(self) -> bytes:
        return b"shown"


class Whole(int):
    def __int__(self) -> int:
        return 0

    __repr__ = __str__ = __index__ = __int__  # type: ignore[assignment]


class Part(float):
    def __float__(self) -> float:
        return 0.0


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        (Shown("a"), "a"), (Colour.RED, "red"), (Raw(b"a"), b"a"), (Whole(5), 5), (Part(1.5), 1.5),
        (enum.IntEnum("Level", {"HIGH": 3}).HIGH, 3),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_key_is_its_value_whatever_its_class_shows(path: Path, key: Any, plain: Any) -> None:
    """A member of an enum, or of another subclass, is the key that it equals, as in a dict."""
    with PDict(path, "d") as d:
        d[key] = "value"
        assert ["value", "value"] == [d[plain], d[key]]
        found = list(d)
        assert [plain] == found
        assert type(plain) is type(found[0])


@pytest.mark.parametrize(
    ("key", "error"),
    [(None, TypeError), ((1, 2), TypeError), (float("nan"), ValueError), ("\ud800", ValueError)],
)
def test_what_cannot_be_a_key(path: Path, key: Any, error: type[Exception]) -> None:
    """An error that says so; nothing is set."""
    with PDict(path, "d") as d:
        for call in (lambda: d.__setitem__(key, 1), lambda: d.update({key: 1}), lambda: d[key]):
            with pytest.raises(error, match=r"key|nan"):
                call()
        assert 0 == len(d)


def test_update_is_all_or_nothing(path: Path) -> None:
    """A value that cannot be encoded, or a key that cannot be one: nothing is set."""
    with PDict(path, "d") as d:
        with pytest.raises(SerializationError):
            d.update(a=1, b=lambda: None)
        with pytest.raises(TypeError):
            d.update({"a": 1, None: 2})
        assert {} == d


def test_a_dict_may_change_while_it_is_read(path: Path) -> None:
    """Loops go over what was there when they began."""
    with PDict(path, "d") as d:
        d.update(a=1, b=2)
        for key in d:
            d[key + key] = 0
        for key, value in d.items():
            d[key] = value + 1
            del d[key]
        assert {} == d


def test_objects_share_a_dict(path: Path) -> None:
    """What one object sets, another sees at once."""
    with PDict(path, "d") as a, PDict(path, "d") as b:
        a["x"] = 1
        assert 1 == b["x"]
        del b["x"]
        assert "x" not in a


def test_threads_count_together(path: Path) -> None:
    """setdefault and pop are one step: of many threads one wins."""
    with PDict(path, "d", durability="process") as d:
        begin = threading.Barrier(8)

        def grab(n: int) -> Any:
            begin.wait()
            first = d.setdefault("k", n)
            return first, d.pop("p", None)

        d["p"] = "prize"
        outcomes = [call.outcome() for call in [Call(grab, n) for n in range(8)]]
        assert 1 == len({first for first, _ in outcomes})
        assert 1 == [prize for _, prize in outcomes].count("prize")


@pytest.mark.parametrize("name", ["cbor2", "json", "msgpack", "pickle"])
def test_serializers(path: Path, name: str) -> None:
    """Values are encoded by the serializer that was given."""
    with PDict(path, "d", serializer=getattr(serializers, name)) as d:
        d["a"] = {"n": [1.5, None, "ü"]}
        assert [1.5, None, "ü"] == list(d["a"]["n"])


def test_a_value_that_cannot_be_decoded_stays(path: Path) -> None:
    """QueueCorrupt names table and key; the others can be read, and it can be replaced."""
    with PDict(path, "d") as d:
        d.update(a=1, b=2)
        d._conn.execute("UPDATE dict_d SET data = x'00' WHERE key = 'a'")
        for call in (lambda: d["a"], lambda: d.pop("a"), lambda: list(d.values())):
            with pytest.raises(QueueCorrupt, match=r"dict_d: the value of 'a'"):
                call()
        assert (2, ["a", "b"]) == (d["b"], list(d))
        d["a"] = 3
        assert {"a": 3, "b": 2} == d
        with pytest.raises(ItemTooLarge):
            PDict(path, "e", max_item_bytes=10)["k"] = "x" * 99


def test_closed_and_locked(path: Path) -> None:
    """QueueClosed after close; QueueLocked when another connection writes for too long."""
    d = PDict(path, "d", timeout=0.05)
    with PDict(path, "d") as other:
        other._conn.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueLocked):
            d["a"] = 1
        other._conn.execute("ROLLBACK")
    d["a"] = 1
    d.sync()
    d.shrink_disk_usage()
    d.close()
    d.close()
    for call in (lambda: d["a"], lambda: len(d), lambda: list(d), d.shrink_disk_usage):
        with pytest.raises(QueueClosed):
            call()


def test_odds_and_ends(path: Path) -> None:
    """It has a short repr, no hash, cannot be pickled, and lives in memory if told so."""
    with PDict(path, "d") as d, PDict(":memory:", "d") as m:
        assert f"<PDict 'd' in {str(path)!r}>" == repr(d)
        with pytest.raises(TypeError, match="hash"):
            hash(d)
        with pytest.raises(TypeError, match="copied or pickled"):
            pickle.dumps(d)
        m["a"] = 1
        assert {"a": 1} == m
        assert m != d
        assert isinstance(m, Mapping)
    del d
    assert ["data.db"] == os.listdir(path)
