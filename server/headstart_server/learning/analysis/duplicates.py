"""Examples of equal or nearly equal content."""

from collections.abc import Sequence

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import DuplicateGroup
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Ints
from headstart_server.learning.heads.split import strata

#: Maximum stored groups, and stored examples of a group.
MAX_GROUPS, MAX_MEMBERS = 10_000, 20
#: Examples above which only equal contents are found, since all pairs would have to be compared.
NEAR_UP_TO = 20_000


def near_duplicate_groups(dataset: AnalyzedDataset) -> list[str]:
    """Return the group of near-duplicates of each example, held-out ones included, [N]."""
    if len(dataset.digests) > NEAR_UP_TO:
        return list(dataset.digests)
    view = LAST if LAST in dataset.views else next(iter(dataset.views))
    return group_near_duplicates(
        dataset.views[view],
        strata(dataset.targets),
        dataset.digests,
        modality=dataset.modality,
        checkpoint=dataset.checkpoint,
    )


def find_duplicates(dataset: AnalyzedDataset, groups: Sequence[str]) -> tuple[list[DuplicateGroup], int]:
    """Return the groups of several examples, the most severe first, and the number of examples in them.

    `groups` [N] come from `near_duplicate_groups`.
    """
    _, member, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    order = np.argsort(member, kind="stable")
    ends = np.cumsum(counts)
    several = [
        _group(dataset, order[ends[group] - counts[group] : ends[group]])
        for group in np.flatnonzero(counts > 1).tolist()
    ]
    several.sort(
        key=lambda group: (
            not group.contradicting,
            not group.across_held_out,
            -group.count,
            group.examples[0].index,
        )
    )
    return several, sum(group.count for group in several)


def _group(dataset: AnalyzedDataset, places: Ints) -> DuplicateGroup:
    held_out = dataset.held_out[places]
    return DuplicateGroup(
        examples=tuple(dataset.reference(place) for place in places[:MAX_MEMBERS].tolist()),
        count=len(places),
        exact=len({dataset.digests[place] for place in places.tolist()}) == 1,
        contradicting=_contradict(dataset, places),
        across_held_out=bool(held_out.any() and not held_out.all()),
    )


def _contradict(dataset: AnalyzedDataset, places: Ints) -> bool:
    """Return whether examples have different labels; numbers differ by noise and never contradict."""
    targets = dataset.targets
    shown = targets.matrix[places]
    if targets.task is Task.REGRESSION:
        return False
    if targets.task is Task.SINGLE_LABEL:
        shown = shown.argmax(axis=1, keepdims=True)
    return bool((shown != shown[0]).any())
