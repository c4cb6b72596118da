"""Stored examples of versions and datasets."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headstart.label_values import LabelValue
from headstart.results.comparisons import Promotion
from headstart.results.findings import ExampleReference


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
class ExampleMap:
    """The examples of a version in two dimensions: the first two principal components of their features.

    Attributes:
        example_count: number of all examples of the version.
        stride: point i is the example with the index i * ``stride``; 1 if each example is a point.
        x: first coordinate of each point, -1 to 1.
        y: second coordinate of each point, -1 to 1.
        class_names: names of the classes; empty for regression.
        classes: class of each point, as its position in ``class_names``; -1 without a class. Empty for
            regression.
        values: label of each point; for regression only.
    """

    example_count: int
    stride: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def label(self, point: int) -> LabelValue:
        """Return the label of a point; None without a class."""
        if self.values:
            return self.values[point]
        place = self.classes[point]
        return None if place < 0 else self.class_names[place]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleContent:
    """The content of an example, or a thumbnail.

    Attributes:
        content: a file of an image (PNG for pixels), a text in UTF-8, or another tensor as a JSON list.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuiltVersion:
    """A version that was trained on an erased example, and its successor.

    Attributes:
        model: the model.
        version: number of the version, which was deleted unless it was skipped.
        head_digest: SHA-256 of its head.
        dataset_digest: digest of its dataset.
        new_version: number of the successor; None if the version was skipped.
        new_head_digest: SHA-256 of the head of the successor.
        new_dataset_digest: digest of the dataset of the successor.
        aliases: aliases that moved to the successor.
        promotion: decision of the default gate about the successor; None without an alias. The aliases moved
            in any case.
        skipped_reason: problem and remedy if the version could not be replaced; else empty.
    """

    model: str
    version: int
    head_digest: str
    dataset_digest: str
    new_version: int | None
    new_head_digest: str
    new_dataset_digest: str
    aliases: tuple[str, ...]
    promotion: Promotion | None
    skipped_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureCertificate:
    """The result of an erasure with rebuild.

    Attributes:
        request_id: ID of the request.
        example_id: ID of the example.
        start_time: when the erasure began.
        end_time: when it was complete.
        versions: the versions that were trained on the example, with their successors.
        deleted_contents: number of stored contents that were deleted.
    """

    request_id: str
    example_id: str
    start_time: datetime
    end_time: datetime | None
    versions: tuple[RebuiltVersion, ...]
    deleted_contents: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedExample:
    """The result of erasing an example.

    Attributes:
        versions: model and number of the versions that were trained on it. Without ``rebuild`` they are not
            changed: delete them to remove its influence.
        unread_versions: versions whose list of examples is damaged and could not be searched.
        job_ids: unfinished jobs that had it; a job that has not read it yet skips it.
        deleted_contents: number of deleted contents; 0 if none was stored.
        certificate: the replaced versions; only with ``rebuild``.
        datasets: names of the datasets from which it was deleted.
    """

    versions: tuple[tuple[str, int], ...]
    unread_versions: tuple[tuple[str, int], ...]
    job_ids: tuple[str, ...]
    deleted_contents: int
    certificate: ErasureCertificate | None = None
    datasets: tuple[str, ...] = ()
