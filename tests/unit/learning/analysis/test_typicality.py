"""Whether an input is like the training examples: a share that means what it says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.analysis.references import PROJECTED, project_directions
from headstart_server.learning.analysis.typicality import REFERENCES, TypicalityModel, fit_typicality_model
from headstart_server.learning.features.feature_matrix import Float32

VIEWS = ("last", "taps")


def features(
    count: int, seed: int, *, centers: int = 3, size: int = 40, shift: float = 0.0
) -> dict[str, Float32]:
    """Features of inputs around some centers; with a shift around others."""
    rng = np.random.default_rng(seed)
    center = np.random.default_rng(99).normal(size=(centers, size)) + shift
    rows = center[rng.integers(0, centers, count)] + 0.4 * rng.normal(size=(count, size))
    return {"last": rows.astype(np.float32), "taps": rows[:, :10].astype(np.float32)}


def names(count: int) -> list[str]:
    return [f"{place * 7919 % 100_003:06d}" for place in range(count)]


def learned(views: dict[str, Float32], groups: list[str] | None = None) -> TypicalityModel:
    digests = names(len(views["last"]))
    typicality_model = fit_typicality_model(views, VIEWS, digests, groups or digests)
    assert typicality_model is not None
    return typicality_model


def shares_of_known(count: int, *, repeats: int) -> Float32:
    """Typicality of inputs like the training examples, over several choices of both."""
    predicted = [
        learned(features(count, seed)).typicality(features(400, seed + 50)) for seed in range(1, repeats + 1)
    ]
    return np.concatenate(predicted)


@pytest.mark.parametrize(("count", "repeats"), [(200, 20), (3000, 4), (5000, 3)])
def test_the_typicality_of_inputs_like_the_training_examples_is_uniform(count: int, repeats: int) -> None:
    shares = shares_of_known(count, repeats=repeats)
    for rate in (0.05, 0.2, 0.5, 0.8):
        assert (shares < rate).mean() == pytest.approx(rate, abs=0.025)


@pytest.mark.parametrize("count", [8, 10, 15, 40])
def test_with_few_examples_false_alarms_are_about_as_rare_as_stated(count: int) -> None:
    shares = shares_of_known(count, repeats=40)
    for rate in (0.05, 0.1, 0.2):
        assert (shares < rate).mean() <= rate + 0.02
    assert (shares < 0.2).mean() > 0.04


def test_inputs_of_another_kind_are_not_typical() -> None:
    typicality_model = learned(features(60, 1))
    assert (typicality_model.typicality(features(200, 2, shift=3.0)) < 0.05).mean() > 0.95


def test_with_few_examples_the_tail_extrapolates_beyond_them() -> None:
    typicality_model = learned(features(10, 1))
    assert typicality_model.typicality(features(50, 3, shift=5.0)).max() < 0.05
    assert (typicality_model.typicality(features(300, 4)) < 0.05).mean() < 0.12


def test_a_training_example_is_as_typical_as_can_be() -> None:
    views = features(30, 1)
    np.testing.assert_allclose(learned(views).typicality(views), 1.0)


def test_the_farther_an_input_is_the_less_typical() -> None:
    typicality_model = learned(features(30, 1))
    base = features(1, 2)
    away = np.random.default_rng(5).normal(size=40).astype(np.float32)
    steps = [0.0, 0.5, 1.0, 2.0, 4.0]
    rows = np.concatenate([base["last"] + step * away for step in steps])
    predicted = typicality_model.typicality({"last": rows, "taps": rows[:, :10]})
    assert (np.diff(predicted) <= 0).all()
    assert 0 < predicted[-1] < predicted[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30))
def test_the_order_of_the_examples_changes_nothing(seed: int) -> None:
    views, digests = features(50, 1), names(50)
    order = np.random.default_rng(seed).permutation(50)
    one = fit_typicality_model(views, VIEWS, digests, digests)
    shuffled = [digests[place] for place in order]
    other = fit_typicality_model(
        {name: rows[order] for name, rows in views.items()}, VIEWS, shuffled, shuffled
    )
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.references.exact(), other.references.exact())
    np.testing.assert_array_equal(one.distances, other.distances)


def test_examples_of_one_group_do_not_count_as_neighbors_of_each_other() -> None:
    views = {name: np.concatenate([rows, rows]) for name, rows in features(30, 1).items()}
    groups = names(30) * 2
    alone = learned(features(30, 1))
    np.testing.assert_allclose(learned(views, groups).distances[::2], alone.distances, atol=1e-6)


def test_fewer_than_four_groups_have_no_typicality_model() -> None:
    views = features(8, 1)
    assert fit_typicality_model(views, VIEWS, names(8), ["a", "b", "c", "c", "c", "b", "a", "a"]) is None


def test_a_sample_of_a_single_group_has_no_typicality_model() -> None:
    count = 2 * REFERENCES + 4
    digests = [f"{place:06d}" for place in range(count)]
    groups = ["most"] * count
    # Examples that are in neither sample.
    groups[REFERENCES : REFERENCES + 3] = ["first", "second", "third"]
    assert fit_typicality_model(features(count, 1), VIEWS, digests, groups) is None


@pytest.mark.parametrize("count", [0, 1])
def test_every_input_is_typical_for_a_stored_model_without_a_tail(count: int) -> None:
    known = replace(learned(features(30, 1)), distances=np.full(count, 1e-3, np.float32))
    assert known.typicality(features(5, 2, shift=3.0)).tolist() == [1.0] * 5


def test_a_version_of_many_examples_stays_small() -> None:
    views = features(6000, 1, size=600)
    typicality_model = learned(views)
    assert len(typicality_model.references) == len(typicality_model.distances) == REFERENCES
    assert typicality_model.nbytes == REFERENCES * (PROJECTED + 8)


def test_a_projection_is_the_same_on_every_server() -> None:
    (first,) = project_directions(np.eye(600, dtype=np.float32)[:1])
    assert (first[:12] * 16).tolist() == [-1, 1, 1, -1, 1, 1, 1, 1, -1, 1, -1, 1]


def test_features_of_zeros_are_untypical() -> None:
    typicality_model = learned(features(40, 1))
    none = {"last": np.zeros((1, 40), np.float32), "taps": np.zeros((1, 10), np.float32)}
    assert 0 < typicality_model.typicality(none)[0] < 0.05


# Feature rows


@pytest.mark.parametrize("size", [2, 10, 30, 60])
@pytest.mark.parametrize("count", [40, 400])
def test_rows_far_outside_of_the_training_range_are_unknown_and_others_rarely(size: int, count: int) -> None:
    alarms, caught = [], []
    for seed in range(10):
        rng = np.random.default_rng([size, seed])
        mixed = rng.normal(size=(size, size)) * rng.lognormal(sigma=2, size=size)
        middle = 3 * np.abs(mixed).sum(axis=0)

        def rows(number: int, rng=rng, mixed=mixed, middle=middle) -> dict[str, Float32]:
            drawn = rng.normal(size=(number, size)) @ mixed + middle
            return {"last": drawn.astype(np.float32)}

        digests = names(count)
        known = fit_typicality_model(rows(count), ("last",), digests, digests, modality=Modality.TENSOR)
        assert known is not None
        fresh = rows(300)["last"]
        alarms.append(known.typicality({"last": fresh}) < 0.05)
        far = np.concatenate([fresh[:20] * 5, fresh[:20] / 5, -fresh[:20], np.zeros((1, size), np.float32)])
        caught.append(known.typicality({"last": far}) < 0.05)
    assert np.mean(alarms) <= 0.05 + 0.02
    assert np.mean(caught) > 0.95


def test_rows_of_extreme_size_are_unknown_and_a_feature_that_never_changed_may_not_change() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    rows[:, 2] = 7.0
    digests = names(100)
    known = fit_typicality_model({"last": rows}, ("last",), digests, digests, modality=Modality.TENSOR)
    assert known is not None
    largest = np.finfo(np.float32).max
    far = np.array([[largest, -largest, 7], [0, 0, -largest], [0, 0, 70]], np.float32)
    assert (known.typicality({"last": far}) < 0.05).all()
    assert known.typicality({"last": rows}).min() == pytest.approx(1.0)


def test_wide_rows_are_compared_by_magnitude_too() -> None:
    rows = np.random.default_rng(0).normal(2, 1, size=(300, 600)).astype(np.float32)
    digests = names(200)
    known = fit_typicality_model({"last": rows[:200]}, ("last",), digests, digests, modality=Modality.TENSOR)
    assert known is not None
    assert known.references.exact().shape == (200, PROJECTED)
    assert (known.typicality({"last": rows[200:]}) < 0.05).mean() < 0.12
    assert (known.typicality({"last": 3 * rows[200:]}) < 0.05).all()
