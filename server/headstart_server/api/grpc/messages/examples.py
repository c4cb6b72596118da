"""Conversions between messages of examples and the values of the datasets room."""

from collections.abc import Sequence
from math import ceil

from headstart.v1 import evaluation_service_pb2, example_service_pb2, label_pb2, model_service_pb2
from headstart.v1 import example_record_pb2 as pb
from headstart.v1.label_pb2 import ExampleReference
from headstart.v1.version_selector_pb2 import VersionRef
from headstart_server.api.grpc.messages.comparisons import promotion_message
from headstart_server.api.grpc.messages.encode import label_message, message_of, numbers_of
from headstart_server.auth.tenants import own_name
from headstart_server.datasets.erasure_log import ErasureRecord, RebuiltVersion
from headstart_server.datasets.example_eraser import Erasure
from headstart_server.datasets.example_index import (
    ExampleFilter,
    ExampleIssue,
    ListedExample,
    predicted_target,
)
from headstart_server.datasets.example_reader import ExampleSource
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.comparison import PairedOutcome


def erasure_message(erasure: Erasure, record: ErasureRecord | None) -> model_service_pb2.EraseExampleResponse:
    """Return the response to an erasure; a complete record adds its certificate."""
    return model_service_pb2.EraseExampleResponse(
        versions=[VersionRef(model=model, version=number) for model, number in erasure.versions],
        unread_versions=[VersionRef(model=model, version=number) for model, number in erasure.unread],
        job_ids=erasure.job_ids,
        deleted_contents=erasure.contents,
        datasets=map(own_name, erasure.datasets),
        certificate=None if record is None else _certificate(record),
    )


def _certificate(record: ErasureRecord) -> model_service_pb2.ErasureCertificate:
    return message_of(
        record,
        model_service_pb2.ErasureCertificate,
        request_id=record.request.request_id,
        example_id=record.request.example_id,
        versions=[_rebuilt(*key, result) for key, result in record.versions.items() if result is not None],
        deleted_contents=record.contents,
        start_time=record.started,
    )


def _rebuilt(model: str, number: int, result: RebuiltVersion) -> model_service_pb2.RebuiltVersion:
    return message_of(
        result,
        model_service_pb2.RebuiltVersion,
        model=model,
        version=number,
        new_version=result.number or None,
        promotion=promotion_message(result.promotion),
    )


_ISSUES = {number: issue for issue, number in numbers_of(ExampleIssue, pb.ExampleIssue).items()}
#: Maximum points of a map; from more examples, every n-th is taken.
MAX_POINTS = 100_000
_ORDERS = {"": False, "index": False, "suspicion": True}


def example_filter_of(message: example_service_pb2.ExampleFilter) -> ExampleFilter:
    """Return the filter of a message. Raise InvalidField if the issue is unknown."""
    issue = None
    if message.HasField("issue"):
        issue = _ISSUES.get(message.issue)
        if issue is None:
            raise InvalidField(
                f"Expected an issue of 1 to {len(_ISSUES)}. Received: {message.issue}.", field="filter.issue"
            )
    return ExampleFilter(
        label=message.label,
        predicted_label=message.predicted_label,
        issue=issue,
        held_out=message.held_out if message.HasField("held_out") else None,
        id_prefix=message.example_id_prefix,
    )


def is_by_suspicion(order_by: str) -> bool:
    """Return whether the requested order is by suspicion."""
    if order_by not in _ORDERS:
        raise InvalidField(
            f"Expected the order 'index' or 'suspicion'. Received: {order_by[:80]!r}.", field="order_by"
        )
    return _ORDERS[order_by]


def record_message(source: ExampleSource, listed: ListedExample, *, has_content: bool) -> pb.ExampleRecord:
    """Return the record of an example."""
    example, outcome = listed.example, listed.outcome
    message = pb.ExampleRecord(
        example=label_pb2.ExampleReference(
            index=listed.index, example_id=example.id, label=label_message(reduced(example.target))
        ),
        label=label_message(example.target),
        held_out=example.held_out or (outcome is not None and outcome.held_out),
        weight=example.weight,
        findings=[
            message_of(None, pb.ExampleFinding, issue=issue, suggested_label=suggested)
            for issue, suggested in listed.findings
        ],
        media_type=example.media_type,
        size_bytes=example.nbytes,
        origin=_origin(source, listed),
        has_content=has_content,
    )
    if outcome is not None:
        predicted = predicted_target(outcome, example.target.task)
        if predicted is not None:
            message.predicted_label.CopyFrom(label_message(predicted))
        message.loss = outcome.loss
        if outcome.probability is not None:
            message.label_probability = outcome.probability
        if outcome.confidence is not None:
            message.predicted_probability = outcome.confidence
    return message


def map_message(source: ExampleSource, positions: Float32) -> example_service_pb2.GetExampleMapResponse:
    """Return the message of a map; `positions` [N, 2] has all examples of a version."""
    count = len(positions)
    stride = max(1, ceil(count / MAX_POINTS))
    # Rounded: shorter in JSON, and still finer than a pixel.
    selected = positions[::stride].round(4)
    targets = [source.index.target(index) for index in range(0, count, stride)]
    message = example_service_pb2.GetExampleMapResponse(
        example_count=count, stride=stride, x=selected[:, 0].tolist(), y=selected[:, 1].tolist()
    )
    if source.version is not None:
        message.version.model, message.version.version = source.version.model, source.version.number
    if targets and targets[0].task is Task.REGRESSION:
        message.values.extend(target.value or 0.0 for target in targets)
        return message
    labels = [_first_class(target) for target in targets]
    names = sorted(set(labels) - {""})
    places = {"": -1} | {name: place for place, name in enumerate(names)}
    message.class_names.extend(names)
    message.classes.extend(places[label] for label in labels)
    return message


def _first_class(target: Target) -> str:
    """Return the class of a label on a map; empty without a class."""
    return target.label if target.task is Task.SINGLE_LABEL else min(target.shares, default="")


def reduced(target: Target) -> Target:
    """Return a label with a soft label as its most probable class."""
    is_soft = target.task is Task.SINGLE_LABEL and not target.is_hard
    return Target.of_label(target.label) if is_soft else target


def _origin(source: ExampleSource, listed: ListedExample) -> pb.ExampleOrigin:
    if source.uploaded not in (None, listed.example.archive):
        return pb.EXAMPLE_ORIGIN_PARENT
    return pb.EXAMPLE_ORIGIN_FEEDBACK if listed.example.feedback else pb.EXAMPLE_ORIGIN_UPLOADED


def differing_messages(
    differing: tuple[Sequence[PairedOutcome], Sequence[PairedOutcome]], versions: Sequence[VersionRef]
) -> list[evaluation_service_pb2.DifferingExample]:
    """Return the messages of examples that only one of two versions predicts correctly."""
    return [
        _differing_message(pair, versions, is_first=side == 0)
        for side, pairs in enumerate(differing)
        for pair in pairs
    ]


def _differing_message(
    pair: PairedOutcome, versions: Sequence[VersionRef], *, is_first: bool
) -> evaluation_service_pb2.DifferingExample:
    labels = [predicted_target(outcome, pair.target.task) for outcome in (pair.first, pair.second)]
    first, second = (None if label is None else label_message(label) for label in labels)
    return evaluation_service_pb2.DifferingExample(
        example=ExampleReference(
            index=pair.index, example_id=pair.id, label=label_message(reduced(pair.target))
        ),
        version=None if pair.source is None else versions[pair.source],
        first_right=is_first,
        first_label=first,
        second_label=second,
    )
