"""The messages of findings in a dataset."""

from headstart.v1 import evaluation_pb2 as pb
from headstart.v1 import label_pb2
from headstart_server.api.grpc.messages.common import duration, label_message
from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelIssue,
    LearningPoint,
    Outlier,
    Recommendation,
    RecommendationKind,
)

RECOMMENDATION_KINDS = {
    RecommendationKind.TOO_FEW_EXAMPLES: pb.RECOMMENDATION_KIND_TOO_FEW_EXAMPLES,
    RecommendationKind.IMBALANCE: pb.RECOMMENDATION_KIND_IMBALANCE,
    RecommendationKind.DUPLICATES: pb.RECOMMENDATION_KIND_DUPLICATES,
    RecommendationKind.LEAKAGE: pb.RECOMMENDATION_KIND_LEAKAGE,
    RecommendationKind.CONTRADICTIONS: pb.RECOMMENDATION_KIND_CONTRADICTIONS,
    RecommendationKind.LABEL_ISSUES: pb.RECOMMENDATION_KIND_LABEL_ISSUES,
    RecommendationKind.OUTLIERS: pb.RECOMMENDATION_KIND_OUTLIERS,
    RecommendationKind.MORE_DATA: pb.RECOMMENDATION_KIND_MORE_DATA,
    RecommendationKind.FAULTS: pb.RECOMMENDATION_KIND_FAULTS,
    RecommendationKind.TRUNCATION: pb.RECOMMENDATION_KIND_TRUNCATION,
}


#: Maximum reported findings of each kind; `ListExamples` lists all.
MAX_REPORTED = 100


def findings_message(findings: DatasetFindings) -> pb.DatasetFindings:
    """Return the message of findings."""
    return pb.DatasetFindings(
        duplicates=map(_duplicates_message, findings.duplicates[:MAX_REPORTED]),
        duplicate_count=findings.duplicate_count,
        label_issues=map(_issue_message, findings.label_issues[:MAX_REPORTED]),
        label_issue_count=findings.label_issue_count,
        outliers=map(_outlier_message, findings.outliers[:MAX_REPORTED]),
        outlier_count=findings.outlier_count,
        learning_curve=map(_point_message, findings.learning_curve),
        imbalance=findings.imbalance,
        estimated_duration=duration(findings.estimated_seconds or None),
        recommendations=map(_recommendation_message, findings.recommendations),
        truncated_examples=map(_reference_message, findings.truncated),
        truncated_count=findings.truncated_count,
    )


def _reference_message(example: ExampleReference) -> label_pb2.ExampleReference:
    return label_pb2.ExampleReference(
        index=example.index, example_id=example.id, label=label_message(example.label)
    )


def _duplicates_message(group: DuplicateGroup) -> pb.DuplicateGroup:
    return pb.DuplicateGroup(
        examples=map(_reference_message, group.examples),
        count=group.count,
        exact=group.exact,
        contradicting=group.contradicting,
        across_held_out=group.across_held_out,
    )


def _issue_message(issue: LabelIssue) -> pb.LabelIssue:
    return pb.LabelIssue(
        example=_reference_message(issue.example),
        suggested_label=label_message(issue.suggested_label),
        suggested_probability=issue.suggested_probability,
        given_probability=issue.given_probability,
    )


def _outlier_message(outlier: Outlier) -> pb.Outlier:
    return pb.Outlier(example=_reference_message(outlier.example), distance_ratio=outlier.distance_ratio)


def _point_message(point: LearningPoint) -> pb.LearningPoint:
    return pb.LearningPoint(
        example_count=point.example_count, score=point.score, extrapolated=point.extrapolated
    )


def _recommendation_message(recommendation: Recommendation) -> pb.Recommendation:
    return pb.Recommendation(kind=RECOMMENDATION_KINDS[recommendation.kind], message=recommendation.message)
