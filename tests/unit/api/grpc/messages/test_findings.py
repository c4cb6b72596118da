"""Findings as messages: each figure in its field."""

from datetime import timedelta

from headstart.v1 import evaluation_pb2 as pb
from headstart.v1 import label_pb2
from headstart_server.api.grpc.messages.findings import RECOMMENDATION_KINDS, findings_message
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
from headstart_server.learning.examples.target import Target

ONE = ExampleReference(index=3, id="three", label=Target.of_label("cat"))
FINDINGS = DatasetFindings(
    duplicates=(
        DuplicateGroup(examples=(ONE,), count=4, exact=True, contradicting=False, across_held_out=True),
    ),
    duplicate_count=4,
    label_issues=(
        LabelIssue(
            example=ONE,
            suggested_label=Target.of_label("dog"),
            suggested_probability=0.75,
            given_probability=0.125,
        ),
    ),
    label_issue_count=5,
    outliers=(Outlier(example=ONE, distance_ratio=2.5),),
    outlier_count=6,
    learning_curve=(LearningPoint(example_count=80, score=0.5, extrapolated=True),),
    imbalance=7.0,
    estimated_seconds=8.0,
    recommendations=(Recommendation(kind=RecommendationKind.LEAKAGE, message="Hold out whole groups."),),
)


def test_every_figure_stands_in_its_field() -> None:
    one = label_pb2.ExampleReference(index=3, example_id="three", label=label_pb2.Label(class_name="cat"))
    assert findings_message(FINDINGS) == pb.DatasetFindings(
        duplicates=[pb.DuplicateGroup(examples=[one], count=4, exact=True, across_held_out=True)],
        duplicate_count=4,
        label_issues=[
            pb.LabelIssue(
                example=one,
                suggested_label=label_pb2.Label(class_name="dog"),
                suggested_probability=0.75,
                given_probability=0.125,
            )
        ],
        label_issue_count=5,
        outliers=[pb.Outlier(example=one, distance_ratio=2.5)],
        outlier_count=6,
        learning_curve=[pb.LearningPoint(example_count=80, score=0.5, extrapolated=True)],
        imbalance=7,
        estimated_duration=timedelta(seconds=8),
        recommendations=[
            pb.Recommendation(kind=pb.RECOMMENDATION_KIND_LEAKAGE, message="Hold out whole groups.")
        ],
    )


def test_every_kind_of_recommendation_has_a_separate_number() -> None:
    assert set(RECOMMENDATION_KINDS) == set(RecommendationKind)
    assert (
        len(set(RECOMMENDATION_KINDS.values()))
        == len(RecommendationKind)
        == len(pb.RecommendationKind.values()) - 1
    )
