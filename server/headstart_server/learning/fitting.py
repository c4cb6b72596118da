"""Carrying out a recipe: from features to a head and what cross-validation says of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart_server.backbones.backbone import LAST
from headstart_server.learning.evaluation import Metrics, MetricsSource, measure
from headstart_server.learning.head import Head
from headstart_server.learning.lbfgs import StopReason
from headstart_server.learning.logistic import LogisticFit, fit_logistic
from headstart_server.learning.near_duplicates import group_near_duplicates
from headstart_server.learning.recipe import Auto, CarriedOut, Logistic, Recipe, Ridge, views_of
from headstart_server.learning.ridge import RidgeFit, fit_ridge
from headstart_server.learning.rows import Float32, Float64, Ints, Rows, Scaling
from headstart_server.learning.split import Folds, assign_folds

#: Examples below which nothing is chosen between views: the estimate is too noisy.
CHOOSE_FROM = 16
#: Examples of the largest class for one of the smallest above which classes are balanced.
IMBALANCE = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fitted:
    """A fitted head.

    Attributes:
        head: the head.
        recipe: the recipe as it was carried out, with every choice made.
        metrics: out-of-fold metrics; empty where nothing could be validated.
        stop_reason: why the solver ended; None for a closed form.
    """

    head: Head
    recipe: CarriedOut
    metrics: Metrics
    stop_reason: StopReason | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Examples:
    """Examples sorted by content: row i of the sorted table is row `order[i]` of `views`."""

    views: Mapping[str, Float32]
    order: Ints
    labels: Ints
    classes: int
    groups: Sequence[str]
    seed: int


#: A candidate with its choices made, its fit and its folds.
_Tried = tuple[CarriedOut, RidgeFit | LogisticFit, Folds]


def fit(
    recipe: Recipe,
    views: Mapping[str, Float32],
    labels: Ints,
    groups: Sequence[str],
    class_names: tuple[str, ...],
    *,
    seed: int,
    checkpoint: Callable[[], None] = lambda: None,
) -> Fitted:
    """Carry out a recipe.

    The result does not depend on the order of the examples: they are sorted by content first.

    Args:
        recipe: what to do.
        views: features [N, D] of each view the recipe needs.
        labels: class index of each example, [N].
        groups: names what must not straddle folds: the content digest of each example, [N]. Groups whose
            features are all but the same are joined.
        class_names: the C classes.
        seed: seeds the folds.
        checkpoint: called between pieces of work; may raise to stop.

    Returns:
        The head, the recipe with its choices, and out-of-fold metrics.
    """
    order = np.array(sorted(range(len(groups)), key=lambda place: (groups[place], int(labels[place]))))
    names = [groups[place] for place in order]
    alike = next(iter(views)) if LAST not in views else LAST
    examples = _Examples(
        views=views,
        order=order,
        labels=labels[order],
        classes=len(class_names),
        groups=group_near_duplicates(views[alike], labels[order], names, order=order, checkpoint=checkpoint),
        seed=seed,
    )
    chosen, solved, folds = _best(_candidates(recipe, examples), examples, checkpoint)
    metrics = Metrics()
    if solved.predicted is not None and solved.log_loss is not None:
        metrics = measure(
            examples.labels[folds.counted],
            solved.predicted[folds.counted],
            log_loss=solved.log_loss,
            source=MetricsSource.OUT_OF_FOLD,
        )
    head = Head(
        views=chosen.views,
        scaling=chosen.scaling,
        weights=solved.weights.astype(np.float32),
        bias=solved.bias.astype(np.float32),
        temperature=solved.temperature,
        class_names=class_names,
    )
    reason = solved.stop_reason if isinstance(solved, LogisticFit) else None
    return Fitted(head=head, recipe=chosen, metrics=metrics, stop_reason=reason)


def _candidates(recipe: Recipe, examples: _Examples) -> Sequence[CarriedOut]:
    """What `auto` chooses between: the last view by itself, and all views with each feature on one scale.

    On photographs like those of the backbone's own training the last view is best, elsewhere what the layers
    below it saw helps. With few examples, or one of each class, there is no telling: the last view it is.
    """
    if not isinstance(recipe, Auto):
        return [recipe]
    last = Ridge(views=(LAST,), scaling=Scaling.ROOT)
    if len(examples.labels) < CHOOSE_FROM or np.bincount(examples.labels).max() < 2:
        return [last]
    return [last, Ridge(views=views_of(recipe, examples.views), scaling=Scaling.STANDARD)]


def _best(candidates: Sequence[CarriedOut], examples: _Examples, checkpoint: Callable[[], None]) -> _Tried:
    """Fit each candidate, and keep the one of the lowest out-of-fold loss."""
    tried = [_try(candidate, examples, checkpoint) for candidate in candidates]
    # The first of equals; where nothing could be validated there is one candidate.
    return min(tried, key=lambda one: one[1].loss or 0.0)


def _try(candidate: CarriedOut, examples: _Examples, checkpoint: Callable[[], None]) -> _Tried:
    labels, classes = examples.labels, examples.classes
    folds = assign_folds(labels, examples.groups, folds=candidate.folds, seed=examples.seed)
    balanced = is_imbalanced(labels) if candidate.balanced is None else candidate.balanced
    rows = Rows(
        examples.views, candidate.views, candidate.scaling, order=examples.order, checkpoint=checkpoint
    )
    solved: RidgeFit | LogisticFit
    if isinstance(candidate, Logistic):
        solved = fit_logistic(
            rows,
            np.eye(classes)[labels],
            folds,
            regularization=candidate.regularization,
            temperature=candidate.temperature,
            balanced=balanced,
            time_budget=candidate.time_budget,
            checkpoint=checkpoint,
        )
    else:
        solved = fit_ridge(
            rows,
            labels,
            classes,
            folds,
            weights=balancing(labels) if balanced else None,
            regularization=candidate.regularization,
            temperature=candidate.temperature,
            checkpoint=checkpoint,
        )
    chosen = replace(
        candidate,
        regularization=solved.regularization,
        temperature=solved.temperature,
        folds=folds.count,
        balanced=balanced,
    )
    return chosen, solved, folds


def is_imbalanced(labels: Ints) -> bool:
    """Whether the largest class has more than `IMBALANCE` times the examples of the smallest."""
    counts = np.bincount(labels)
    return bool(counts.max() > IMBALANCE * counts[counts > 0].min())


def balancing(labels: Ints) -> Float64:
    """Weights of mean 1 that give each class the same sum, [N]."""
    counts = np.bincount(labels)
    weights: Float64 = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return weights
