"""Requests for many inputs in several calls, with one result."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.calls.calls import Call
from headstart.decode import decode, decode_features
from headstart.errors import PredictionError
from headstart.evidence import MAX_SALIENCY_INPUTS, Evidence
from headstart.results import ModelPredictions, PredictedInput, Prediction, Predictions, StageTimes
from headstart.transport.chunks import MAX_CALL_INPUTS, Chunk
from headstart.v1 import prediction_service_pb2 as pb
from headstart.version_ref import VersionRef, selector

Answer = TypeVar("Answer")

_ALL_CLASSES: Final = 2**31 - 1


class Run(Protocol[Answer]):
    """Consecutive calls: each call may depend on the response of the previous one."""

    @property
    def max_inputs(self) -> int:
        """Maximum number of inputs of one call."""

    def call(self, chunk: Chunk) -> Call[Answer]:
        """Return the call for a portion of the inputs."""

    @property
    def keep_errors(self) -> bool:
        """Whether errors of unusable inputs are returned, and the others are answered."""

    @property
    def is_bulk(self) -> bool:
        """Whether a call is retried if the server has no capacity."""

    def record(self, answer: Answer) -> None:
        """Record the response of the last call."""

    def collect(self, chunk: Chunk, answer: Answer | None) -> None:
        """Add the response of a portion to the result; None if all its inputs are unusable."""


class PredictionRun:
    """Predict calls for one version or several.

    All inputs are predicted by the same versions: after the first call, the others name the versions that it
    resolved, even if an alias was moved.
    """

    def __init__(
        self,
        targets: Sequence[VersionRef],
        *,
        top_k: int | None,
        return_features: bool = False,
        evidence: Evidence = Evidence(),  # noqa: B008  # frozen
        routing_key: str = "",
        keep_errors: bool = False,
        is_bulk: bool = False,
    ) -> None:
        if not targets:
            raise ValueError("targets must name at least one model")
        self._targets = tuple(targets)
        self._top_k = top_k or _ALL_CLASSES
        self._return_features = return_features
        self._evidence = evidence
        self._routing_key = routing_key
        self.keep_errors = keep_errors
        self.is_bulk = is_bulk
        self.messages: Sequence[pb.Prediction] = ()
        """The messages of the last answer, by the first target, one for each input that was sent."""
        self._answers: list[Predictions] = []
        self._outcomes: list[Prediction | PredictionError] = []

    @property
    def max_inputs(self) -> int:
        """Maximum number of inputs of one call."""
        return MAX_CALL_INPUTS if self._evidence.saliency is None else MAX_SALIENCY_INPUTS

    def call(self, chunk: Chunk) -> Call[Predictions]:
        """Return the call for a portion of the inputs."""
        request = pb.PredictRequest(
            targets=map(selector, self._targets),
            inputs=chunk.inputs,
            top_k=self._top_k,
            return_features=self._return_features,
            routing_key=self._routing_key,
            skip_invalid_inputs=self.keep_errors,
        )
        self._evidence.write(request)
        return Call.of(request, read=partial(self._read, len(chunk.inputs)))

    def _read(self, count: int, response: pb.PredictResponse) -> Predictions:
        counts = [len(each.predictions) for each in response.results]
        if counts != [count] * len(self._targets):
            raise ValueError(f"predictions of {count} inputs are expected for each target, received {counts}")
        if outside := [each.index for each in response.faults if not 0 <= each.index < count]:
            raise ValueError(f"an error of input {outside[0]} of {count}")
        self.messages = response.results[0].predictions
        return decode(response, Predictions)

    def record(self, answer: Predictions) -> None:
        """Record the versions that the last call resolved."""
        self._targets = tuple(VersionRef(result.model, version=result.version) for result in answer.results)

    def collect(self, chunk: Chunk, answer: Predictions | None) -> None:
        """Add the response of a portion to the result; None if all its inputs are unusable."""
        if answer is not None:
            self._answers.append(answer)
        self._outcomes.extend(outcomes(chunk, answer))

    def outcomes(self) -> list[Prediction | PredictionError]:
        """Return the prediction or error of each input, for the first target."""
        return self._outcomes

    def result(self) -> Predictions:
        """Return the merged result."""
        if not self._answers:
            return Predictions(results=(), features={}, times=None)
        return Predictions(
            results=tuple(map(_joined, zip(*(answer.results for answer in self._answers), strict=True))),
            features={
                backbone: _stacked([answer.features[backbone] for answer in self._answers])
                for backbone in self._answers[0].features
            },
            times=_summed([answer.times for answer in self._answers if answer.times]),
        )


def outcomes(chunk: Chunk, answer: Predictions | None) -> list[Prediction | PredictionError]:
    """Return the prediction or error of each item of a portion, for the first target."""
    if answer is None:
        return [chunk.errors[place] for place in range(len(chunk.items))]
    outcomes_by_index: list[Any] = list(answer.results[0].predictions)
    for fault in answer.faults:
        outcomes_by_index[fault.index] = chunk.error(fault.index, fault.message, fault.reason)
    if not chunk.errors:
        return outcomes_by_index
    by_place: dict[int, Any] = {**dict(zip(chunk.places, outcomes_by_index, strict=True)), **chunk.errors}
    return [by_place[place] for place in range(len(chunk.items))]


def predicted_inputs(
    run: PredictionRun, chunk: Chunk, answer: Predictions | None
) -> Iterator[PredictedInput]:
    """Return the items of a portion with their predictions or errors."""
    messages = {} if answer is None else dict(zip(chunk.places, run.messages, strict=True))
    for place, (item, outcome) in enumerate(zip(chunk.items, outcomes(chunk, answer), strict=True)):
        message = messages.get(place) if isinstance(outcome, Prediction) else None
        yield PredictedInput(name=item.name, cells=item.cells, outcome=outcome, message=message)


class EmbeddingRun:
    """Embed calls with one backbone: by default the server's default for the first input."""

    def __init__(self, backbone: str | None, views: Sequence[str]) -> None:
        self._backbone = backbone or ""
        self._views = tuple(views)
        self.keep_errors = False
        self.is_bulk = False
        self._answers: list[dict[str, NDArray[Any]]] = []

    @property
    def max_inputs(self) -> int:
        """Maximum number of inputs of one call."""
        return MAX_CALL_INPUTS

    def call(self, chunk: Chunk) -> Call[dict[str, NDArray[Any]]]:
        """Return the call for a portion of the inputs."""
        return Call.of(
            pb.EmbedRequest(backbone=self._backbone, inputs=chunk.inputs, views=self._views),
            read=partial(self._read, len(chunk.inputs)),
        )

    def _read(self, count: int, response: pb.EmbedResponse) -> dict[str, NDArray[Any]]:
        features = decode_features(response.features)
        if self._views and features.keys() != set(self._views):
            raise ValueError(f"the views {', '.join(self._views)} are expected")
        for view, array in features.items():
            if array.ndim != 2 or len(array) != count:
                raise ValueError(
                    f"features of {count} inputs are expected, received the shape {array.shape} of {view}"
                )
        self._backbone = response.features.backbone or self._backbone
        return features

    def record(self, answer: dict[str, NDArray[Any]]) -> None:
        """Do nothing: `call` reads the backbone from the response."""

    def collect(self, chunk: Chunk, answer: dict[str, NDArray[Any]] | None) -> None:
        """Add the response of a portion to the result."""
        del chunk
        if answer is not None:
            self._answers.append(answer)

    def result(self, is_one: bool) -> dict[str, NDArray[Any]]:
        """Return the features by view, of shape [inputs, size of the view], or [size of the view] of one."""
        features = _stacked(self._answers) if self._answers else {}
        return {view: array[0] for view, array in features.items()} if is_one else features


def _joined(parts: Sequence[ModelPredictions]) -> ModelPredictions:
    return replace(parts[0], predictions=tuple(each for part in parts for each in part.predictions))


def _stacked(parts: Sequence[Any]) -> dict[str, NDArray[Any]]:
    if len(parts) == 1:
        return dict(parts[0])
    return {view: np.concatenate([part[view] for part in parts]) for view in parts[0]}


def _summed(times: Sequence[StageTimes]) -> StageTimes | None:
    if not times:
        return None
    names = [field.name for field in fields(StageTimes)]
    return StageTimes(**{name: sum((getattr(each, name) for each in times), timedelta()) for name in names})
