"""The range of each part of a spec, and specs as JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.errors import InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.recipe import Auto, Ridge

SPEC = FineTuneSpec(model="pets", backbone="fake")
NAN, INFINITY = float("nan"), float("inf")

GOOD: list[dict[str, Any]] = [
    {"held_out_fraction": 0.0},
    {"held_out_fraction": 0.9},
    {"max_excluded_fraction": 1.0},
    {"ttl": None},
    {"ttl": 1.0},
    {"ttl": 3_155_760_000.0},
    {"display_name": "ä" * 128},
    {"tags": {f"{number}": "v" * 256 for number in range(64)}},
    {"tags": {"k" * 63: ""}},
    {"alias": "a" * 128},
    {"model": "9"},
    {"recipe": Ridge()},
    {"recipe": Ridge(regularization=1e-9, temperature=1e-6, folds=2)},
    {"recipe": Ridge(regularization=1e9, temperature=1e6, folds=20)},
    {"seed": 2**64 - 1},
    {"priority": -10},
    {"priority": 10},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "spec.model"),
    ({"model": "../x"}, "spec.model"),
    ({"alias": ""}, "spec.alias"),
    ({"alias": "9"}, "spec.alias"),
    *[({"held_out_fraction": share}, "spec.held_out_fraction") for share in (-0.1, 0.91, NAN, INFINITY)],
    *[({"max_excluded_fraction": share}, "spec.max_excluded_fraction") for share in (-0.1, 1.01, NAN)],
    *[({"ttl": value}, "spec.ttl") for value in (0.0, 0.99, -1.0, 3.2e9, NAN, INFINITY)],
    *[({"priority": priority}, "spec.priority") for priority in (-11, 11)],
    ({"display_name": "ä" * 129}, "spec.display_name"),
    ({"tags": {f"{number}": "" for number in range(65)}}, "spec.tags"),
    ({"tags": {"": "v"}}, "spec.tags"),
    ({"tags": {"k" * 64: "v"}}, "spec.tags"),
    ({"tags": {"k": "v" * 257}}, "spec.tags['k']"),
    *[
        ({"recipe": Ridge(**{name: value})}, f"spec.recipe.ridge.{name}")
        for name in ("regularization", "temperature")
        for value in (0.0, -1.0, 1e-300, 1e300, NAN, INFINITY)
    ],
    *[({"recipe": Ridge(folds=folds)}, "spec.recipe.ridge.folds") for folds in (-1, 1, 21)],
    *[
        ({"backbone": "auto", "backbone_candidates": names}, "spec.backbone_candidates")
        for names in (("a", "a"), ("",), ("a", "auto"), tuple(map(str, range(17))))
    ],
    ({"backbone": "b", "backbone_candidates": ("a",)}, "spec.backbone_candidates"),
    ({"backbone": "b", "backbone_time_budget": 5.0}, "spec.backbone_time_budget"),
    *[
        ({"backbone": "auto", "backbone_time_budget": seconds}, "spec.backbone_time_budget")
        for seconds in (0.0, -1.0, 86_401.0, NAN, INFINITY)
    ],
]


@pytest.mark.parametrize("changes", GOOD)
def test_what_is_in_its_range_passes(changes: dict[str, Any]) -> None:
    spec = replace(SPEC, **changes)
    assert spec.check() is spec


@pytest.mark.parametrize(("changes", "field"), BAD)
def test_what_is_out_of_its_range_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        replace(SPEC, **changes).check()
    assert caught.value.field == field
    assert caught.value.message.startswith(("Expected", f"{field} is missing"))


def test_an_error_has_the_range_and_the_value() -> None:
    with pytest.raises(InvalidField) as caught:
        replace(SPEC, held_out_fraction=1.5).check()
    assert caught.value.message == "Expected spec.held_out_fraction from 0 to 0.9. Received: 1.5."


NUMBERS = st.none() | st.floats(1e-6, 1e6)
SPECS = st.builds(
    FineTuneSpec,
    model=st.just("pets"),
    backbone=st.text(),
    recipe=st.just(Auto())
    | st.builds(
        Ridge,
        regularization=NUMBERS,
        temperature=NUMBERS,
        folds=st.integers(0, 20),
        views=st.tuples(st.text()),
        balanced=st.none() | st.booleans(),
        scaling=st.sampled_from(Scaling),
    ),
    held_out_fraction=st.floats(0, 0.9),
    seed=st.integers(0, 2**64 - 1),
    display_name=st.text(),
    tags=st.dictionaries(st.text(), st.text(), max_size=3),
    alias=st.none() | st.text(),
    ttl=st.none() | st.floats(1, 1e9),
    max_excluded_fraction=st.floats(0, 1),
    backbone_candidates=st.lists(st.text(), max_size=3).map(tuple),
    backbone_time_budget=st.none() | st.floats(0.001, 86_400),
)


@given(SPECS)
@settings(deadline=None)
def test_a_spec_comes_back_from_json_as_it_was(spec: FineTuneSpec) -> None:
    assert FineTuneSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_spec_of_an_older_server_gets_the_defaults() -> None:
    fields = SPEC.to_json()
    del fields["max_excluded_fraction"]
    assert FineTuneSpec.from_json(fields) == SPEC


def test_a_title_that_a_terminal_would_obey_is_refused() -> None:
    with pytest.raises(InvalidField, match="display_name without control characters"):
        FineTuneSpec(model="pets", backbone="", display_name="\x1b]0;pets\x07").check()
