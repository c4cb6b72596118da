"""The prediction of each example, for every task and for classes that a head does not know."""

import numpy as np
import pytest

from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import BLOCK
from headstart_server.learning.metrics.metrics import LEAST
from headstart_server.learning.metrics.outcomes import LabeledOutputs, PredictionOutcome


def predicted(
    targets: list[Target],
    outputs: list[list[float]],
    *,
    thresholds: tuple[float, ...] = (),
    names: str = "abc",
) -> list[PredictionOutcome]:
    answered = LabeledOutputs.from_head(
        targets,
        [1.0] * len(targets),
        np.array(outputs, np.float32),
        np.array(thresholds, np.float32),
        tuple(names),
    )
    return list(answered.outcomes())


def test_the_most_probable_class_of_a_single_label_is_predicted() -> None:
    (outcome,) = predicted([Target.of_label("b")], [[0.5, 0.3, 0.2]])
    assert outcome.labels == ("a",)
    assert outcome.probability == pytest.approx(0.3)
    assert outcome.loss == pytest.approx(-np.log(0.3), rel=1e-6)
    assert (outcome.held_out, outcome.counted, outcome.value) == (False, True, None)


def test_of_a_soft_label_the_loss_is_that_of_all_its_classes() -> None:
    (outcome,) = predicted([Target.of_shares({"a": 0.25, "b": 0.75})], [[0.5, 0.3, 0.2]])
    assert outcome.probability == pytest.approx(0.3)
    assert outcome.loss == pytest.approx(-0.25 * np.log(0.5) - 0.75 * np.log(0.3), rel=1e-6)


def test_a_class_that_the_head_does_not_know_has_no_probability() -> None:
    (outcome,) = predicted([Target.of_label("z")], [[0.5, 0.3, 0.2]])
    assert outcome.labels == ("a",)
    assert outcome.probability == 0.0
    assert outcome.loss == pytest.approx(-np.log(LEAST))


def test_several_labels_above_their_thresholds_are_predicted() -> None:
    (outcome,) = predicted([Target.of_labels(["a"])], [[0.6, 0.5, 0.1]], thresholds=(0.7, 0.4, 0.5))
    assert outcome.labels == ("b",)
    # The right answers are a, no b and no c.
    assert outcome.probability == pytest.approx(0.5)
    assert outcome.loss == pytest.approx(-np.log([0.6, 0.5, 0.9]).mean(), rel=1e-6)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5, 0.5)])
def test_an_unknown_one_of_several_classes_is_never_predicted(thresholds: tuple[float, ...]) -> None:
    (outcome,) = predicted([Target.of_labels(["a", "z"])], [[0.9, 0.1, 0.1]], thresholds=thresholds)
    assert outcome.labels == ("a",)
    assert outcome.probability == 0.0


def test_the_loss_of_a_number_is_its_error() -> None:
    (outcome,) = predicted([Target.of_value(3.0)], [[2.5]], names="")
    assert (outcome.value, outcome.loss, outcome.labels, outcome.probability) == (2.5, 0.5, (), None)


def test_examples_of_more_than_one_block_keep_their_order_and_flags() -> None:
    count = BLOCK + 3
    answered = LabeledOutputs.from_head(
        [Target.of_value(float(place)) for place in range(count)],
        [1.0] * count,
        np.zeros((count, 1), np.float32),
        np.zeros(0, np.float32),
        (),
    )
    held_out = np.arange(count) % 2 == 0
    outcomes = list(answered.outcomes(held_out=held_out, counted=~held_out))
    assert [outcome.loss for outcome in outcomes] == list(range(count))
    assert [outcome.held_out for outcome in outcomes] == held_out.tolist()
    assert [outcome.counted for outcome in outcomes] == (~held_out).tolist()
