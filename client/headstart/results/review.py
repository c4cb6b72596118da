"""Captured inputs of a model, and their review."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headstart.label_values import LabelValue
from headstart.results.models import Modality
from headstart.results.predictions import ClassProbability


class CaptureReason(StrEnum):
    """A condition that selected an input for capture."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    RANDOM = "RANDOM"
    LOW_MARGIN = "LOW_MARGIN"
    LOW_TYPICALITY = "LOW_TYPICALITY"
    RARE_CLASS = "RARE_CLASS"
    SHADOW_DISAGREEMENT = "SHADOW_DISAGREEMENT"


class ReviewReason(StrEnum):
    """The reason that contributed most to the value of an input."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    UNCERTAIN = "UNCERTAIN"
    NOVEL = "NOVEL"
    DISAGREEMENT = "DISAGREEMENT"
    RARE_CLASS = "RARE_CLASS"
    REPRESENTATIVE = "REPRESENTATIVE"


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedInput:
    """An input of a Predict call that was stored for review.

    Attributes:
        model: the model.
        prediction_id: ID of the prediction.
        version: number of the version that predicted.
        create_time: time of the prediction.
        expire_time: time at which the captured input is deleted.
        predicted: the predicted label.
        classes: the most probable classes, most probable first, at most 5.
        margin: margin of the prediction; None for regression.
        typicality: typicality of the input; None if the version cannot compute it.
        reasons: conditions that selected the input.
        random_sample: whether the input is part of the random sample.
        modality: kind of input.
        media_type: media type of the content.
        size_bytes: size of the content.
    """

    model: str
    prediction_id: str
    version: int
    create_time: datetime
    expire_time: datetime
    predicted: LabelValue
    classes: tuple[ClassProbability, ...] = ()
    margin: float | None = None
    typicality: float | None = None
    reasons: tuple[CaptureReason, ...] = ()
    random_sample: bool = False
    modality: Modality = Modality.UNSPECIFIED
    media_type: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewEntry:
    """A captured input that is listed for review.

    Attributes:
        captured_input: the input.
        reason: the reason that contributed most to its value.
        value: value of a label for it, relative to the list, 0 to 1.
        label: label that the ranking version predicts.
        margin: margin of the ranking version; None for regression.
        near_duplicate_count: number of nearly equal inputs, which are listed last.
    """

    captured_input: CapturedInput
    reason: ReviewReason
    value: float
    label: LabelValue = None
    margin: float | None = None
    near_duplicate_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureStatus:
    """The state of the capture of a model.

    Attributes:
        captured_count: number of captured inputs.
        captured_bytes: their size with their features.
        pending_count: number of captured inputs without feedback.
        queue_full_count: predictions that were not considered, because a queue was full.
        storage_failed_count: selected inputs that were lost, because the storage was full or unavailable.
        quota_full_count: selected inputs that were lost, because the quota was full.
        last_gap_time: time of the last lost input; None: none was lost.
    """

    captured_count: int
    captured_bytes: int
    pending_count: int
    queue_full_count: int = 0
    storage_failed_count: int = 0
    quota_full_count: int = 0
    last_gap_time: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedContent:
    """A captured input with its content.

    Attributes:
        content: an image file (PNG for pixels), a text in UTF-8, or another tensor as a JSON list.
        media_type: its media type.
        captured_input: the captured input.
        etag: changes with the content.
    """

    content: bytes
    media_type: str
    captured_input: CapturedInput
    etag: str = ""

    def __repr__(self) -> str:
        return (
            f"CapturedContent({len(self.content)} bytes, {self.media_type}, "
            f"{self.captured_input.prediction_id!r})"
        )
