"""Answers that move away from those a version was evaluated by, for each kind of task."""

import numpy as np
import pytest

from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.learning.metrics.reliability import ReliabilityBin
from headstart_server.prediction.head_predictions import agreement
from headstart_server.prediction.prediction_drift import (
    FEWEST_EXPECTED,
    MAX_KINDS,
    ExpectedPredictions,
    PredictionDrift,
    expected_of,
)


def head_of(task: Task, classes: int = 3, *, interval: tuple[float, float] | None = None) -> Head:
    several = task is Task.MULTI_LABEL
    columns = 1 if task is Task.REGRESSION else classes
    each = np.ones(columns, np.float32)
    calibration = Calibration(
        task=task,
        interval=interval,
        **({"slopes": each, "offsets": each, "thresholds": each / 2} if several else {}),
    )
    return Head(
        views=("last",),
        weights=np.zeros((2, columns), np.float32),
        bias=np.zeros(columns, np.float32),
        calibration=calibration,
        class_names=tuple(f"c{place}" for place in range(classes)) if task is not Task.REGRESSION else (),
    )


def reported(*labels: str, times: int = 1) -> list[PredictionOutcome]:
    return [PredictionOutcome(labels=labels, probability=0.9, loss=0.1)] * times


def expected(head: Head, outcomes: list[PredictionOutcome | None], evaluation: Evaluation | None = None):
    found = expected_of(head, outcomes, evaluation)
    assert found is not None
    return found


def drift(expected: ExpectedPredictions, outputs: Float32) -> PredictionDrift:
    drift = PredictionDrift(expected, horizon=1000, fewest=30)
    drift.add(outputs)
    return drift


def one_hot(*places: int, classes: int = 3, sure: float = 0.8) -> Float32:
    """Probabilities of n inputs, each sure of one class."""
    outputs = np.full((len(places), classes), (1 - sure) / (classes - 1), np.float32)
    outputs[np.arange(len(places)), places] = sure
    return outputs


# One label


def test_shares_of_classes_like_those_of_the_evaluation_are_no_shift() -> None:
    known = expected(
        head_of(Task.SINGLE_LABEL),
        reported("c0", times=20) + reported("c1", times=10) + reported("c2", times=10),
    )
    assert known.counts.tolist() == [20, 10, 10]
    same = drift(known, one_hot(*([0, 1, 0, 2] * 25)))
    moved = drift(known, one_hot(*([2, 1, 2, 2] * 25)))
    assert same.is_known
    assert same.shift == 0.0
    assert moved.shift > 0.25


def test_confidence_is_reported_next_to_that_of_the_evaluation() -> None:
    bins = (
        ReliabilityBin(low=0.6, high=0.7, count=10, confidence=0.65, accuracy=0.6),
        ReliabilityBin(low=0.9, high=1.0, count=30, confidence=0.95, accuracy=0.9),
    )
    evaluation = Evaluation(metrics=Metrics(), reliability=bins)
    known = expected(
        head_of(Task.SINGLE_LABEL), reported("c0", times=20) + reported("c1", times=20), evaluation
    )
    assert known.confidence == pytest.approx(0.875)
    assert drift(known, one_hot(*[0, 1] * 30, sure=0.7)).confidence_shift == pytest.approx(-0.175, abs=1e-6)


def test_the_rarest_classes_are_one_kind() -> None:
    head = head_of(Task.SINGLE_LABEL, 40)
    outcomes = [each for place in range(40) for each in reported(f"c{place}", times=40 - place)]
    known = expected(head, outcomes)
    assert len(known.counts) == MAX_KINDS
    assert known.counts.sum() == len(outcomes)
    rare = known.kinds(one_hot(30, 39, 0, classes=40))
    assert rare.argmax(axis=1).tolist() == [MAX_KINDS - 1, MAX_KINDS - 1, 0]


def test_with_many_kinds_more_inputs_are_needed() -> None:
    outcomes = [each for place in range(40) for each in reported(f"c{place}", times=9)]
    known = expected(head_of(Task.SINGLE_LABEL, 40), outcomes)
    following = PredictionDrift(known, horizon=1000, fewest=30)
    following.add(one_hot(*range(40), classes=40))
    assert not following.is_known
    for _ in range(4):
        following.add(one_hot(*range(40), classes=40))
    assert following.is_known
    assert following.shift < 0.1


def test_answers_of_long_ago_count_no_more() -> None:
    known = expected(head_of(Task.SINGLE_LABEL), reported("c0", times=20) + reported("c1", times=20))
    following = drift(known, one_hot(*[0] * 300))
    before = following.shift
    for _ in range(60):
        following.add(one_hot(*[0, 1] * 50))
    assert before > 1
    assert following.shift < 0.05


@pytest.mark.parametrize(
    "outcomes",
    [
        reported("c0", times=FEWEST_EXPECTED - 1),
        [*reported("c0", times=10), *[None] * 30],
        [PredictionOutcome(labels=("c0",), loss=0.1, counted=False)] * 40,
    ],
)
def test_from_too_few_answers_nothing_is_expected(outcomes: list[PredictionOutcome | None]) -> None:
    assert expected_of(head_of(Task.SINGLE_LABEL), outcomes, None) is None


# Several labels


def test_of_several_labels_each_that_is_reported_counts_and_none_too() -> None:
    outcomes = reported("c0", times=20) + reported("c0", "c1", times=10) + reported(times=10)
    known = expected(head_of(Task.MULTI_LABEL), outcomes)
    # Most first; the third class, which is never reported, is what is left.
    assert known.counts.tolist() == [30, 10, 10, 0]
    outputs = np.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9, 0.6, 0.1], [0.1, 0.2, 0.3]], np.float32)
    same = drift(known, np.tile(outputs, (50, 1)))
    assert same.shift == 0.0
    assert same.confidence_shift is None
    assert drift(known, np.tile(outputs[3:], (200, 1))).shift > 0.25


# Numbers


def test_numbers_are_distinguished_by_ranges_of_equal_count() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    head = head_of(Task.REGRESSION)
    known = expected(head, [PredictionOutcome(value=value, loss=0.1) for value in values.tolist()])
    assert known.counts.tolist() == [20.0] * 10
    fresh = rng.normal(size=(1000, 1)).astype(np.float32)
    assert drift(known, fresh).shift < 0.1
    assert drift(known, fresh + 1).shift > 0.25
    assert drift(known, fresh * 3).shift > 0.25


def test_a_number_that_is_reported_again_and_again_is_no_shift_for_its_rounding() -> None:
    values = [1 / 3] * 30 + [2 / 3] * 30
    rounded = [PredictionOutcome(value=float(f"{value:.7g}"), loss=0.1) for value in values]
    known = expected(head_of(Task.REGRESSION), rounded)
    assert known.counts.tolist() == [30, 30]
    assert drift(known, np.array(values * 3, np.float32)[:, np.newaxis]).shift == 0.0
    assert expected_of(head_of(Task.REGRESSION), rounded[:30], None) is None


# Two heads


def test_heads_agree_where_they_tell_the_same_classes_whatever_their_order() -> None:
    first = head_of(Task.SINGLE_LABEL)
    names = ("c2", "c0")
    second = Head(
        views=("last",),
        weights=np.zeros((2, 2), np.float32),
        bias=np.zeros(2, np.float32),
        calibration=Calibration(),
        class_names=names,
    )
    agrees = agreement(first, one_hot(0, 2, 1), second, one_hot(1, 0, 0, classes=2))
    assert agrees is not None
    assert agrees.tolist() == [True, True, False]


def test_heads_of_several_labels_agree_where_all_are_the_same() -> None:
    head = head_of(Task.MULTI_LABEL)
    own = np.array([[0.9, 0.1, 0.9], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]], np.float32)
    other = np.array([[0.6, 0.4, 0.5], [0.4, 0.1, 0.1], [0.9, 0.4, 0.9]], np.float32)
    agrees = agreement(head, own, head, other)
    assert agrees is not None
    assert agrees.tolist() == [True, True, False]


def test_numbers_agree_within_the_interval_of_the_first() -> None:
    head = head_of(Task.REGRESSION, interval=(-1.0, 2.0))
    own, other = np.zeros((4, 1), np.float32), np.array([[-1.5], [-1.0], [2.0], [2.5]], np.float32)
    agrees = agreement(head, own, head, other)
    assert agrees is not None
    assert agrees.tolist() == [False, True, True, False]
    assert agreement(head_of(Task.REGRESSION), own, head, other) is None
