"""Which examples are held out, and which fold each training example is in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.rows import Ints
from headstart_server.learning.targets import Targets
from headstart_server.learning.task import Task

__all__ = ["Folds", "Ints", "assign_folds", "folds_for", "held_out", "strata"]

#: Examples of one stratum of a regression, about: so many parts of the range are dealt evenly.
_STRATUM = 5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folds:
    """A partition for cross-validation.

    Attributes:
        count: number of folds K; 0 where there is nothing to validate on.
        of: the fold of each example, 0 to K - 1, [N].
        counted: False for examples whose class has no example in any other fold, [N]: a head fitted without
            their fold cannot know their class, so they say nothing about the head fitted on all.
    """

    count: int
    of: Ints
    counted: NDArray[np.bool_]


def strata(targets: Targets) -> Ints:
    """The stratum of each example, [N]: what shall be spread evenly between folds.

    The class of a single label; the rarest class that applies of several; of numbers those next to each
    other, about five in each stratum.
    """
    matrix = targets.matrix
    if targets.task is Task.SINGLE_LABEL:
        return targets.labels
    if targets.task is Task.REGRESSION:
        edges = np.quantile(matrix[:, 0], np.linspace(0, 1, max(len(matrix) // _STRATUM, 1) + 1)[1:-1])
        return np.searchsorted(edges, matrix[:, 0], side="right")
    counts = np.append(matrix.sum(axis=0), np.inf)
    rarity = np.where(np.pad(matrix, ((0, 0), (0, 1)), constant_values=1.0) > 0, counts, np.nan)
    rarest: Ints = np.nanargmin(rarity, axis=1)
    return rarest


def folds_for(targets: Targets, groups: Sequence[str], *, folds: int, seed: int) -> Folds:
    """Deal the examples of a task into folds; arguments as for `assign_folds`."""
    dealt = assign_folds(strata(targets), groups, folds=folds, seed=seed)
    if targets.task is Task.SINGLE_LABEL or not dealt.count:
        return dealt
    return replace(dealt, counted=np.ones(len(targets), np.bool_))


def assign_folds(labels: Ints, groups: Sequence[str], *, folds: int, seed: int) -> Folds:
    """Deal examples into folds, class by class, keeping each group together.

    Args:
        labels: class index of each example, [N].
        groups: what must not straddle folds; examples of equal content share one. The order of the examples
            does not matter, only the groups' names do.
        folds: number of folds; 0 chooses the median number of groups in a class, at least 2 and at most 5.
        seed: seeds the deal.

    Returns:
        The folds; `count` is 0 if every class has a single group.
    """
    members = _groups_by_class(labels, groups)
    sizes = [len(names) for names in members.values()]
    if max(sizes, default=0) < 2:
        return Folds(count=0, of=np.zeros(len(labels), np.int64), counted=np.zeros(len(labels), np.bool_))
    count = folds or int(np.clip(np.median(sizes), 2, 5))
    rng = np.random.default_rng(seed)
    dealt: dict[str, int] = {}
    position = 0
    for names in members.values():
        # One deal runs on through all classes, so folds differ by one group at most.
        for place in rng.permutation(len(names)):
            dealt[names[place]] = position % count
            position += 1
    of = np.array([dealt[group] for group in groups], np.int64)
    return Folds(count=int(of.max()) + 1, of=of, counted=_counted(labels, of))


def held_out(labels: Ints, groups: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose examples to hold out, class by class and group by group.

    Every class keeps at least one group for training, and a class with two groups or more gives at least one.

    Args:
        labels: class index of each example, [N].
        groups: what must not be divided between training and held out.
        share: wanted share of each class, 0 to 0.9.
        seed: seeds the choice.

    Returns:
        True for held-out examples, [N].
    """
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for names in _groups_by_class(labels, groups).values():
        wanted = min(max(round(share * len(names)), 1), len(names) - 1)
        chosen.update(names[place] for place in rng.permutation(len(names))[:wanted])
    return np.array([group in chosen for group in groups], np.bool_)


def _groups_by_class(labels: Ints, groups: Sequence[str]) -> dict[int, list[str]]:
    """The groups of each class, both sorted: equal for any order of the examples."""
    members: dict[int, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        members.setdefault(label, set()).add(group)
    return {label: sorted(members[label]) for label in sorted(members)}


def _counted(labels: Ints, of: Ints) -> NDArray[np.bool_]:
    in_class = np.bincount(labels)
    in_class_and_fold = np.zeros((len(in_class), int(of.max()) + 1), np.int64)
    np.add.at(in_class_and_fold, (labels, of), 1)
    counted: NDArray[np.bool_] = in_class_and_fold[labels, of] < in_class[labels]
    return counted
