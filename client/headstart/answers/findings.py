"""What was found in examples, from messages."""

from headstart.answers.enums import read_enum
from headstart.results import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelSuspect,
    LearningPoint,
    Outlier,
    Remark,
    RemarkKind,
)
from headstart.v1 import evaluation_pb2 as pb

__all__ = ["read_findings", "read_reference"]


def read_findings(findings: pb.DatasetFindings) -> DatasetFindings:
    """Reads what was found in a dataset."""
    return DatasetFindings(
        duplicates=tuple(_duplicates(group) for group in findings.duplicates),
        duplicate_count=findings.duplicate_count,
        suspects=tuple(_suspect(suspect) for suspect in findings.suspects),
        suspect_count=findings.suspect_count,
        outliers=tuple(
            Outlier(example=read_reference(each.example), distance_ratio=each.distance_ratio)
            for each in findings.outliers
        ),
        outlier_count=findings.outlier_count,
        learning_curve=tuple(
            LearningPoint(example_count=each.example_count, score=each.score, extrapolated=each.extrapolated)
            for each in findings.learning_curve
        ),
        imbalance=findings.imbalance,
        estimated_seconds=findings.estimated_seconds or None,
        remarks=tuple(
            Remark(kind=read_enum(each.kind, pb.RemarkKind.DESCRIPTOR, RemarkKind), message=each.message)
            for each in findings.remarks
        ),
        cut_short=tuple(map(read_reference, findings.cut_short)),
        cut_short_count=findings.cut_short_count,
    )


def read_reference(example: pb.ExampleReference) -> ExampleReference:
    """Reads which example is meant."""
    return ExampleReference(index=example.index, id=example.id, label=example.label)


def _duplicates(group: pb.DuplicateGroup) -> DuplicateGroup:
    return DuplicateGroup(
        examples=tuple(read_reference(example) for example in group.examples),
        count=group.count,
        exact=group.exact,
        contradicting=group.contradicting,
        across_held_out=group.across_held_out,
    )


def _suspect(suspect: pb.LabelSuspect) -> LabelSuspect:
    return LabelSuspect(
        example=read_reference(suspect.example),
        suggested_label=suspect.suggested_label,
        suggested_probability=suspect.suggested_probability,
        given_probability=suspect.given_probability,
    )
