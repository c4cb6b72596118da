"""Recommendations about a dataset, the most important first."""

from collections.abc import Iterator, Sequence

import numpy as np

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    ExampleReference,
    LearningPoint,
    Recommendation,
    RecommendationKind,
)
from headstart_server.learning.analysis.duplicates import NEAR_UP_TO
from headstart_server.learning.examples.target import IMBALANCE
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64

#: Number of examples below which a class is small: the estimate of its accuracy is a guess.
FEW = 5
#: Number of examples below which a regression is small.
FEW_NUMBERS = 30
#: Gain in accuracy or R squared that justifies more examples.
WORTHWHILE = 0.02
#: Fraction of the mistakes that more examples must avoid to be justified if few mistakes are left.
WORTHWHILE_PART = 0.3
#: Maximum number of classes or examples that a recommendation names.
_NAMED = 3


def recommend(
    findings: DatasetFindings, dataset: AnalyzedDataset, fault_count: int
) -> tuple[Recommendation, ...]:
    """Return recommendations about findings, which contain none yet, and about unusable examples."""
    recommendations = [
        *_on_faults(fault_count),
        *_on_contradictions(findings),
        *_on_leakage(findings),
        *_on_too_few(dataset),
        *_on_label_issues(findings, dataset),
        *_on_imbalance(findings, dataset),
        *_on_outliers(findings),
        *_on_truncated(findings),
        *_on_more_data(findings, dataset),
        *_on_duplicates(findings, dataset),
    ]
    return tuple(recommendations)


def _on_faults(count: int) -> Iterator[Recommendation]:
    if count:
        yield Recommendation(
            kind=RecommendationKind.FAULTS,
            message=f"{count} {_plural('example', 'examples', count)} cannot be used, and "
            f"{_plural('is', 'are', count)} excluded from all figures here. Correct them: the check and the "
            "job's status list what is wrong with each.",
        )


def _on_contradictions(findings: DatasetFindings) -> Iterator[Recommendation]:
    groups = [group for group in findings.duplicates if group.contradicting]
    if groups:
        first, second = groups[0].examples[0], _other_label(groups[0].examples)
        yield Recommendation(
            kind=RecommendationKind.CONTRADICTIONS,
            message=f"{_groups(len(groups))} of equal or nearly equal examples "
            f"{_plural('has', 'have', len(groups))} different labels, such as {_named(first)} "
            f"with {first.label} and {_named(second)} with {second.label}. Correct wrong labels.",
        )


def _on_leakage(findings: DatasetFindings) -> Iterator[Recommendation]:
    groups = [group for group in findings.duplicates if group.across_held_out]
    if groups:
        yield Recommendation(
            kind=RecommendationKind.LEAKAGE,
            message=f"{_groups(len(groups))} of equal or nearly equal examples are on both sides of the "
            f"held-out split, the first with {_named(groups[0].examples[0])}. The accuracy is measured on "
            "examples that were trained on. Hold out whole groups.",
        )


def _on_too_few(dataset: AnalyzedDataset) -> Iterator[Recommendation]:
    trained = dataset.targets.subset(dataset.trained)
    if trained.task is Task.REGRESSION:
        if len(trained) < FEW_NUMBERS:
            yield Recommendation(
                kind=RecommendationKind.TOO_FEW_EXAMPLES,
                message=f"{len(trained)} examples are few to learn a number from. Add some: at least "
                f"{FEW_NUMBERS}.",
            )
        return
    counts = class_counts(trained.matrix)
    small = sorted((int(count), name) for count, name in zip(counts, trained.class_names, strict=True))
    small = [(count, name) for count, name in small if count < FEW]
    if small:
        listed = ", ".join(f"{name!r} {count}" for count, name in small[:_NAMED])
        more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        single = " Figures for classes with a single example are not measured." if small[0][0] < 2 else ""
        yield Recommendation(
            kind=RecommendationKind.TOO_FEW_EXAMPLES,
            message=f"{len(small)} of {len(trained.class_names)} classes have fewer than {FEW} examples: "
            f"{listed}{more}. Add examples to these first.{single}",
        )


def _on_label_issues(findings: DatasetFindings, dataset: AnalyzedDataset) -> Iterator[Recommendation]:
    if findings.label_issues:
        first, count = findings.label_issues[0], findings.label_issue_count
        shown = _rounded if dataset.targets.task is Task.REGRESSION else repr
        yield Recommendation(
            kind=RecommendationKind.LABEL_ISSUES,
            message=f"{count} {_plural('label looks', 'labels look', count)} wrong, most of all "
            f"{_named(first.example)}: {shown(first.example.label.text)}, which looks like "
            f"{shown(first.suggested_label.text)}. "
            "Check them in this order, and correct the wrong ones; keep examples that are only difficult.",
        )


def _on_imbalance(findings: DatasetFindings, dataset: AnalyzedDataset) -> Iterator[Recommendation]:
    if findings.imbalance > IMBALANCE:
        task = dataset.targets.task
        counts = class_counts(dataset.targets.subset(dataset.trained).matrix)
        names = dataset.targets.class_names
        least, most = names[int(counts.argmin())], names[int(counts.argmax())]
        helped = " Classes had equal weight." if task is Task.SINGLE_LABEL else ""
        yield Recommendation(
            kind=RecommendationKind.IMBALANCE,
            message=f"Class {most!r} has {findings.imbalance:.3g} times the examples of {least!r}.{helped} "
            f"More examples of {least!r} help more than any others.",
        )


def _on_outliers(findings: DatasetFindings) -> Iterator[Recommendation]:
    if findings.outliers:
        first = findings.outliers[0]
        count = findings.outlier_count
        yield Recommendation(
            kind=RecommendationKind.OUTLIERS,
            message=f"{count} {_plural('example is', 'examples are', count)} unlike all others, first of all "
            f"{_named(first.example)}. Check whether they belong here.",
        )


def _on_truncated(findings: DatasetFindings) -> Iterator[Recommendation]:
    if findings.truncated:
        count, named = findings.truncated_count, findings.truncated[:_NAMED]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        yield Recommendation(
            kind=RecommendationKind.TRUNCATION,
            message="The head learned only from the beginning of "
            f"{count} {_plural('example', 'examples', count)}, because the backbone truncates longer inputs: "
            f"{', '.join(map(_named, named))}{more}. If the relevant part comes later, send only that part.",
        )


def _on_more_data(findings: DatasetFindings, dataset: AnalyzedDataset) -> Iterator[Recommendation]:
    curve = findings.learning_curve
    if not curve or not curve[-1].extrapolated:
        yield Recommendation(
            kind=RecommendationKind.MORE_DATA,
            message="There are too few examples to estimate whether more of them would help.",
        )
        return
    last, twice = curve[-2], curve[-1]
    what = "R squared" if dataset.targets.task is Task.REGRESSION else "accuracy"
    now, then = _share(last, what), _share(twice, what)
    change = f"from about {now} to about {then}"
    gain = twice.score - last.score
    if gain >= min(WORTHWHILE, max(WORTHWHILE_PART * (1 - last.score), WORTHWHILE / 4)):
        message = f"Twice as many examples would raise {what} {change}, if the trend continues."
    else:
        outcome = f"stay at about {now}" if then == now else f"go {change}"
        message = f"Twice as many examples of the same kind would hardly help: {what} would {outcome}."
    yield Recommendation(kind=RecommendationKind.MORE_DATA, message=message)


def _on_duplicates(findings: DatasetFindings, dataset: AnalyzedDataset) -> Iterator[Recommendation]:
    if findings.duplicate_count:
        yield Recommendation(
            kind=RecommendationKind.DUPLICATES,
            message=f"{findings.duplicate_count} examples have an equal or nearly equal one. They do not "
            "bias the estimate, which keeps them together, but add little information.",
        )
    if len(dataset.targets) > NEAR_UP_TO:
        yield Recommendation(
            kind=RecommendationKind.DUPLICATES,
            message=f"Above {NEAR_UP_TO} examples only equal contents are listed as duplicates.",
        )


def class_counts(matrix: Float64) -> Float64:
    """Return the number of examples of each class; soft labels count for their most probable class."""
    hard = matrix
    if not np.isin(matrix, (0.0, 1.0)).all():
        hard = np.eye(matrix.shape[1])[matrix.argmax(axis=1)]
    counts: Float64 = hard.sum(axis=0)
    return counts


def _other_label(examples: Sequence[ExampleReference]) -> ExampleReference:
    return next((one for one in examples if one.label != examples[0].label), examples[-1])


def _share(point: LearningPoint, what: str) -> str:
    return f"{point.score:.2f}" if what == "R squared" else f"{point.score:.1%}"


def _rounded(number: str) -> str:
    return f"{float(number):.4g}"


def _named(example: ExampleReference) -> str:
    return f"example {example.index}" + (f" ({example.id!r})" if example.id else "")


def _groups(count: int) -> str:
    return f"{count} {_plural('group', 'groups', count)}"


def _plural(one: str, several: str, count: int) -> str:
    return one if count == 1 else several
