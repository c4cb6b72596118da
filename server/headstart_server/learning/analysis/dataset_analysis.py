"""Analysis of a dataset: all findings in one value."""

from collections.abc import Sequence
from dataclasses import replace

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.analysis.duplicates import MAX_GROUPS, find_duplicates
from headstart_server.learning.analysis.label_issues import find_label_issues
from headstart_server.learning.analysis.learning_curve import learning_curve
from headstart_server.learning.analysis.outliers import find_outliers
from headstart_server.learning.analysis.recommendations import class_counts, recommend
from headstart_server.learning.examples.task import Task

#: Reported truncated examples.
MAX_TRUNCATED = 100


def analyze_dataset(
    examined: AnalyzedDataset,
    groups: Sequence[str],
    *,
    seed: int,
    estimated_seconds: float = 0.0,
    fault_count: int = 0,
) -> DatasetFindings:
    """Return the findings in examples, and in what a head fitted on them predicts.

    It takes a second for 1,000 examples and several for 100,000: near-duplicates are searched among up to
    `NEAR_UP_TO`, outliers and the learning curve use a sample. `groups` come from `near_duplicate_groups`,
    [N]; `fault_count` additional examples cannot be used.
    """
    duplicates, duplicate_count = find_duplicates(examined, groups)
    label_issues, label_issue_count = find_label_issues(examined)
    outliers, outlier_count = find_outliers(examined, groups)
    truncated = [place for place, digest in enumerate(examined.digests) if digest in examined.truncated]
    findings = DatasetFindings(
        duplicates=tuple(duplicates[:MAX_GROUPS]),
        duplicate_count=duplicate_count,
        label_issues=tuple(label_issues),
        label_issue_count=label_issue_count,
        outliers=tuple(outliers),
        outlier_count=outlier_count,
        learning_curve=tuple(learning_curve(examined, groups, seed=seed)),
        imbalance=_imbalance(examined),
        estimated_seconds=estimated_seconds,
        truncated=tuple(map(examined.reference, truncated[:MAX_TRUNCATED])),
        truncated_count=len(truncated),
    )
    return replace(findings, recommendations=recommend(findings, examined, fault_count))


def _imbalance(examined: AnalyzedDataset) -> float:
    trained = examined.targets.subset(examined.trained)
    if trained.task is Task.REGRESSION:
        return 0.0
    counts = class_counts(trained.matrix)
    counts = counts[counts > 0]
    return float(counts.max() / counts.min()) if len(counts) else 0.0
