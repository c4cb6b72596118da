"""Every field of every response changes the result that the client returns, except those listed here."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from headstart.calls import calls, dataset_calls, example_calls, job_calls, model_calls, server_calls
from headstart.calls.job_calls import rebase
from headstart.decode import decode
from headstart.inputs.examples import open_examples
from headstart.results import Alias, ExampleFault, Predictions, Promotion, PromotionDecision
from headstart.spec import FineTuneSpec
from headstart.transport import upload
from headstart.transport.chunked_calls import EmbeddingRun
from headstart.transport.chunks import Chunk
from headstart.v1 import (
    comparison_pb2,
    dataset_service_pb2,
    evaluation_service_pb2,
    fine_tuning_service_pb2,
    input_pb2,
    job_pb2,
    model_pb2,
    model_service_pb2,
    prediction_service_pb2,
    server_service_pb2,
)
from headstart.version_ref import VersionRef

SERVICES = (
    fine_tuning_service_pb2.DESCRIPTOR.services_by_name["FineTuningService"],
    evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
    dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    server_service_pb2.DESCRIPTOR.services_by_name["ServerService"],
)

NOT_DECODED = {
    "DeleteAlias": "it contains nothing",
    "DeleteDataset": "it contains nothing",
    "DeleteJob": "it contains nothing",
    "DeleteVersion": "it contains nothing",
    "SubmitFineTune": "for clients that cannot stream",
    "ExportVersion": "its stream is written to files",
}
"""Methods whose responses are not decoded into results."""

LEFT_OUT = {
    "FineTune.job": "the job's ID is enough: the client returns a handle",
    "Rebase.job": "the job's ID is enough: the client returns a handle",
    "*.spec.validate_only": "false for every stored job",
    "*.recipe.auto": "an unset recipe is automatic, too",
    "Embed.features.backbone": "names the backbone of the next call",
    "Embed.times": "not returned by embed",
    "Embed.truncation": "not returned by embed",
}
"""Patterns of fields that change no result, with all below them; and why."""

TARGET = VersionRef("m")
CHUNK = Chunk(first=0, items=[], inputs=[input_pb2.Input()], places=[0])


def _readers() -> dict[str, list[Any]]:
    source = open_examples([("a.jpg", "a")])
    spec = FineTuneSpec(model="m")
    return {
        "FineTune": [upload.fine_tune(spec, source), upload.validation(spec, source)],
        "Rebase": [rebase("m", {}, backbone="b", version=None, alias=None, request_id="r")],
        "Status": [calls.job_status("j")],
        "Watch": [calls.job_events("j", 0)],
        "WatchJobs": [job_calls.watched_jobs(None, "")],
        "Cancel": [calls.job_cancellation("j")],
        "ListJobs": [calls.job_page(None, None, "")],
        "Evaluate": [upload.evaluation(TARGET, source)],
        "Compare": [upload.comparison(TARGET, TARGET, source)],
        "ListModels": [calls.model_page("")],
        "GetModel": [model_calls.get_model("m")],
        "GetVersion": [model_calls.get_version(TARGET)],
        "ListVersions": [model_calls.version_list("m", model_calls.VersionQuery(), "")],
        "UpdateVersion": [
            model_calls.version_change("m", 1, {"display_name": "x"}, expire_time=None, ttl=None)
        ],
        "GetTraffic": [model_calls.traffic("m", None, None)],
        "ListAliasEvents": [model_calls.alias_event_list("m", None, "")],
        "UpdateModel": [model_calls.model_change("m", {"display_name": "x"})],
        "SetAlias": [calls.alias_setting("m", "a", 1, None)],
        "DeleteModel": [calls.model_deletion("m")],
        "ListExamples": [example_calls.example_list(TARGET, {}, "")],
        "GetExampleContent": [example_calls.example_content(TARGET, "e")],
        "GetExampleMap": [example_calls.example_map(TARGET)],
        "EraseExample": [calls.example_deletion("e", None)],
        "CreateDataset": [dataset_calls.dataset_creation("d", {})],
        "WriteExamples": [dataset_calls.dataset_write("d", 0, [], b"")],
        "FinishDataset": [dataset_calls.dataset_finish("d", None)],
        "GetDataset": [dataset_calls.get_dataset("d")],
        "ListDatasets": [dataset_calls.dataset_list("")],
        "UpdateDataset": [dataset_calls.dataset_change("d", {"display_name": "D"})],
        "GetEvaluation": [calls.version_evaluation(TARGET)],
        "GetReport": [calls.version_report(TARGET, "html")],
        "ListBackbones": [calls.backbone_page("")],
        "GetServerInfo": [server_calls.server_info()],
        "WhoAmI": [server_calls.who_am_i()],
        "GetUsage": [server_calls.usage()],
        "Predict": [_predict_call()],
        "Embed": [EmbeddingRun("b", ()).call(CHUNK)],
    }


def _predict_call() -> calls.Call[Predictions]:
    """Return a call that also accepts faults of inputs that it does not have."""
    return calls.Call.of(
        prediction_service_pb2.PredictRequest(), read=lambda response: decode(response, Predictions)
    )


def _methods() -> list[Any]:
    return [method for service in SERVICES for method in service.methods if method.name not in NOT_DECODED]


@pytest.mark.parametrize("method", _methods(), ids=lambda method: method.name)
def test_every_field_of_a_response_changes_the_result(method: Any):
    sent = _readers().get(method.name, [])
    assert sent, f"No call of the client reads responses of {method.name}: add it, or list it in NOT_DECODED."

    lost = [
        name
        for path in _paths(method.output_type)
        if not _is_left_out(name := ".".join([method.name, *(field.name for field in path)]))
        and all(_is_equal(each.read, method.output_type, path) for each in sent)
    ]

    assert lost == [], "Add a field of this name to the dataclass, or list it in LEFT_OUT."


def test_every_field_that_is_left_out_exists():
    names = {
        ".".join([method.name, *(field.name for field in path[:depth])])
        for method in _methods()
        for path in _paths(method.output_type)
        for depth in range(1, len(path) + 1)
    }

    assert [pattern for pattern in LEFT_OUT if not fnmatch.filter(names, pattern)] == []


def test_unset_fields_are_none_and_unknown_values_are_unspecified():
    promotion = decode(comparison_pb2.Promotion(alias="stable", decision=99), Promotion)

    assert promotion.decision is PromotionDecision.UNSPECIFIED
    assert (promotion.baseline_version, promotion.comparison, promotion.reasons) == (None, None, ())


def test_context_supplies_what_a_message_lacks():
    fault = decode(job_pb2.ExampleFault(index=3), ExampleFault, message="unreadable")
    assert (fault.index, fault.message) == (3, "unreadable")

    alias = model_pb2.Alias(version=2)
    assert decode(alias, Alias, alias="stable") == decode(model_pb2.Alias(version=2, alias="stable"), Alias)


def test_a_required_field_that_is_nowhere_is_named():
    with pytest.raises(TypeError, match="ExampleFault requires example_id, index"):
        decode(model_pb2.Alias(), ExampleFault, message="unreadable")


def _is_left_out(name: str) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + ".*")
        for pattern in LEFT_OUT
    )


def _is_equal(read: Callable[[Any], Any], descriptor: Descriptor, path: list[FieldDescriptor]) -> bool:
    """Whether two responses that differ in one field only give the same result."""
    first, second = (read(_filled(descriptor, path, variant)) for variant in (0, 1))
    return bool(_plain(first) == _plain(second))


def _paths(descriptor: Descriptor) -> Iterator[list[FieldDescriptor]]:
    for field in descriptor.fields:
        if _is_leaf(field):
            yield [field]
        else:
            yield from ([field, *rest] for rest in _paths(_nested(field)))


def _filled(descriptor: Descriptor, path: list[FieldDescriptor], variant: int) -> Message:
    """A message with every field set, and the one at the path to one of two values."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        _fill(message, field, [], 0)
    if path:  # last, because it may belong to a oneof
        _fill(message, path[0], path[1:], variant)
    return message


def _fill(message: Any, field: FieldDescriptor, rest: list[FieldDescriptor], variant: int) -> None:
    value = _leaf(field, variant) if _is_leaf(field) else _filled(_nested(field), rest, variant)
    current = getattr(message, field.name)
    if _is_map(field):
        key = "a" if field.message_type.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING else 1
        current.clear()
        if field.message_type.fields_by_name["value"].message_type is None:
            current[key] = value
        else:
            current[key].CopyFrom(value)
    elif field.is_repeated:
        del current[:]
        current.extend([value])
    elif field.message_type is not None:
        current.CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _nested(field: FieldDescriptor) -> Descriptor:
    return field.message_type.fields_by_name["value"].message_type if _is_map(field) else field.message_type


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_leaf(field: FieldDescriptor) -> bool:
    value = field.message_type.fields_by_name["value"] if _is_map(field) else field
    kind = value.message_type
    return kind is None or kind.full_name in _LEAVES or not kind.fields


def _leaf(field: FieldDescriptor, variant: int) -> Any:
    if _is_map(field):
        return _leaf(field.message_type.fields_by_name["value"], variant)
    if field.message_type is not None:
        message = message_factory.GetMessageClass(field.message_type)()
        _LEAVES.get(field.message_type.full_name, lambda *_: None)(message, variant)
        return message
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return numbers[-1 - variant]
    return {
        FieldDescriptor.TYPE_BYTES: (b"a", b"b"),
        FieldDescriptor.TYPE_STRING: ("a", "b"),
        FieldDescriptor.TYPE_BOOL: (False, True),
    }.get(field.type, (1, 2))[variant]


def _fill_tensor(tensor: Any, variant: int) -> None:
    tensor.data_type, tensor.data = 1, bytes([variant])
    tensor.shape.extend([1, 1])


def _fill_status(status: Any, variant: int) -> None:
    status.code, status.message = 5, f"message {variant}"


_LEAVES: dict[str, Callable[[Any, int], object]] = {
    "google.protobuf.Timestamp": lambda message, variant: message.FromSeconds(1 + variant),
    "google.protobuf.Duration": lambda message, variant: message.FromSeconds(1 + variant),
    "google.rpc.Status": _fill_status,
    "headstart.v1.Tensor": _fill_tensor,
}


def _plain(value: Any) -> Any:
    """A result in comparable form: fields that its own comparison passes over count too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)} | {
            "": type(value)
        }
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
