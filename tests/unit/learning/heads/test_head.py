"""Scores to probabilities, for every number a head can meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from fakes import make_head
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling, normalized
from headstart_server.learning.heads.calibration import Calibration, softmax
from headstart_server.learning.heads.head import Head, HiddenLayer

ROWS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e6, 1e6))


@given(ROWS)
@settings(deadline=None)
def test_probabilities_sum_to_one_and_keep_the_order_of_the_scores(scores: NDArray[np.float64]) -> None:
    rows = softmax(scores)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(
        np.take_along_axis(rows, scores.argmax(axis=1)[:, None], 1)[:, 0], rows.max(1)
    )


def test_softmax_is_the_share_of_the_powers() -> None:
    rows = softmax(np.log(np.array([[1.0, 2.0, 5.0]])))
    np.testing.assert_allclose(rows, [[0.125, 0.25, 0.625]])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e30, -1e30])
def test_huge_scores_neither_overflow_nor_warn(kind: type, size: float) -> None:
    np.testing.assert_array_equal(softmax(np.array([[size, size]], kind)), [[0.5, 0.5]])
    assert softmax(np.array([[size, -size]], kind)).max() == 1.0


@given(ROWS)
@settings(deadline=None)
def test_normalized_rows_have_length_one_and_the_same_direction(rows: NDArray[np.float64]) -> None:
    for row, length in zip(rows, np.linalg.norm(rows, axis=1), strict=True):
        if length > 1e-100:
            np.testing.assert_allclose(normalized(row[None])[0] * length, row, rtol=1e-9, atol=1e-9 * length)
            assert np.linalg.norm(normalized(row[None])) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_row_is_normalized_bit_by_bit_as_among_others(kind: type) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 1280)).astype(kind)
    together = normalized(rows)
    np.testing.assert_array_equal(together, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(normalized(row[None])[0], together[place])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1e25, 1e36, 1e-15, 1e-30, 1e-37])
def test_rows_of_any_size_are_normalized(kind: type, factor: float) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 100)).astype(kind)
    scaled = rows * kind(factor)
    np.testing.assert_allclose(normalized(scaled), normalized(rows), rtol=1e-5)
    mixed = np.concatenate([rows[:2], scaled[2:], 0 * rows[:1]])
    np.testing.assert_array_equal(normalized(mixed)[:2], normalized(rows)[:2])
    np.testing.assert_array_equal(normalized(mixed)[2:5], normalized(scaled)[2:])
    assert not normalized(mixed)[5].any()


@pytest.mark.parametrize("factor", [1e25, 1e-30])
def test_a_head_on_lengths_predicts_the_same_for_rows_of_any_size(factor: float) -> None:
    head = make_head(size=4)
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    scaled = {"last": rows * np.float32(factor)}
    np.testing.assert_allclose(head.outputs(scaled), head.outputs({"last": rows}), rtol=1e-4)


def test_a_row_of_zeros_stays_one() -> None:
    zeros = np.zeros((2, 4), np.float32)
    np.testing.assert_array_equal(normalized(zeros), zeros)


def test_features_are_scaled_scored_cooled_and_made_probabilities() -> None:
    head = Head(
        views=("last",),
        weights=np.array([[1.0, 0.0], [0.0, 2.0]], np.float32),
        bias=np.array([0.0, 0.5], np.float32),
        calibration=Calibration(temperature=0.5),
        class_names=("a", "b"),
    )
    features = np.array([[30.0, 40.0]], np.float32)
    np.testing.assert_allclose(head.scores({"last": features}), [[0.6, 2.1]], rtol=1e-6)
    powers = np.exp(np.array([1.2, 4.2]))
    np.testing.assert_allclose(head.outputs({"last": features}), [powers / powers.sum()], rtol=1e-5)


def test_zero_features_give_the_probabilities_of_the_bias() -> None:
    head = make_head()
    expected = softmax(head.bias[None] / np.float32(head.temperature))
    np.testing.assert_allclose(head.outputs({"last": np.zeros((1, 12), np.float32)}), expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_the_most_extreme_temperatures_give_probabilities(temperature: float) -> None:
    fitted = make_head()
    head = Head(
        views=("last",),
        weights=fitted.weights,
        bias=fitted.bias,
        calibration=Calibration(temperature=temperature),
        class_names=fitted.class_names,
    )
    features = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    rows = head.outputs({"last": features})
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-6)
    if temperature < 1:
        assert rows.argmax(axis=1).tolist() == head.scores({"last": features}).argmax(axis=1).tolist()


def test_its_bytes_are_its_arrays_and_its_names() -> None:
    head = make_head(classes=2, size=10)
    assert head.nbytes == 10 * 2 * 4 + 2 * 4 + 2 * (len("class 0") + 80)


def test_a_head_may_take_several_views_side_by_side_and_roots_of_their_features() -> None:
    head = Head(
        views=("taps", "last"),
        scaling=Scaling.ROOT,
        weights=np.eye(3, 2, dtype=np.float32),
        bias=np.zeros(2, np.float32),
        calibration=Calibration(temperature=1.0),
        class_names=("a", "b"),
    )
    views = {"last": np.array([[9.0]], np.float32), "taps": np.array([[-4.0, 12.0]], np.float32)}
    # Roots -2, sqrt(12) and 3, of length 5.
    np.testing.assert_allclose(head.scores(views), [[-0.4, np.sqrt(12) / 5]], rtol=1e-6)


def test_standardised_features_are_taken_as_they_are_for_the_weights_hold_the_scale() -> None:
    head = Head(
        views=("last",),
        scaling=Scaling.STANDARD,
        weights=np.array([[2.0], [0.5]], np.float32),
        bias=np.array([1.0], np.float32),
        calibration=Calibration(temperature=1.0),
        class_names=("a",),
    )
    np.testing.assert_array_equal(head.scores({"last": np.array([[3.0, 4.0]], np.float32)}), [[9.0]])


def test_a_head_of_one_view_scores_rows_of_unit_length() -> None:
    head = make_head()
    features = np.random.default_rng(4).normal(size=(7, 12)).astype(np.float32)
    lengths = np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    expected = features / lengths @ head.weights + head.bias
    # Processors add the terms of a product in different orders.
    np.testing.assert_allclose(head.scores({"last": features}), expected, rtol=0, atol=1e-6)


def test_a_hidden_layer_lets_through_what_is_above_zero() -> None:
    head = Head(
        views=("last",),
        scaling=Scaling.STANDARD,
        weights=np.array([[1.0], [10.0]], np.float32),
        bias=np.array([0.5], np.float32),
        calibration=Calibration(task=Task.REGRESSION),
        class_names=(),
        hidden=HiddenLayer(
            weights=np.array([[1.0, -1.0]], np.float32), bias=np.array([0.0, -2.0], np.float32)
        ),
    )
    features = {"last": np.array([[3.0], [-3.0]], np.float32)}
    np.testing.assert_array_equal(head.outputs(features), [[3.5], [10.5]])
    assert head.work == 4
    assert head.nbytes == 4 * (2 + 1 + 2 + 2)


def test_each_of_several_classes_has_its_own_calibration() -> None:
    head = Head(
        views=("last",),
        scaling=Scaling.STANDARD,
        weights=np.eye(2, dtype=np.float32),
        bias=np.zeros(2, np.float32),
        calibration=Calibration(
            task=Task.MULTI_LABEL,
            slopes=np.array([1.0, 2.0], np.float32),
            offsets=np.array([0.0, -1.0], np.float32),
        ),
        class_names=("a", "b"),
    )
    outputs = head.outputs({"last": np.array([[0.0, 0.5], [1e30, -1e30]], np.float32)})
    np.testing.assert_allclose(outputs, [[0.5, 0.5], [1.0, 0.0]])
