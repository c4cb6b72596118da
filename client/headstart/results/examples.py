"""Stored examples of versions and datasets."""

from dataclasses import dataclass
from enum import StrEnum

from headstart.label_values import LabelValue
from headstart.results.findings import ExampleReference

__all__ = ["ExampleContent", "ExampleFinding", "ExampleIssue", "ExampleOrigin", "ExampleRecord"]


class ExampleIssue(StrEnum):
    """A kind of finding about an example."""

    UNSPECIFIED = "UNSPECIFIED"
    LABEL_ISSUE = "LABEL_ISSUE"
    DUPLICATE = "DUPLICATE"
    CONTRADICTION = "CONTRADICTION"
    OUTLIER = "OUTLIER"
    ERROR = "ERROR"


class ExampleOrigin(StrEnum):
    """The origin of an example."""

    UNSPECIFIED = "UNSPECIFIED"
    UPLOADED = "UPLOADED"
    PARENT = "PARENT"
    FEEDBACK = "FEEDBACK"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFinding:
    """A finding about an example.

    Attributes:
        issue: kind of the finding.
        suggested_label: label that the example probably has. None: the finding suggests none.
    """

    issue: ExampleIssue
    suggested_label: LabelValue = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleRecord:
    """An example of a version or a dataset, without its content.

    Attributes:
        example: index, ID and label.
        label: label that was trained on, with all probabilities of a soft label.
        held_out: whether it was excluded from training, and the version measured on it.
        weight: weight of the example.
        predicted_label: label that a head predicts that was not fitted on the example. None: no prediction.
        label_probability: probability of the label. None: regression, or no prediction.
        predicted_probability: probability of the predicted label, for a single label.
        loss: log loss in nats, or the absolute error of a regression.
        findings: findings about the example.
        media_type: media type of the content.
        size_bytes: size of the content.
        origin: origin of the example.
        has_content: whether the content is stored.
    """

    example: ExampleReference
    label: LabelValue
    held_out: bool
    weight: float
    predicted_label: LabelValue = None
    label_probability: float | None = None
    predicted_probability: float | None = None
    loss: float | None = None
    findings: tuple[ExampleFinding, ...] = ()
    media_type: str = ""
    size_bytes: int = 0
    origin: ExampleOrigin = ExampleOrigin.UNSPECIFIED
    has_content: bool = False

    @property
    def index(self) -> int:
        """The index of the example."""
        return self.example.index

    @property
    def example_id(self) -> str:
        """The ID of the example; may be empty."""
        return self.example.example_id

    @property
    def issues(self) -> tuple[ExampleIssue, ...]:
        """The kinds of findings."""
        return tuple(finding.issue for finding in self.findings)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleContent:
    """The content of an example, or a thumbnail.

    Attributes:
        content: a file of an image, a text in UTF-8, or a tensor as a JSON list.
        media_type: media type of the content.
        etag: entity tag, which changes with the content.
    """

    content: bytes
    media_type: str
    etag: str

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode()
