"""Stratified assignment of groups to parts, for several labels or numbers."""

from collections.abc import Sequence

import numpy as np

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
        # Of equally rare labels, the one whose groups come first: names do not matter.
        label = max(rarest.tolist(), key=deal.standing)
        for group in np.flatnonzero(deal.left[label]).tolist():
            deal.give(group, label)
    for group in np.flatnonzero(deal.parts < 0).tolist():
        deal.give(group, -1)
    parts = np.empty_like(deal.parts)
    parts[order] = deal.parts
    return parts


class _Assignment:
    """The parts assigned so far, and what each part lacks."""

    def __init__(self, labels: Float64, shares: Sequence[float]) -> None:
        self._labels = np.column_stack([labels, np.ones(len(labels))])
        self._lacking = np.outer(shares, self._labels.sum(axis=0))
        self.left = np.ascontiguousarray(labels.T) > 0
        self.counts = self.left.sum(axis=1)
        self.parts = np.full(len(labels), -1, np.int64)

    def standing(self, label: int) -> tuple[bytes, list[float]]:
        """Return the remaining groups of a label and what each part lacks of it: equal labels are alike."""
        return self.left[label].tobytes(), self._lacking[:, label].tolist()

    def give(self, group: int, label: int) -> None:
        """Assign a group to the part that lacks most of a label, or of equals most groups."""
        part = int(np.lexsort((-self._lacking[:, -1], -self._lacking[:, label]))[0])
        self.parts[group] = part
        self._lacking[part] -= self._labels[group]
        self.counts -= self.left[:, group]
        self.left[:, group] = False


def assign_numbers(values: Float64, count: int, rng: np.random.Generator) -> Ints:
    """Return the part of each group, [G]: of each `count` neighbors in order one goes to each part."""
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
