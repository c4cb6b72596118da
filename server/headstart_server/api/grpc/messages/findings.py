"""The messages of findings in a dataset."""

from dataclasses import replace

from headstart.v1 import evaluation_pb2 as pb
from headstart_server.api.grpc.messages.encode import message_of
from headstart_server.learning.analysis.dataset_findings import DatasetFindings

#: Maximum reported findings of each kind; `ListExamples` lists all.
MAX_REPORTED = 100


def findings_message(findings: DatasetFindings) -> pb.DatasetFindings:
    """Return the message of findings."""
    reported = replace(
        findings,
        duplicates=findings.duplicates[:MAX_REPORTED],
        label_issues=findings.label_issues[:MAX_REPORTED],
        outliers=findings.outliers[:MAX_REPORTED],
    )
    return message_of(
        reported,
        pb.DatasetFindings,
        estimated_duration=findings.estimated_seconds or None,
        truncated_examples=findings.truncated,
    )
