"""The messages of what was found in a dataset."""

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

REMARK_KINDS = {
    RemarkKind.TOO_FEW_EXAMPLES: pb.REMARK_KIND_TOO_FEW_EXAMPLES,
    RemarkKind.IMBALANCE: pb.REMARK_KIND_IMBALANCE,
    RemarkKind.DUPLICATES: pb.REMARK_KIND_DUPLICATES,
    RemarkKind.LEAKAGE: pb.REMARK_KIND_LEAKAGE,
    RemarkKind.CONTRADICTIONS: pb.REMARK_KIND_CONTRADICTIONS,
    RemarkKind.SUSPECTS: pb.REMARK_KIND_SUSPECTS,
    RemarkKind.OUTLIERS: pb.REMARK_KIND_OUTLIERS,
    RemarkKind.MORE_DATA: pb.REMARK_KIND_MORE_DATA,
    RemarkKind.FAULTS: pb.REMARK_KIND_FAULTS,
    RemarkKind.CUT_SHORT: pb.REMARK_KIND_CUT_SHORT,
}


def findings_message(findings: DatasetFindings) -> pb.DatasetFindings:
    """The message of findings."""
    return pb.DatasetFindings(
        duplicates=map(_duplicates_message, findings.duplicates),
        duplicate_count=findings.duplicate_count,
        suspects=map(_suspect_message, findings.suspects),
        suspect_count=findings.suspect_count,
        outliers=map(_outlier_message, findings.outliers),
        outlier_count=findings.outlier_count,
        learning_curve=map(_point_message, findings.learning_curve),
        imbalance=findings.imbalance,
        estimated_seconds=findings.estimated_seconds,
        remarks=map(_remark_message, findings.remarks),
        cut_short=map(_reference_message, findings.cut_short),
        cut_short_count=findings.cut_short_count,
    )


def _reference_message(example: ExampleReference) -> pb.ExampleReference:
    return pb.ExampleReference(index=example.index, id=example.id, label=example.label)


def _duplicates_message(group: DuplicateGroup) -> pb.DuplicateGroup:
    return pb.DuplicateGroup(
        examples=map(_reference_message, group.examples),
        count=group.count,
        exact=group.exact,
        contradicting=group.contradicting,
        across_held_out=group.across_held_out,
    )


def _suspect_message(suspect: LabelSuspect) -> pb.LabelSuspect:
    return pb.LabelSuspect(
        example=_reference_message(suspect.example),
        suggested_label=suspect.suggested_label,
        suggested_probability=suspect.suggested_probability,
        given_probability=suspect.given_probability,
    )


def _outlier_message(outlier: Outlier) -> pb.Outlier:
    return pb.Outlier(example=_reference_message(outlier.example), distance_ratio=outlier.distance_ratio)


def _point_message(point: LearningPoint) -> pb.LearningPoint:
    return pb.LearningPoint(
        example_count=point.example_count, score=point.score, extrapolated=point.extrapolated
    )


def _remark_message(remark: Remark) -> pb.Remark:
    return pb.Remark(kind=REMARK_KINDS[remark.kind], message=remark.message)
