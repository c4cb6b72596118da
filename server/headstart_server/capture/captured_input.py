"""A captured input, with its prediction, the reason of its capture, and its location."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from sqlalchemy import Row

from headstart_server.errors import CapturedInputNotFound, decoding
from headstart_server.learning.examples.target import Target


class CaptureReason(IntFlag):
    """Conditions that selected an input."""

    RANDOM = 1
    LOW_MARGIN = 2
    LOW_TYPICALITY = 4
    RARE_CLASS = 8
    SHADOW_DISAGREEMENT = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassProbability:
    """A class with its index in the head, its probability, and whether it was predicted."""

    name: str
    index: int
    probability: float
    selected: bool

    def to_json(self) -> list[Any]:
        """Return JSON values."""
        return [self.name, self.index, self.probability, self.selected]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "ClassProbability":
        """Return what `to_json` wrote."""
        name, index, probability, selected = values
        return cls(name=name, index=index, probability=probability, selected=selected)


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedInput:
    """A captured input without its content."""

    model: str
    prediction_id: str
    version: int  # number of the version that predicted
    created: float  # time of the prediction, in seconds since 1970
    expires: float  # time at which it is deleted
    predicted: Target
    # the most probable classes, by descending probability; empty for regression
    classes: tuple[ClassProbability, ...]
    margin: float | None  # margin of the prediction; None for regression
    typicality: float | None  # typicality of the input; None if it is unknown
    reasons: CaptureReason
    kind: str  # `image`, `text` or `tensor`, as `stored_content.encode` returns it
    media_type: str
    digest: str  # SHA-256 digest of the stored bytes, in hexadecimal
    nbytes: int  # number of these bytes
    batch: str = ""
    start: int = 0  # offset of the content in the object
    place: int = 0  # row of the features in the object

    @property
    def random_sample(self) -> bool:
        """Whether it was selected at random, so that it measures the accuracy without bias."""
        return CaptureReason.RANDOM in self.reasons


def captured_of(row: Row[Any]) -> CapturedInput:
    """Return the captured input of a row that `select_captured` selects."""
    what = f"Captured input '{row.prediction_id}' of model '{row.model}'"
    with decoding(what, model=row.model, prediction_id=row.prediction_id):
        return CapturedInput(
            model=row.model,
            prediction_id=row.prediction_id,
            version=int(row.number),
            created=row.created,
            expires=row.expires,
            predicted=Target.from_json(row.predicted),
            classes=tuple(map(ClassProbability.from_json, row.classes)),
            margin=row.margin,
            typicality=row.typicality,
            reasons=CaptureReason(row.reasons),
            kind=row.kind,
            media_type=row.media_type,
            digest=row.digest,
            nbytes=int(row.nbytes),
            batch=row.batch,
            start=int(row.start),
            place=int(row.place),
        )


def not_found_error(model: str, prediction_id: str) -> CapturedInputNotFound:
    """Return the error that a model has no captured input of this prediction."""
    return CapturedInputNotFound(
        f"Model '{model}' has no captured input with the prediction ID {prediction_id!r}: it was not "
        "selected, or it was deleted. List the inputs for review to find IDs.",
        metadata={"model": model, "prediction_id": prediction_id},
    )
