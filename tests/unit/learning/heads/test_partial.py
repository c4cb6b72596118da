"""The recipe `partial` around a trainer: its requests, and the use of its results."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import make_tail, trained_tail
from headstart_server.backbones.contract.tail_training import Loss, TailRequest, TailResult, TrainingStop
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Scaling
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.partial import TailTrainer
from headstart_server.learning.heads.recipe import Partial, Recipe, Ridge

COUNT = 90


class Trainer:
    """Keeps its requests; its result may be changed."""

    def __init__(self, change: Callable[[TailResult, TailRequest], TailResult] | None = None) -> None:
        self.change = change
        self.requests: list[TailRequest] = []

    def __call__(self, request: TailRequest) -> TailResult:
        self.requests.append(request)
        result = trained_tail(request)
        return self.change(result, request) if self.change else result


def views(seed: int = 0, count: int = COUNT) -> dict[str, Float32]:
    """Features of three classes in turn, which overlap."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(3, 9))
    rows = centers[np.arange(count) % 3] + 1.3 * rng.normal(size=(count, 9))
    return {"last": rows[:, :6].astype(np.float32), "taps": rows[:, 6:].astype(np.float32)}


def labels(count: int = COUNT) -> Targets:
    return Targets.of_labels(np.arange(count) % 3, list("abc"))


def fitted(
    trainer: Trainer,
    targets: Targets | None = None,
    recipe: Recipe | None = None,
    *,
    order: np.ndarray | None = None,
    **more: object,
) -> FittedHead:
    targets = targets or labels()
    order = np.arange(len(targets)) if order is None else order
    groups = [f"{place:04d}" for place in order]
    features = {name: rows[order] for name, rows in views(count=len(targets)).items()}
    tools = TailTrainer(activations=Path("a.npy"), rows=1000 + order, train=trainer)
    return fit(recipe or Partial(), features, targets.subset(order), groups, seed=3, tails=tools, **more)


def test_a_tail_that_helps_is_published_with_its_head() -> None:
    trainer = Trainer()
    found = fitted(trainer)
    assert found.tail is not None
    assert found.metrics.accuracy == 1.0
    assert found.stop_reason is StopReason.STEPS
    assert found.note.startswith("Trained blocks for 2 epochs (out-of-fold loss ")
    recipe = found.recipe
    assert isinstance(recipe, Partial)
    assert recipe.scaling is Scaling.STANDARD
    assert recipe.views[-1] == "last"
    assert recipe.temperature == found.head.temperature
    # The tail moves `last` by 1 and the head's bias takes it off again: the answers are those of the start.
    (request,) = trainer.requests
    moved = {**views(1), "last": views(1)["last"] + 1}
    other_views = [views(1)[name] for name in recipe.views[:-1]]
    matrix = np.concatenate([*other_views, views(1)["last"], np.ones((COUNT, 1), np.float32)], axis=1)
    assert np.allclose(found.head.scores(moved), matrix @ request.heads[-1], atol=1e-4)


def test_each_network_begins_with_a_head_that_did_not_see_its_fold() -> None:
    trainer = Trainer()
    fitted(trainer)
    (request,) = trainer.requests
    assert request.heads.shape[0] == 4
    assert sorted(set(request.folds.tolist())) == [0, 1, 2]
    fixed = request.fixed_features.shape[1]
    rows = np.concatenate([request.fixed_features, views()["last"], np.ones((COUNT, 1), np.float32)], axis=1)
    assert rows.shape[1] == request.heads.shape[1] == fixed + 7

    def loss(scores: Float32) -> float:
        shifted = scores - scores.max(axis=1, keepdims=True)
        sure = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(sure * request.targets).sum(axis=1).mean())

    out_of_fold = np.stack([rows[place] @ request.heads[fold] for place, fold in enumerate(request.folds)])
    # Begins with probabilities that mean something, and with less certainty about what was not seen.
    assert loss(rows @ request.heads[-1]) < loss(out_of_fold) < np.log(3)


def test_the_order_of_the_request_does_not_depend_on_that_of_the_examples() -> None:
    one, other = Trainer(), Trainer()
    order = np.random.default_rng(0).permutation(COUNT)
    first, second = fitted(one), fitted(other, order=order)
    for name in ("rows", "fixed_features", "targets", "folds", "heads"):
        assert np.array_equal(getattr(one.requests[0], name), getattr(other.requests[0], name)), name
    assert one.requests[0].rows.tolist() == list(range(1000, 1000 + COUNT))
    assert first.outputs is not None
    assert second.outputs is not None
    assert np.array_equal(first.outputs[order], second.outputs)


def worse(result: TailResult, request: TailRequest) -> TailResult:
    return replace(result, outputs=np.zeros_like(request.targets))


def never_better(result: TailResult, request: TailRequest) -> TailResult:
    return replace(result, epoch=0)


@pytest.mark.parametrize("change", [worse, never_better])
def test_where_training_does_not_help_the_best_head_on_the_backbone_is_kept(
    change: Callable[[TailResult, TailRequest], TailResult],
) -> None:
    found = fitted(Trainer(change))
    assert found.tail is None
    assert found.stop_reason is None
    assert found.note.startswith("No trained blocks: training the last blocks did not help (out-of-fold")
    recipe = found.recipe
    assert isinstance(recipe, Partial)
    kept = Ridge(views=recipe.views, scaling=recipe.scaling, folds=3, temperature=recipe.temperature)
    plain = fit(kept, views(), labels(), [f"{place:04d}" for place in range(COUNT)], seed=3)
    assert np.array_equal(found.head.weights, plain.head.weights)
    # The temperature was chosen here and given there, so only figures without it agree.
    assert found.metrics.accuracy == plain.metrics.accuracy


def test_a_head_that_is_best_by_chance_is_measured_as_if_chosen_without_each_fold() -> None:
    gains = []
    for seed in range(10):
        noise = Targets.of_labels(np.random.default_rng(seed).permutation(COUNT) % 3, list("abc"))
        found = fitted(Trainer(never_better), noise, Partial(temperature=1.0))
        assert isinstance(found.recipe, Partial)
        kept = Ridge(views=found.recipe.views, scaling=found.recipe.scaling, folds=3, temperature=1.0)
        plain = fit(kept, views(), noise, [f"{place:04d}" for place in range(COUNT)], seed=3)
        assert np.array_equal(found.head.weights, plain.head.weights)
        gains.append((found.metrics.log_loss or 0.0) - (plain.metrics.log_loss or 0.0))
    # Chosen on all folds, it would look as good as alone.
    assert np.mean(gains) > 0


def test_one_example_of_each_class_is_not_trained_on() -> None:
    trainer = Trainer()
    found = fitted(trainer, labels(3))
    assert trainer.requests == []
    assert found.tail is None
    assert found.note == (
        "No trained blocks: there are too few examples to determine whether training helps."
    )


def test_settings_and_weights_are_passed_on() -> None:
    trainer = Trainer()
    recipe = Partial(blocks=2, learning_rate=1e-5, max_epochs=7, patience=2, time_budget=9.0)
    weights = np.where(np.arange(COUNT) % 2 == 0, 1.0, 3.0)
    fitted(trainer, replace(labels(), weights=weights), recipe)
    (request,) = trainer.requests
    assert (request.blocks, request.learning_rate, request.max_epochs) == (2, 1e-5, 7)
    assert (request.patience, request.seconds, request.loss) == (2, 9.0, Loss.SOFTMAX)
    assert np.allclose(request.weights, weights / 2)


def test_several_labels_are_logits_of_each() -> None:
    matrix = np.stack([np.arange(COUNT) % 3 == 0, np.arange(COUNT) % 3 != 1], axis=1).astype(np.float64)
    targets = Targets(task=Task.MULTI_LABEL, matrix=matrix, weights=np.ones(COUNT), class_names=("a", "b"))
    trainer = Trainer()
    found = fitted(trainer, targets)
    assert trainer.requests[0].loss is Loss.SIGMOID
    assert found.tail is not None
    assert found.metrics.accuracy == 1.0


def test_numbers_are_trained_on_around_zero_and_predicted_in_their_unit() -> None:
    numbers = 5000 + 100 * views()["last"][:, :1].astype(np.float64) ** 2
    targets = Targets(task=Task.REGRESSION, matrix=numbers, weights=np.ones(COUNT), class_names=())
    trainer = Trainer()
    found = fitted(trainer, targets)
    (request,) = trainer.requests
    assert request.loss is Loss.SQUARED
    assert abs(request.targets.mean()) < 1e-3
    assert request.targets.std() == pytest.approx(1.0, abs=1e-3)
    assert found.outputs is not None
    assert np.allclose(found.outputs, numbers, rtol=1e-4)
    # Losses are relative to the variance of the numbers.
    assert "(out-of-fold loss 0." in fitted(Trainer(worse), targets).note
    moved = {**views(), "last": views()["last"] + 1}
    assert 4000 < found.head.outputs(moved).mean() < 6000


def test_the_stop_reason_of_training_is_reported() -> None:
    trainer = Trainer(lambda result, _: replace(result, stop=TrainingStop.TIME, tail=make_tail(size=6)))
    assert fitted(trainer).stop_reason is StopReason.TIME


def test_without_a_trainer_it_is_a_fault() -> None:
    with pytest.raises(ValueError, match="The recipe partial requires tails"):
        fit(Partial(), views(), labels(), [str(place) for place in range(COUNT)], seed=0)
