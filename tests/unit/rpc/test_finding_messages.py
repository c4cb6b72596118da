"""Findings as messages: each figure in its field."""

from headstart.v1 import evaluation_pb2 as pb
from headstart_server.learning.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelSuspect,
    LearningPoint,
    Outlier,
    Remark,
    RemarkKind,
)
from headstart_server.rpc.finding_messages import REMARK_KINDS, findings_message

ONE = ExampleReference(index=3, id="three", label="cat")
FINDINGS = DatasetFindings(
    duplicates=(
        DuplicateGroup(examples=(ONE,), count=4, exact=True, contradicting=False, across_held_out=True),
    ),
    duplicate_count=4,
    suspects=(
        LabelSuspect(example=ONE, suggested_label="dog", suggested_probability=0.75, given_probability=0.125),
    ),
    suspect_count=5,
    outliers=(Outlier(example=ONE, distance_ratio=2.5),),
    outlier_count=6,
    learning_curve=(LearningPoint(example_count=80, score=0.5, extrapolated=True),),
    imbalance=7.0,
    estimated_seconds=8.0,
    remarks=(Remark(kind=RemarkKind.LEAKAGE, message="Hold out whole groups."),),
)


def test_every_figure_stands_in_its_field() -> None:
    one = pb.ExampleReference(index=3, id="three", label="cat")
    assert findings_message(FINDINGS) == pb.DatasetFindings(
        duplicates=[pb.DuplicateGroup(examples=[one], count=4, exact=True, across_held_out=True)],
        duplicate_count=4,
        suspects=[
            pb.LabelSuspect(
                example=one, suggested_label="dog", suggested_probability=0.75, given_probability=0.125
            )
        ],
        suspect_count=5,
        outliers=[pb.Outlier(example=one, distance_ratio=2.5)],
        outlier_count=6,
        learning_curve=[pb.LearningPoint(example_count=80, score=0.5, extrapolated=True)],
        imbalance=7,
        estimated_seconds=8,
        remarks=[pb.Remark(kind=pb.REMARK_KIND_LEAKAGE, message="Hold out whole groups.")],
    )


def test_every_kind_of_remark_has_a_number_of_its_own() -> None:
    assert set(REMARK_KINDS) == set(RemarkKind)
    assert len(set(REMARK_KINDS.values())) == len(RemarkKind) == len(pb.RemarkKind.values()) - 1
