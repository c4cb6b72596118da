"""Findings in examples: duplicates, wrong labels, outliers and the learning curve."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from headstart.label_values import LabelValue


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFault:
    """An unusable example.

    Attributes:
        index: index of the example among those sent, from 0.
        example_id: ID of the example; may be empty.
        reason: a value of the contract's ``ErrorReason``, such as ``UNDECODABLE_INPUT``.
        message: the expected and the received value.
    """

    index: int
    example_id: str
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleReference:
    """A reference to an example of a dataset.

    Attributes:
        index: index of the example among those you sent, or among a version's (a parent's first), from 0.
        example_id: ID of the example; may be empty.
        label: label of the example; for a soft label its most probable class.
    """

    index: int
    example_id: str
    label: LabelValue

    @property
    def name(self) -> str:
        """The example's ID, or its index if it has no ID."""
        return self.example_id or f"example {self.index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Examples with equal or nearly equal content.

    Attributes:
        examples: the examples, at most 20.
        count: number of examples.
        exact: whether the contents are equal, byte by byte.
        contradicting: whether their labels differ.
        across_held_out: whether some are training examples and others held out, which inflates the accuracy.
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
        example: the example.
        suggested_label: the predicted class.
        suggested_probability: out-of-fold probability of the predicted class, 0 to 1.
        given_probability: out-of-fold probability of the given label, 0 to 1.
    """

    example: ExampleReference
    suggested_label: LabelValue
    suggested_probability: float
    given_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlier:
    """An example that is far from all others.

    Attributes:
        example: the example.
        distance_ratio: distance of its nearest neighbors, as a multiple of the median of all examples.
    """

    example: ExampleReference
    distance_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningPoint:
    """The score of a version at a number of examples.

    Attributes:
        example_count: number of training examples.
        score: accuracy, or R squared of a regression, on examples not trained on.
        extrapolated: whether the score is extrapolated and not measured.
    """

    example_count: int
    score: float
    extrapolated: bool


class RecommendationKind(StrEnum):
    """The subject of a recommendation. UNSPECIFIED: one that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    TOO_FEW_EXAMPLES = "TOO_FEW_EXAMPLES"
    IMBALANCE = "IMBALANCE"
    DUPLICATES = "DUPLICATES"
    LEAKAGE = "LEAKAGE"
    CONTRADICTIONS = "CONTRADICTIONS"
    LABEL_ISSUES = "LABEL_ISSUES"
    OUTLIERS = "OUTLIERS"
    MORE_DATA = "MORE_DATA"
    FAULTS = "FAULTS"
    TRUNCATION = "TRUNCATION"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A recommendation about a dataset.

    Attributes:
        kind: the subject.
        message: the problem and its remedy, in a sentence or two.
    """

    kind: RecommendationKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFindings:
    """Findings in a dataset. They never exclude examples from training.

    Attributes:
        duplicates: groups of nearly equal examples, at most 100, contradicting ones first.
        duplicate_count: number of examples that duplicate another.
        label_issues: examples whose label is probably wrong, at most 100, the most probable first.
        label_issue_count: number of label issues.
        outliers: examples that are far from all others, at most 100, the farthest first.
        outlier_count: number of outliers.
        learning_curve: scores by number of examples; the last is extrapolated to twice as many.
        imbalance: size of the largest class divided by that of the smallest; 0 for a regression.
        estimated_duration: estimated duration of a fine-tune on the server; None if unknown.
        recommendations: recommendations, the most important first.
        truncated_examples: examples whose end the backbone did not read, such as texts beyond its token
            limit; at most 100, in their order.
        truncated_count: number of truncated examples.
    """

    duplicates: tuple[DuplicateGroup, ...]
    duplicate_count: int
    label_issues: tuple[LabelIssue, ...]
    label_issue_count: int
    outliers: tuple[Outlier, ...]
    outlier_count: int
    learning_curve: tuple[LearningPoint, ...]
    imbalance: float
    estimated_duration: timedelta | None
    recommendations: tuple[Recommendation, ...]
    truncated_examples: tuple[ExampleReference, ...] = ()
    truncated_count: int = 0
