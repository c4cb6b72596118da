"""How a head is fitted: the recipes, their settings, and carrying one out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart_server.backbones.backbone import LAST
from headstart_server.learning.evaluation import Metrics, MetricsSource, measure
from headstart_server.learning.head import Float32, Head, normalized
from headstart_server.learning.ridge import fit_ridge
from headstart_server.learning.split import Ints, assign_folds


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """Chooses by itself: ridge on the last view, its settings by cross-validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """Ridge on one-hot labels.

    Attributes:
        regularization: above 0; None chooses by out-of-fold log loss.
        temperature: above 0; None chooses by out-of-fold log loss.
        folds: 2 to 20; 0 takes the median number of examples of a class, at least 2 and at most 5.
        view: the backbone's view to fit on.
    """

    regularization: float | None = None
    temperature: float | None = None
    folds: int = 0
    view: str = LAST


Recipe = Auto | Ridge


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fitted:
    """A fitted head.

    Attributes:
        head: the head.
        recipe: the recipe as it was carried out, with every choice made.
        metrics: out-of-fold metrics; empty where nothing could be validated.
    """

    head: Head
    recipe: Ridge
    metrics: Metrics


def view_of(recipe: Recipe) -> str:
    """The backbone's view that a recipe needs."""
    return recipe.view if isinstance(recipe, Ridge) else LAST


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
        groups: names what must not straddle folds: the content digest of each example, [N].
        class_names: the C classes.
        seed: seeds the folds.
        checkpoint: called between pieces of work; may raise to stop.

    Returns:
        The head, the recipe with its choices, and out-of-fold metrics.
    """
    settings = Ridge() if isinstance(recipe, Auto) else recipe
    order = np.array(sorted(range(len(groups)), key=lambda place: (groups[place], int(labels[place]))))
    labels = labels[order]
    groups = [groups[place] for place in order]
    features = normalized(views[settings.view][order].astype(np.float64))
    folds = assign_folds(labels, groups, folds=settings.folds, seed=seed)
    solved = fit_ridge(
        features,
        labels,
        len(class_names),
        folds,
        regularization=settings.regularization,
        temperature=settings.temperature,
        checkpoint=checkpoint,
    )
    metrics = Metrics()
    if solved.predicted is not None and solved.log_loss is not None:
        metrics = measure(
            labels[folds.counted],
            solved.predicted[folds.counted],
            log_loss=solved.log_loss,
            source=MetricsSource.OUT_OF_FOLD,
        )
    head = Head(
        view=settings.view,
        weights=solved.weights.astype(np.float32),
        bias=solved.bias.astype(np.float32),
        temperature=solved.temperature,
        class_names=class_names,
    )
    chosen = replace(
        settings,
        regularization=solved.regularization,
        temperature=solved.temperature,
        folds=folds.count,
    )
    return Fitted(head=head, recipe=chosen, metrics=metrics)
