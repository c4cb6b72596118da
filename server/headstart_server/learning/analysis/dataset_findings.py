"""Findings in a dataset, as values that are stored with a version.

The contract documents the fields of the messages with the same names.
"""

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
    """A reference to an example; a soft label is its most probable class."""

    index: int
    id: str
    label: Target


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Examples of equal or nearly equal content."""

    examples: tuple[ExampleReference, ...]
    count: int
    exact: bool
    contradicting: bool
    across_held_out: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelIssue:
    """An example whose label is probably wrong."""

    example: ExampleReference
    suggested_label: Target
    suggested_probability: float
    given_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlier:
    """An example far from all others."""

    example: ExampleReference
    distance_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningPoint:
    """A point of the learning curve."""

    example_count: int
    score: float
    extrapolated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A recommendation about a dataset."""

    kind: RecommendationKind
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFindings(JsonValue):
    """Findings in a dataset. Lists are bounded; counts are complete."""

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
