"""Assignment of examples to folds and to the held-out part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64, Ints


def assign_label_sets(labels: Float64, shares: Sequence[float], rng: np.random.Generator) -> Ints:
    """Assign groups to parts so that each part gets its share of every label, [G].

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest label goes first, each of its
    groups to the part that lacks most of it. `labels` [G, C] counts each label in each group; `rng` breaks
    ties.
    """
    order = rng.permutation(len(labels))
    deal = _Assignment(labels[order], shares)
    while deal.counts.any():
        rarest = np.flatnonzero(deal.counts == deal.counts[deal.counts > 0].min())
        # Among equally rare labels, take the one whose groups come first, because names must not matter.
        label = max(rarest.tolist(), key=deal.standing)
        for group in np.flatnonzero(deal.left[label]).tolist():
            deal.give(group, label)
    for group in np.flatnonzero(deal.parts < 0).tolist():
        deal.give(group, -1)
    parts = np.empty_like(deal.parts)
    parts[order] = deal.parts
    return parts


class _Assignment:
    """The parts assigned so far, and the missing labels of each part."""

    def __init__(self, labels: Float64, shares: Sequence[float]) -> None:
        self._labels = np.column_stack([labels, np.ones(len(labels))])
        self._lacking = np.outer(shares, self._labels.sum(axis=0))
        self.left = np.ascontiguousarray(labels.T) > 0
        self.counts = self.left.sum(axis=1)
        self.parts = np.full(len(labels), -1, np.int64)

    def standing(self, label: int) -> tuple[bytes, list[float]]:
        """Return the remaining groups of a label, and its missing number by part, to find equal labels."""
        return self.left[label].tobytes(), self._lacking[:, label].tolist()

    def give(self, group: int, label: int) -> None:
        """Assign a group to the part that lacks most of a label, or on ties most groups."""
        part = int(np.lexsort((-self._lacking[:, -1], -self._lacking[:, label]))[0])
        self.parts[group] = part
        self._lacking[part] -= self._labels[group]
        self.counts -= self.left[:, group]
        self.left[:, group] = False


def assign_numbers(values: Float64, count: int, rng: np.random.Generator) -> Ints:
    """Return the part of each group, [G]. Each part gets one of each `count` neighbors in order."""
    dealt = np.zeros(len(values), np.int64)
    order = np.argsort(values, kind="stable")
    for start in range(0, len(order), count):
        block = order[start : start + count]
        dealt[block] = rng.permutation(count)[: len(block)]
    return dealt


def choose_numbers(values: Float64, count: int, rng: np.random.Generator) -> Ints:
    """Return `count` groups spread over the range of their numbers, one of each of `count` ranges."""
    order = np.argsort(values, kind="stable")
    return np.array([rng.choice(stretch) for stretch in np.array_split(order, count)], np.int64)


#: Examples with neighboring numbers in a stratum.
_STRATUM = 5
#: Minimum number of groups to validate on, with several labels or numbers.
LEAST_GROUPS = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folds:
    """A partition for cross-validation."""

    count: int  # number of folds K; 0 if there is nothing to validate on
    assignment: Ints  # fold of each example, 0 to K - 1, [N]
    # False for examples whose class has no example in any other fold, [N]: a head fitted without their fold
    # cannot know their class, so they do not count in metrics. Always True for several labels and for numbers
    counted: NDArray[np.bool_]
    # 1 / number of near-duplicates of each example, itself included, [N]; None if all examples differ
    shares: Float64 | None = None

    def weights_once(self, weights: Float64) -> Float64:
        """Return weights by which each group of near-duplicates counts as one example, [N]."""
        return weights if self.shares is None else weights * self.shares


def strata(targets: Targets) -> Ints:
    """Return a stratum for each example, [N].

    It is the class of a single label; for several labels the rarest class that applies, classes of equal
    frequency together; for numbers a range of about five neighbors.
    """
    matrix = targets.matrix
    if targets.task is Task.SINGLE_LABEL:
        return targets.labels
    if targets.task is Task.REGRESSION:
        edges = np.quantile(matrix[:, 0], np.linspace(0, 1, max(len(matrix) // _STRATUM, 1) + 1)[1:-1])
        return np.searchsorted(edges, matrix[:, 0], side="right")
    counts = np.where(matrix > 0, (matrix > 0).sum(axis=0), len(matrix) + 1)
    rarest = (counts == counts.min(axis=1, keepdims=True)) & (matrix > 0)
    classes: Ints = np.unique(np.packbits(rarest, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return classes


def folds_for(targets: Targets, groups: Sequence[str], *, folds: int, seed: int) -> Folds:
    """Assign the examples of a task to similar folds, keeping each group together.

    Only the names of the `groups` matter, not the order of the examples. 0 `folds` select the median number
    of groups in a class, at least 2 and at most 5; for numbers 5, or the number of groups. The result has no
    folds if every class has a single group, or if there are fewer than `LEAST_GROUPS` with several labels or
    numbers.
    """
    if targets.task is Task.SINGLE_LABEL:
        return assign_folds(targets.labels, groups, folds=folds, seed=seed)
    summed, members = _by_group(targets, groups)
    having = (summed > 0).sum(axis=0)
    several = targets.task is Task.MULTI_LABEL
    if len(summed) < LEAST_GROUPS or (several and having.max() < 2):
        return Folds(
            count=0, assignment=np.zeros(len(groups), np.int64), counted=np.zeros(len(groups), np.bool_)
        )
    usual = float(np.median(having[having > 0])) if several else len(summed)
    count = min(folds or int(np.clip(usual, 2, 5)), len(summed))
    rng = np.random.default_rng(seed)
    if several:
        dealt = assign_label_sets(summed, [1 / count] * count, rng)
    else:
        dealt = assign_numbers(summed[:, 0], count, rng)
    counted = np.ones(len(groups), np.bool_)
    return Folds(count=count, assignment=dealt[members], counted=counted, shares=_shares(groups))


def held_out_for(targets: Targets, groups: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the examples of a task to hold out; arguments as for `held_out`.

    Each of several labels keeps a group for training; numbers are held out over their whole range.
    """
    if targets.task is Task.SINGLE_LABEL:
        return held_out(targets.labels, groups, share=share, seed=seed)
    summed, members = _by_group(targets, groups)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(summed), np.bool_)
    if targets.task is Task.REGRESSION:
        wanted = min(max(round(share * len(summed)), 1), len(summed) - 2)
        if wanted > 0:
            chosen[choose_numbers(summed[:, 0], wanted, rng)] = True
        return chosen[members]
    chosen = assign_label_sets(summed, [1 - share, share], rng) == 1
    for label in range(summed.shape[1]):
        having = np.flatnonzero(summed[:, label])
        if len(having) and chosen[having].all():
            chosen[having[0]] = False
    of_examples: NDArray[np.bool_] = chosen[members]
    return of_examples


def _by_group(targets: Targets, groups: Sequence[str]) -> tuple[Float64, Ints]:
    """Return label sums or mean number [G, C] of the groups by name, and the group of each example, [N]."""
    names, members, sizes = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    summed = np.zeros((len(names), targets.matrix.shape[1]))
    # Sorted by value: float sums must not depend on the order of the examples.
    order = np.lexsort((targets.matrix[:, 0], members))
    np.add.at(summed, members[order], targets.matrix[order])
    return summed / sizes[:, None] if targets.task is Task.REGRESSION else summed, members


def assign_folds(labels: Ints, groups: Sequence[str], *, folds: int, seed: int) -> Folds:
    """Assign examples to folds by class index [N], keeping each group together; see `folds_for`."""
    members = _groups_by_class(labels, groups)
    sizes = [len(names) for names in members.values()]
    if max(sizes, default=0) < 2:
        return Folds(
            count=0, assignment=np.zeros(len(labels), np.int64), counted=np.zeros(len(labels), np.bool_)
        )
    count = folds or int(np.clip(np.median(sizes), 2, 5))
    rng = np.random.default_rng(seed)
    dealt: dict[str, int] = {}
    position = 0
    for names in members.values():
        # The assignment continues through all classes, so folds differ by at most one group.
        for place in rng.permutation(len(names)):
            dealt[names[place]] = position % count
            position += 1
    of = np.array([dealt[group] for group in groups], np.int64)
    return Folds(count=int(of.max()) + 1, assignment=of, counted=_counted(labels, of), shares=_shares(groups))


def held_out(labels: Ints, groups: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the examples to hold out, [N]: a `share` from 0 to 0.9 of each class, in whole groups.

    Every class keeps at least one group for training, and a class with two groups or more loses at least one.
    """
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    of_classes = _groups_by_class(labels, groups).values()
    for names in of_classes:
        wanted = min(max(round(share * len(names)), 1), len(names) - 1)
        chosen.update(names[place] for place in rng.permutation(len(names))[:wanted])
    for names in of_classes:
        # A group of two classes may be chosen for either.
        if chosen.issuperset(names):
            chosen.discard(names[0])
    return np.array([group in chosen for group in groups], np.bool_)


def _groups_by_class(labels: Ints, groups: Sequence[str]) -> dict[int, list[str]]:
    """Return the sorted groups of each class, and the classes by their first group.

    So nothing depends on the order of the examples, or on the names of the classes.
    """
    members: dict[int, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        members.setdefault(label, set()).add(group)
    names = {label: sorted(of_class) for label, of_class in members.items()}
    return {label: names[label] for label in sorted(names, key=lambda label: (names[label], label))}


def _shares(groups: Sequence[str]) -> Float64:
    _, members, sizes = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    shares: Float64 = 1.0 / sizes[members]
    return shares


def _counted(labels: Ints, of: Ints) -> NDArray[np.bool_]:
    in_class = np.bincount(labels)
    in_class_and_fold = np.zeros((len(in_class), int(of.max()) + 1), np.int64)
    np.add.at(in_class_and_fold, (labels, of), 1)
    counted: NDArray[np.bool_] = in_class_and_fold[labels, of] < in_class[labels]
    return counted
