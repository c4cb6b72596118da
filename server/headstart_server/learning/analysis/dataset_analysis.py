"""Analysis of a dataset: all findings in one value."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import DatasetFindings, Outlier
from headstart_server.learning.analysis.duplicates import MAX_GROUPS, find_duplicates
from headstart_server.learning.analysis.label_issues import find_label_issues
from headstart_server.learning.analysis.learning_curve import learning_curve
from headstart_server.learning.analysis.recommendations import class_counts, recommend
from headstart_server.learning.analysis.references import build_references, sample_by_digest
from headstart_server.learning.analysis.typicality import REFERENCES
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import BLOCK, MAD_TO_DEVIATION
from headstart_server.learning.features.result_cache import feature_key

#: Maximum stored outliers.
MAX_OUTLIERS = 10_000
#: Robust deviations of the logarithm at which a distance is an outlier (Iglewicz and Hoaglin 1993), and the
#: minimum ratio to the median: among very similar examples every difference is large.
_FAR, _LEAST_RATIO = 3.5, 1.5
#: Minimum number of groups.
_FEWEST = 8


def find_outliers(dataset: AnalyzedDataset, groups: Sequence[str]) -> tuple[list[Outlier], int]:
    """Return outliers, the farthest first, and their number.

    Near-duplicates, grouped by `groups` [N], do not count as neighbors of each other.
    """
    _, group = np.unique(np.array(groups), return_inverse=True)
    if group.max() + 1 < _FEWEST:
        return [], 0
    count, names = len(group), sorted(dataset.views)
    kept = sample_by_digest(dataset.digests, REFERENCES)
    references = build_references(dataset.views, names, kept, dataset.modality, dataset.checkpoint)
    far = np.empty(count, np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        rows = references.prepared(dataset.views, part)
        own = group[part, None] == group[None, kept]
        key = feature_key([dataset.views[name] for name in names], "outliers", dataset.modality, kept, start)
        far[part] = references.nearest(rows, own.__getitem__, dataset.checkpoint, key)
    ratios = far / max(float(np.median(far)), float(np.finfo(np.float32).tiny))
    logs = np.log(np.maximum(ratios, np.finfo(np.float32).tiny))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(logs - np.median(logs))))
    outlying = (ratios > _LEAST_RATIO) & (logs - np.median(logs) > _FAR * deviation)
    places = np.flatnonzero(outlying)
    places = places[np.argsort(-ratios[places], kind="stable")]
    listed = [
        Outlier(example=dataset.reference(place), distance_ratio=float(ratios[place]))
        for place in places[:MAX_OUTLIERS].tolist()
    ]
    return listed, len(places)


#: Maximum reported truncated examples.
MAX_TRUNCATED = 100


def analyze_dataset(
    dataset: AnalyzedDataset,
    groups: Sequence[str],
    *,
    seed: int,
    estimated_seconds: float = 0.0,
    fault_count: int = 0,
) -> DatasetFindings:
    """Return findings about examples, and about the predictions of a head fitted on them.

    It takes a second for 1,000 examples and several for 100,000: near-duplicates are searched among up to
    `NEAR_UP_TO`, outliers and the learning curve use a sample. `groups` come from `near_duplicate_groups`,
    [N]; `fault_count` additional examples cannot be used.
    """
    duplicates, duplicate_count = find_duplicates(dataset, groups)
    label_issues, label_issue_count = find_label_issues(dataset)
    outliers, outlier_count = find_outliers(dataset, groups)
    truncated = [place for place, digest in enumerate(dataset.digests) if digest in dataset.truncated]
    findings = DatasetFindings(
        duplicates=tuple(duplicates[:MAX_GROUPS]),
        duplicate_count=duplicate_count,
        label_issues=tuple(label_issues),
        label_issue_count=label_issue_count,
        outliers=tuple(outliers),
        outlier_count=outlier_count,
        learning_curve=tuple(learning_curve(dataset, groups, seed=seed)),
        imbalance=_imbalance(dataset),
        estimated_seconds=estimated_seconds,
        truncated=tuple(map(dataset.reference, truncated[:MAX_TRUNCATED])),
        truncated_count=len(truncated),
    )
    return replace(findings, recommendations=recommend(findings, dataset, fault_count))


def _imbalance(dataset: AnalyzedDataset) -> float:
    trained = dataset.targets.subset(dataset.trained)
    if trained.task is Task.REGRESSION:
        return 0.0
    counts = class_counts(trained.matrix)
    counts = counts[counts > 0]
    return float(counts.max() / counts.min()) if len(counts) else 0.0
