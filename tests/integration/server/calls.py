"""Calls to a server through the generated stubs, and what its refusals say."""

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from PIL import Image
from sklearn.datasets import load_digits

from headstart.v1 import (
    dataset_service_pb2_grpc,
    evaluation_service_pb2_grpc,
    example_service_pb2_grpc,
    fine_tuning_service_pb2_grpc,
    input_pb2,
    job_pb2,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    review_service_pb2_grpc,
    server_service_pb2_grpc,
    version_selector_pb2,
)
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import prediction_service_pb2 as predicting

#: Seconds that a call, or what comes of it, may take before a test gives up: far more than any takes.
TIMEOUT = 90.0
SERVICES = (
    "",
    "headstart.v1.FineTuningService",
    "headstart.v1.PredictionService",
    "headstart.v1.ModelService",
    "headstart.v1.EvaluationService",
    "headstart.v1.DatasetService",
    "headstart.v1.ExampleService",
    "headstart.v1.ReviewService",
    "headstart.v1.ServerService",
)
TERMINAL = {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


class Api:
    """The services of one server.

    Args:
        channel: to the server; closed with this.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.fine_tuning = fine_tuning_service_pb2_grpc.FineTuningServiceStub(channel)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.evaluation = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        self.review = review_service_pb2_grpc.ReviewServiceStub(channel)
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        self.examples = example_service_pb2_grpc.ExampleServiceStub(channel)
        self.about = server_service_pb2_grpc.ServerServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    @classmethod
    def connect(cls, target: str) -> "Api":
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # Otherwise channels of one process to one address share a connection.
            ("grpc.use_local_subchannel_pool", 1),
            # A server that starts again is looked for at once.
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        return cls(grpc.insecure_channel(target, options))

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def fine_tune(self, examples: Iterable[input_pb2.Example], **spec: Any) -> job_pb2.Job:
        """Send a fine-tune; returns the accepted job."""
        return self.fine_tuning.FineTune(stream(examples, **spec), timeout=TIMEOUT).job

    def validate(self, examples: Iterable[input_pb2.Example], **spec: Any) -> tuning.Validation:
        requests = stream(examples, validate_only=True, **spec)
        return self.fine_tuning.FineTune(requests, timeout=TIMEOUT).validation

    def status(self, job_id: str, wait: float = 0.0) -> job_pb2.Job:
        request = tuning.StatusRequest(job_id=job_id, wait_duration=duration(wait))
        return self.fine_tuning.Status(request, timeout=wait + TIMEOUT).job

    def ended(self, job_id: str, wait: float = TIMEOUT) -> job_pb2.Job:
        """The job, once it has ended."""
        job = self.status(job_id, wait)
        assert job.state in TERMINAL, f"The job has not ended in {wait} seconds: {job}"
        return job

    def published(self, examples: Iterable[input_pb2.Example], **spec: Any) -> job_pb2.Job:
        """Send a fine-tune and wait until its version is there."""
        job = self.ended(self.fine_tune(examples, **spec).job_id)
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
        return job

    def watch(self, job_id: str, after: int = 0) -> Iterator[job_pb2.JobEvent]:
        request = tuning.WatchRequest(job_id=job_id, after_event=after)
        return (response.event for response in self.fine_tuning.Watch(request, timeout=TIMEOUT))

    def predict(
        self, model: str, *images: bytes, timeout: float = TIMEOUT, **fields: Any
    ) -> predicting.PredictResponse:
        return self.prediction.Predict(prediction_request(model, *images, **fields), timeout=timeout)

    def version(self, model: str, number: int) -> model_pb2.Version:
        """A version of a model."""
        versions = self.versions(model)
        return next(version for version in versions if version.version == number)

    def versions(self, model: str, **fields: Any) -> Sequence[model_pb2.Version]:
        """The versions of a model, the newest first."""
        fields = {"page_size": 1000, "view": model_service_pb2.VERSION_VIEW_FULL, **fields}
        request = model_service_pb2.ListVersionsRequest(model=model, **fields)
        return self.models.ListVersions(request, timeout=TIMEOUT).versions

    def evaluate(
        self,
        examples: Sequence[input_pb2.Example],
        model: str,
        version: int | None = None,
        *,
        batch: int = 50,
    ) -> evaluating.EvaluateResponse:
        """Measure a version on examples."""
        target = version_selector_pb2.VersionSelector(model=model, version=version)
        first = evaluating.EvaluateRequest(spec=evaluating.EvaluateSpec(target=target))
        rest = [evaluating.EvaluateRequest(examples=part) for part in batches(examples, batch)]
        return self.evaluation.Evaluate(iter([first, *rest]), timeout=TIMEOUT)

    def compare(
        self,
        first: version_selector_pb2.VersionSelector,
        second: version_selector_pb2.VersionSelector,
        examples: Sequence[input_pb2.Example] = (),
    ) -> evaluating.CompareResponse:
        """Put two versions side by side."""
        spec = evaluating.CompareRequest(spec=evaluating.CompareSpec(first=first, second=second))
        rest = [evaluating.CompareRequest(examples=part) for part in batches(examples, 50)]
        return self.evaluation.Compare(iter([spec, *rest]), timeout=TIMEOUT)

    def names(self, model: str, *images: bytes, **fields: Any) -> list[str]:
        """The likeliest class of each image."""
        response = self.predict(model, *images, **fields)
        return [prediction.classes[0].name for prediction in response.results[0].predictions]


def prediction_request(
    model: str,
    *images: bytes,
    version: int | None = None,
    alias: str | None = None,
    further: Sequence[version_selector_pb2.VersionSelector] = (),
    **fields: Any,
) -> predicting.PredictRequest:
    target = version_selector_pb2.VersionSelector(model=model, version=version, alias=alias)
    inputs = [input_pb2.Input(image=image) for image in images]
    return predicting.PredictRequest(targets=[target, *further], inputs=inputs, **fields)


def stream(
    examples: Iterable[input_pb2.Example], *, batch: int = 50, **spec: Any
) -> Iterator[tuning.FineTuneRequest]:
    """The messages of a fine-tune, made while they are sent."""
    yield tuning.FineTuneRequest(spec=job_pb2.FineTuneSpec(**spec))
    part: list[input_pb2.Example] = []
    for example in examples:
        part.append(example)
        if len(part) == batch:
            yield examples_message(part)
            part = []
    if part:
        yield examples_message(part)


def examples_message(examples: Sequence[input_pb2.Example]) -> tuning.FineTuneRequest:
    return tuning.FineTuneRequest(examples=tuning.ExampleBatch(examples=examples))


def batches(examples: Sequence[input_pb2.Example], size: int) -> Iterator[tuning.ExampleBatch]:
    for start in range(0, len(examples), size):
        yield tuning.ExampleBatch(examples=examples[start : start + size])


def serves(api: Api) -> bool:
    """Return whether a server answers and serves."""
    try:
        status = api.health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    except grpc.RpcError:
        return False
    return status == health_pb2.HealthCheckResponse.SERVING


def example(image: bytes, label: str, **fields: Any) -> input_pb2.Example:
    return input_pb2.Example(input=input_pb2.Input(image=image), label={"class_name": label}, **fields)


def duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message


@contextmanager
def constant_predictions(target: str, model: str, *images: bytes, threads: int = 2) -> Iterator[list[float]]:
    """Predictions without a pause while the block runs; gives the seconds that each took."""
    over = threading.Event()
    seconds: list[float] = []
    faults: list[Exception] = []

    def predict() -> None:
        with Api.connect(target) as api:
            while not over.is_set():
                started = time.monotonic()
                try:
                    api.predict(model, *images)
                except grpc.RpcError as error:
                    faults.append(error)
                    return
                seconds.append(time.monotonic() - started)

    callers = [threading.Thread(target=predict) for _ in range(threads)]
    for caller in callers:
        caller.start()
    try:
        yield seconds
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert not faults, faults


@dataclass(frozen=True, kw_only=True)
class Start:
    """What was seen of a server while it started.

    Attributes:
        watches: the healths that a Watch of each service gave, until it served.
    """

    watches: dict[str, list[int]]


# Images


@cache
def digit(label: int, place: int) -> bytes:
    """The PNG of a handwritten digit, 8 x 8 pixels with a margin; no two are alike."""
    images, labels = _digits()
    return png(np.pad((images[labels == label][place] * 15).astype(np.uint8), 2))


def digits(labels: Sequence[int], count: int, start: int = 0, **fields: Any) -> list[input_pb2.Example]:
    """Labeled digits, `count` of each label."""
    places = range(start, start + count)
    return [example(digit(label, place), str(label), **fields) for place in places for label in labels]


def noise(count: int, seed: int, classes: int = 3) -> list[input_pb2.Example]:
    """Return labeled images that no cache knows, each class in its own color; 8 classes at most."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 100, (count, 8, 8, 3), np.uint8)
    for place in range(count):
        pixels[place] += np.array([150 * (place % classes >> band & 1) for band in range(3)], np.uint8)
    return [example(png(pixels[place]), f"color {place % classes}") for place in range(count)]


def png(pixels: np.ndarray) -> bytes:
    return _encoded(Image.fromarray(pixels), "PNG")


def photograph(name: str) -> bytes:
    """The JPEG of ``china`` or ``flower``, 640 x 427 pixels."""
    return resources.files("sklearn.datasets.images").joinpath(f"{name}.jpg").read_bytes()


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.images, data.target


# Refusals


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The error of a call.

    Attributes:
        code: the gRPC code.
        message: for people.
        reason: of its `ErrorInfo`; empty if it has none.
        metadata: of its `ErrorInfo`.
        fields: descriptions of its `BadRequest`, by field.
        quotas: descriptions of its `QuotaFailure`, by subject.
        retry_after: of its `RetryInfo`, in seconds.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    fields: Mapping[str, str]
    quotas: Mapping[str, str]
    retry_after: float | None


def refused(call: Callable[[], object]) -> Refusal:
    """The refusal that a call ends with; whatever details there are have to be of the domain."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_of(caught.value)


def refusal_of(error: Any) -> Refusal:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    quota = error_details_pb2.QuotaFailure()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        for message in (info, bad, quota, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    if status is not None:
        assert info.domain == "headstart"
    return Refusal(
        code=error.code(),
        message=error.details(),
        reason=info.reason,
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        quotas={violation.subject: violation.description for violation in quota.violations},
        retry_after=retry.retry_delay.ToTimedelta().total_seconds()
        if retry.HasField("retry_delay")
        else None,
    )
