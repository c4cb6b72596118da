"""Dealing groups of examples into parts that are alike, where an example has several labels or a number."""

from collections.abc import Sequence

import numpy as np

from headstart_server.learning.rows import Float64, Ints


def assign_label_sets(labels: Float64, shares: Sequence[float], rng: np.random.Generator) -> Ints:
    """Deal groups into parts so that each part gets its share of every label.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest label goes first, each group
    that has it to the part that lacks most of it.

    Args:
        labels: how often each label occurs in each group, [G, C].
        shares: the wanted share of each part.
        rng: decides between parts that lack the same.

    Returns:
        The part of each group, [G].
    """
    order = rng.permutation(len(labels))
    deal = _Assignment(labels[order], shares)
    while deal.counts.any():
        rarest = np.flatnonzero(deal.counts == deal.counts[deal.counts > 0].min())
        # Of labels that are as rare, the one whose groups come first: their names do not matter.
        label = max(rarest.tolist(), key=deal.standing)
        for group in np.flatnonzero(deal.left[label]).tolist():
            deal.give(group, label)
    for group in np.flatnonzero(deal.parts < 0).tolist():
        deal.give(group, -1)
    parts = np.empty_like(deal.parts)
    parts[order] = deal.parts
    return parts


class _Assignment:
    """What is dealt already, and what each part still lacks."""

    def __init__(self, labels: Float64, shares: Sequence[float]) -> None:
        self._labels = np.column_stack([labels, np.ones(len(labels))])
        self._lacking = np.outer(shares, self._labels.sum(axis=0))
        self.left = np.ascontiguousarray(labels.T) > 0
        self.counts = self.left.sum(axis=1)
        self.parts = np.full(len(labels), -1, np.int64)

    def standing(self, label: int) -> tuple[bytes, list[float]]:
        """Which groups of a label are left and what each part lacks of it: labels that share it are alike."""
        return self.left[label].tobytes(), self._lacking[:, label].tolist()

    def give(self, group: int, label: int) -> None:
        """Give a group to the part that lacks most of a label, of equals the one that lacks most groups."""
        part = int(np.lexsort((-self._lacking[:, -1], -self._lacking[:, label]))[0])
        self.parts[group] = part
        self._lacking[part] -= self._labels[group]
        self.counts -= self.left[:, group]
        self.left[:, group] = False


def assign_numbers(values: Float64, count: int, rng: np.random.Generator) -> Ints:
    """Deal groups into `count` parts of alike numbers: of each `count` neighbours in order one goes to each.

    Args:
        values: the number of each group, [G].
        count: number of parts.
        rng: decides which goes where.

    Returns:
        The part of each group, [G].
    """
    dealt = np.zeros(len(values), np.int64)
    order = np.argsort(values, kind="stable")
    for start in range(0, len(order), count):
        block = order[start : start + count]
        dealt[block] = rng.permutation(count)[: len(block)]
    return dealt


def choose_numbers(values: Float64, count: int, rng: np.random.Generator) -> Ints:
    """Choose `count` groups spread over the range of their numbers: one of each of so many stretches."""
    order = np.argsort(values, kind="stable")
    return np.array([rng.choice(stretch) for stretch in np.array_split(order, count)], np.int64)
