"""Manifests as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import make_manifest
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.recipe import Logistic, Mlp, Partial, Ridge
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
)
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource
from headstart_server.models.version import Manifest

PROPORTIONS = st.none() | st.floats(0, 1)
METRICS = st.builds(
    Metrics,
    source=st.sampled_from(MetricsSource),
    example_count=st.integers(0, 10**6),
    accuracy=PROPORTIONS,
    accuracy_low=PROPORTIONS,
    accuracy_high=PROPORTIONS,
    log_loss=PROPORTIONS,
    confusion=st.lists(st.tuples(*[st.integers(0, 99)] * 3), max_size=3).map(tuple),
)


@given(
    METRICS,
    st.builds(
        Ridge,
        regularization=st.none() | st.floats(1e-9, 1e9),
        folds=st.integers(0, 20),
        views=st.sampled_from([("last",), ("taps", "last")]),
        scaling=st.sampled_from(Scaling),
        balanced=st.none() | st.booleans(),
    ),
    st.lists(st.text(), max_size=4).map(tuple),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.integers(0, 2**64 - 1),
)
@settings(deadline=None)
def test_a_manifest_comes_back_from_json_as_it_was(
    metrics: Metrics, recipe: Ridge, names: tuple[str, ...], labels: dict[str, str], seed: int
) -> None:
    manifest = make_manifest(metrics=metrics, recipe=recipe, class_names=names, tags=labels, seed=seed)
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@pytest.mark.parametrize("recipe", [Logistic(views=("last", "taps")), Mlp(hidden_units=3), Partial(blocks=2)])
def test_the_choice_of_a_backbone_and_the_recipe_requested_come_back(
    recipe: Logistic | Mlp | Partial,
) -> None:
    tried = BackboneCandidate(backbone="a", outcome=CandidateOutcome.TRIED, accuracy=0.5, milliseconds=2.5)
    failed = BackboneCandidate(backbone="b", outcome=CandidateOutcome.FAILED, message="No weights.")
    choice = BackboneSelection(backbone="a", reason="So.", candidates=(tried, failed), time_budget=3.5)
    manifest = make_manifest(requested_recipe=recipe, backbone_selection=choice)
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_fields_of_a_newer_server_are_left_aside() -> None:
    manifest = make_manifest()
    assert Manifest.from_json({**manifest.to_json(), "invented_later": [1]}) == manifest


@pytest.mark.parametrize("lacking", ["recipe", "metrics", "class_names", "seed"])
def test_fields_that_are_no_manifest_are_refused(lacking: str) -> None:
    fields = make_manifest().to_json()
    del fields[lacking]
    with pytest.raises((KeyError, TypeError, ValueError)):
        Manifest.from_json(fields)


def test_a_manifest_whose_recipe_left_choices_open_is_invalid() -> None:
    with pytest.raises(ValueError, match="recipe that was used"):
        Manifest.from_json({**make_manifest().to_json(), "recipe": {"auto": {}}})
