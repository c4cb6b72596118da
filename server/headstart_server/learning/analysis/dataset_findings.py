"""Findings in a dataset, as values that are stored with a version."""

from dataclasses import dataclass
from enum import StrEnum

from headstart_server.learning.examples.target import Target
from headstart_server.storage.json_values import JsonValue


class RecommendationKind(StrEnum):
    """The subject of a recommendation."""

    TOO_FEW_EXAMPLES = "too_few_examples"
    IMBALANCE = "imbalance"
    DUPLICATES = "duplicates"
    LEAKAGE = "leakage"
    CONTRADICTIONS = "contradictions"
    LABEL_ISSUES = "label_issues"
    OUTLIERS = "outliers"
    MORE_DATA = "more_data"
    FAULTS = "faults"
    TRUNCATION = "truncated"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleReference:
    """A reference to an example.

    Attributes:
        index: position in the list of examples.
        id: the caller's ID; may be empty.
        label: its label; a soft one as its most probable class.
    """

    index: int
    id: str
    label: Target


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Examples of equal or nearly equal content.

    Attributes:
        examples: at most 20 of them.
        exact: whether the contents are equal, byte by byte.
        contradicting: whether their labels differ.
        across_held_out: whether some are trained on and others held out.
    """

    examples: tuple[ExampleReference, ...]
    count: int
    exact: bool
    contradicting: bool
    across_held_out: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelIssue:
    """An example whose label is probably wrong.

    Attributes:
        suggested_label: the label that a head predicts.
        suggested_probability: its probability, by a head fitted without the example.
        given_probability: probability of the given label.
    """

    example: ExampleReference
    suggested_label: Target
    suggested_probability: float
    given_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlier:
    """An example far from all others.

    Attributes:
        distance_ratio: distance from the nearest other example, relative to the median of all examples.
    """

    example: ExampleReference
    distance_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningPoint:
    """A point of the learning curve.

    Attributes:
        score: accuracy, for regression R squared, on examples not trained on.
        extrapolated: whether the score is extrapolated, not measured.
    """

    example_count: int
    score: float
    extrapolated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A recommendation about a dataset.

    Attributes:
        message: one or two sentences, with what to do.
    """

    kind: RecommendationKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFindings(JsonValue):
    """Findings in a dataset. Lists are bounded; counts are complete.

    Attributes:
        duplicates: groups of duplicates, contradicting ones first.
        duplicate_count: number of examples that have a duplicate.
        label_issues: examples whose label is probably wrong, the most probable first.
        outliers: examples far from all others, the farthest first.
        learning_curve: by the number of examples, ascending.
        imbalance: size of the largest class relative to the smallest; 0 for regression.
        estimated_seconds: duration of a fine-tune on these examples; 0 if unknown.
        recommendations: what to do, the most important first.
        truncated: examples that the backbone truncates, in their order.
    """

    duplicates: tuple[DuplicateGroup, ...] = ()
    duplicate_count: int = 0
    label_issues: tuple[LabelIssue, ...] = ()
    label_issue_count: int = 0
    outliers: tuple[Outlier, ...] = ()
    outlier_count: int = 0
    learning_curve: tuple[LearningPoint, ...] = ()
    imbalance: float = 0.0
    estimated_seconds: float = 0.0
    recommendations: tuple[Recommendation, ...] = ()
    truncated: tuple[ExampleReference, ...] = ()
    truncated_count: int = 0
