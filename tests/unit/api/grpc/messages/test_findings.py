"""Messages of findings: at most a hundred of each kind, and the number of all."""

from headstart_server.api.grpc.messages.findings import MAX_REPORTED, findings_message
from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelIssue,
    Outlier,
)
from headstart_server.learning.examples.target import Target


def test_a_message_has_the_first_findings_of_each_kind_and_the_number_of_all() -> None:
    cat = Target.of_label("cat")
    references = [ExampleReference(index=place, id="", label=cat) for place in range(MAX_REPORTED + 5)]
    message = findings_message(
        DatasetFindings(
            label_issues=tuple(
                LabelIssue(
                    example=each, suggested_label=cat, suggested_probability=0.9, given_probability=0.1
                )
                for each in references
            ),
            label_issue_count=500,
            outliers=tuple(Outlier(example=each, distance_ratio=9.0) for each in references),
            outlier_count=400,
            duplicates=tuple(
                DuplicateGroup(
                    examples=(each, each), count=2, exact=True, contradicting=False, across_held_out=False
                )
                for each in references
            ),
            duplicate_count=300,
        )
    )
    assert len(message.label_issues) == len(message.outliers) == len(message.duplicates) == MAX_REPORTED
    assert (message.label_issue_count, message.outlier_count, message.duplicate_count) == (500, 400, 300)
    assert [each.example.index for each in message.outliers] == list(range(MAX_REPORTED))
