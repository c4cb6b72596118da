"""Dataclasses as JSON values: what was written comes back, and what does not fit is an error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

import pytest

from headstart_server.storage.json_values import JsonValue


class Color(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Shape(JsonValue):
    color: Color
    points: tuple[Point, ...] = ()
    center: Point | None = None
    cells: tuple[tuple[int, int], ...] = ()
    weight: float = 1.0
    inner: "Shape | None" = None


FULL = Shape(
    Color.RED,
    (Point(1.0), Point(2.0, -inf)),
    Point(0.5),
    ((1, 2), (3, 4)),
    inf,
    Shape(Color.RED, (Point(3.0),)),
)


@pytest.mark.parametrize("shape", [FULL, Shape(Color.RED)])
def test_a_value_comes_back_from_json_text(shape: Shape) -> None:
    text = json.dumps(shape.to_json(), allow_nan=False)
    assert Shape.from_json(json.loads(text)) == shape


def test_missing_fields_have_their_defaults() -> None:
    assert Shape.from_json({"color": "red", "points": [{"x": 1.0}]}) == Shape(Color.RED, (Point(1.0),))


def test_fields_of_a_newer_release_are_ignored() -> None:
    values = {"color": "red", "size": 1, "points": [{"x": 1.0, "z": 3.0}]}
    assert Shape.from_json(values) == Shape(Color.RED, (Point(1.0),))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"color": "blue"},
        {"color": "red", "points": None},
        {"color": "red", "points": [1]},
        {"color": "red", "points": [{}]},
        {"color": "red", "center": {"x": "wide"}},
        {"color": "red", "weight": None},
        {"color": "red", "inner": {"points": []}},
        [],
    ],
)
def test_values_that_do_not_fit_are_an_error(values: Mapping[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Shape.from_json(values)
