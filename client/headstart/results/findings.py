"""What was found in examples: duplicates, labels that look wrong, outliers, and what more would bring."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from headstart.results.label_values import LabelValue

__all__ = [
    "DatasetFindings",
    "DuplicateGroup",
    "ExampleReference",
    "LabelIssue",
    "LearningPoint",
    "Outlier",
    "Recommendation",
    "RecommendationKind",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleReference:
    """One example of those that a dataset is made of.

    Attributes:
        index: its place among the examples you sent, or among a version's (a parent's first), from 0.
        example_id: your name for it; may be empty.
        label: its label; a soft one as its most probable class.
    """

    index: int
    example_id: str
    label: LabelValue

    @property
    def name(self) -> str:
        """Its id, or its place where it has none."""
        return self.example_id or f"example {self.index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Examples of the same, or all but the same, content.

    Attributes:
        examples: the examples, at most 20.
        count: how many there are.
        exact: whether the contents are equal, byte by byte.
        contradicting: whether they are labelled differently.
        across_held_out: whether some are trained on and others held out, which flatters the accuracy.
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
        suggested_label: the class it looks like.
        suggested_probability: of that class, by a head that was fitted without the example.
        given_probability: of the given label.
    """

    example: ExampleReference
    suggested_label: LabelValue
    suggested_probability: float
    given_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlier:
    """An example that lies far from all others.

    Attributes:
        example: the example.
        distance_ratio: how far its nearest neighbours are, as a multiple of the median of all examples.
    """

    example: ExampleReference
    distance_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningPoint:
    """How good a version is with so many examples.

    Attributes:
        example_count: the examples trained on.
        score: accuracy, for a number R squared, on examples not trained on.
        extrapolated: whether it is extrapolated and not measured.
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
    """Something that a person should know about a dataset.

    Attributes:
        kind: what it is about.
        message: in a sentence or two, with what to do.
    """

    kind: RecommendationKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFindings:
    """What was found in a dataset. Nothing is ever left out of training for it.

    Attributes:
        duplicates: examples of nearly the same content, at most 100 groups, contradicting ones first.
        duplicate_count: the examples that are a duplicate of another.
        label_issues: examples whose label is probably wrong, at most 100, the most probable first.
        label_issue_count: how many there are.
        outliers: examples that lie far from all others, at most 100, the farthest first.
        outlier_count: how many there are.
        learning_curve: how good a version is by the number of examples; the last is extrapolated to twice as
            many.
        imbalance: the largest class's number of examples by that of the smallest; 0 for a number.
        estimated_duration: how long a fine-tune of these examples would take on the server; None if unknown.
        recommendations: what to do about it, the most important first.
        truncated_examples: examples of which the backbone did not see the end, such as texts of more tokens
            than it takes; at most 100, in their order.
        truncated_count: how many there are.
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
