"""Thresholds and intervals by which a head is measured, against fresh examples."""

from collections.abc import Callable

import numpy as np
import pytest

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.learning.metrics.metrics import MetricsSource, measure
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureTable

RECIPE = Ridge(scaling=Scaling.STANDARD)
CLASSES = ("a", "b", "c", "d")


def several(rng: np.random.Generator, count: int) -> tuple[Float32, Targets]:
    """Return rows of which each of four classes has its feature, with as much noise."""
    rows = rng.normal(size=(count, 80))
    has = rows[:, :4] + rng.normal(size=(count, 4)) > 1
    targets = [Target.of_labels(np.array(CLASSES)[row].tolist()) for row in has]
    return rows.astype(np.float32), Targets.from_targets(targets, class_names=CLASSES)


def numbers(rng: np.random.Generator, count: int) -> tuple[Float32, Targets]:
    """Return rows whose number is the sum of their features, with noise, in an odd unit."""
    rows = rng.normal(size=(count, 5))
    values = 1000 + 50 * (rows.sum(axis=1) + rng.normal(size=count))
    return rows.astype(np.float32), Targets.from_targets([Target.of_value(value) for value in values])


def digests(count: int) -> list[str]:
    return [f"{place:03d}" for place in range(count)]


def made(
    make: Callable[[np.random.Generator, int], tuple[Float32, Targets]], rng: np.random.Generator, count: int
) -> tuple[FittedHead, FeatureTable]:
    """Return a head and its examples."""
    rows, targets = make(rng, count)
    table = FeatureTable(
        examples=[
            StoredExample(
                target=target,
                id=digest,
                held_out=False,
                digest=digest,
                kind="tensor",
                weight=1.0,
                archive="job",
                member=place,
            )
            for place, (target, digest) in enumerate(zip(as_given(targets), digests(count), strict=True))
        ],
        indexes=np.arange(count),
        views={"last": rows},
        targets=targets,
        digests=digests(count),
        modality=Modality.TENSOR,
    )
    return fit(RECIPE, table.views, targets, table.digests, seed=0, modality=Modality.TENSOR), table


def as_given(targets: Targets) -> list[Target]:
    if targets.task is Task.REGRESSION:
        return [Target.of_value(value) for value in targets.matrix[:, 0].tolist()]
    return [Target.of_labels(np.array(CLASSES)[row].tolist()) for row in targets.matrix > 0]


@pytest.mark.parametrize("count", [60, 150])
def test_the_reported_f1_is_that_of_fresh_examples_in_the_mean(count: int) -> None:
    gains = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        fitted, _ = made(several, rng, count)
        rows, targets = several(rng, 1000)
        outputs = fitted.head.outputs({"last": rows})
        fresh = measure(targets, outputs, fitted.head.thresholds, source=MetricsSource.HELD_OUT)
        gains.append((fitted.metrics.macro_f1 or 0.0) - (fresh.macro_f1 or 0.0))
    assert abs(np.mean(gains)) < 2.5 * np.std(gains) / np.sqrt(len(gains))


def test_an_outlier_lies_outside_the_interval_that_it_is_measured_with() -> None:
    rng = np.random.default_rng(0)
    rows, targets = numbers(rng, 20)
    targets.matrix[3] += 1000
    fitted = fit(RECIPE, {"last": rows}, targets, digests(20), seed=0)
    low, high = fitted.interval.T
    assert fitted.outputs is not None
    errors = (targets.matrix - fitted.outputs)[:, 0]
    assert errors[3] > high[3]
    # The head's own interval knows of it.
    assert fitted.head.interval is not None
    assert errors[3] <= fitted.head.interval[1]
    assert ((low < 0) & (high > 0)).all()


def test_every_figure_is_measured_with_the_same_limits() -> None:
    fitted, table = made(several, np.random.default_rng(1), 60)
    found = evaluate_fit(fitted, table, np.zeros(60, np.bool_), checkpoint=lambda: None)
    assert np.mean([one.f1 for one in found.evaluation.classes]) == pytest.approx(fitted.metrics.macro_f1)
    right = [
        set(outcome.labels) == set(example.target.shares)
        for outcome, example in zip(found.outcomes, table.examples, strict=True)
        if outcome is not None
    ]
    assert np.mean(right) == pytest.approx(fitted.metrics.accuracy)
    fitted, table = made(numbers, np.random.default_rng(0), 20)
    found = evaluate_fit(fitted, table, np.zeros(20, np.bool_), checkpoint=lambda: None)
    assert fitted.outputs is not None
    errors = table.targets.matrix - fitted.outputs
    inside = (errors >= fitted.interval[:, :1]) & (errors <= fitted.interval[:, 1:])
    assert found.evaluation.interval_coverage == pytest.approx(inside.mean())
