"""Decode messages into results, by their descriptors.

A new field of the contract needs only a field of the same name in a dataclass. This module lists the
exceptions.
"""

from datetime import timedelta
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from numpy.typing import NDArray

from headstart.decode.decoder import Decoder, Reader, enum_converter
from headstart.inputs import tensors
from headstart.inputs.task import Task
from headstart.label_values import LabelValue
from headstart.results import (
    Alias,
    AliasEvent,
    ClassProbability,
    Comparison,
    DifferingExample,
    ErasedExample,
    ExampleFault,
    InputFault,
    JobStatus,
    Modality,
    ModelPredictions,
    Prediction,
    Predictions,
    Progress,
    Promotion,
    RebuiltVersion,
    ServerInfo,
    Version,
)
from headstart.spec import RECIPES, Auto, Recipe
from headstart.transport.status import details_from_status
from headstart.v1 import evaluation_service_pb2, input_pb2, job_pb2, label_pb2, model_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1.errors_pb2 import ErrorReason
from headstart.version_ref import VersionRef

__all__ = ["decode", "decode_comparison", "decode_features"]

Result = TypeVar("Result")

_STEPS: Final = ("decode", "backbone", "features", "fit", "evaluate", "publish")


def decode(message: Message, kind: type[Result], /, **context: Any) -> Result:
    """Return a message as a dataclass of this package."""
    return _DECODER.decode(message, kind, **context)


def decode_features(features: predicting.Features) -> dict[str, NDArray[Any]]:
    """Return features by view, each of shape [inputs, size of the view]."""
    return {view: tensors.decode(tensor) for view, tensor in features.views.items()}


def _decode_recipe(message: job_pb2.Recipe) -> Recipe:
    """Return a recipe; `Auto` for an unknown one."""
    name = message.WhichOneof("recipe")
    return decode(getattr(message, name), RECIPES[name]) if name in RECIPES else Auto()


def _decode_label(message: label_pb2.Label) -> LabelValue:
    """Return a label; None if it is unset or unknown."""
    match message.WhichOneof("value"):
        case "class_name":
            return message.class_name
        case "classes":
            return tuple(message.classes.class_names)
        case "number":
            return message.number
        case "probabilities":
            return dict(sorted(message.probabilities.probabilities.items()))
    return None


def _reason(fault: Any) -> str:
    """Return the reason of a fault; UNSPECIFIED for an unknown one, as of a newer server."""
    value = ErrorReason.DESCRIPTOR.values_by_number.get(fault.reason)
    return "UNSPECIFIED" if value is None else str(value.name).removeprefix("ERROR_REASON_")


def _fraction(progress: job_pb2.Progress) -> float:
    """Return the fraction of a job that is done, 0 if it is not a number from 0 to 1."""
    return progress.fraction if 0 <= progress.fraction <= 1 else 0.0


def _step_durations(job: job_pb2.Job) -> dict[str, timedelta]:
    """Return the durations in the order of steps, unknown steps last."""

    def order(step: str) -> tuple[int, str]:
        return (_STEPS.index(step) if step in _STEPS else len(_STEPS), step)

    return {step: job.step_durations[step].ToTimedelta() for step in sorted(job.step_durations, key=order)}


def _promotion(version_field: str) -> Reader:
    """Return a reader of a promotion; this field of the message has the version's number."""

    def read(message: Any) -> Promotion | None:
        if not message.HasField("promotion"):
            return None
        promotion = message.promotion
        model = message.spec.model if isinstance(message, job_pb2.Job) else message.model
        comparison = decode(
            promotion.comparison,
            Comparison,
            first_version=_target(model, promotion.baseline_version),
            second_version=_target(model, getattr(message, version_field)),
        )
        return decode(
            promotion, Promotion, comparison=comparison if promotion.HasField("comparison") else None
        )

    return read


def decode_comparison(response: evaluation_service_pb2.CompareResponse) -> Comparison:
    """Return the comparison of two versions."""
    return decode(
        response.comparison,
        Comparison,
        first_version=_target(response.first.model, response.first.version),
        second_version=_target(response.second.model, response.second.version),
        faults=tuple(decode(fault, ExampleFault) for fault in response.faults),
        fault_count=response.fault_count,
        first_trained_count=response.first_trained_count,
        second_trained_count=response.second_trained_count,
        differing_examples=tuple(
            decode(each, DifferingExample, version=_target(each.version.model, each.version.version))
            for each in response.differing_examples
        ),
    )


def _target(model: str, number: int) -> VersionRef | None:
    return VersionRef(model, version=number) if model and number else None


def _version_names(field: str) -> Reader:
    return lambda message: tuple((each.model, each.version) for each in getattr(message, field))


def _predictions(result: predicting.VersionPredictions) -> tuple[Prediction, ...]:
    context = {"model": result.model, "version": result.version, "task": _decode_task(result.task)}
    return tuple(decode(each, Prediction, **context) for each in result.predictions)


def _class_probability(message: predicting.ClassProbability) -> ClassProbability:
    """Return a class and its probability. Not generic, because predictions may have many classes."""
    return ClassProbability(
        name=message.name, probability=message.probability, index=message.index, selected=message.selected
    )


def _results(response: predicting.PredictResponse) -> tuple[ModelPredictions, ...]:
    return tuple(decode(result, ModelPredictions) for result in response.results)


_decode_task = enum_converter(input_pb2.Task.DESCRIPTOR, Task)
_decode_modality = enum_converter(model_pb2.Modality.DESCRIPTOR, Modality)

_DECODER: Final = Decoder(
    messages={
        "google.rpc.Status": details_from_status,
        "headstart.v1.Label": _decode_label,
        "headstart.v1.ClassProbability": _class_probability,
        "headstart.v1.Recipe": _decode_recipe,
        "headstart.v1.Tensor": tensors.decode,
    },
    exceptions={
        Alias: {
            "traffic": lambda alias: {each.version: each.fraction for each in alias.traffic},
        },
        AliasEvent: {
            "traffic": lambda event: {each.version: each.fraction for each in event.traffic},
            "previous_traffic": lambda event: {
                each.version: each.fraction for each in event.previous_traffic
            },
        },
        ErasedExample: {
            "versions": _version_names("versions"),
            "unread_versions": _version_names("unread_versions"),
        },
        ExampleFault: {
            "reason": _reason,
        },
        InputFault: {"reason": _reason},
        JobStatus: {"promotion": _promotion("version"), "step_durations": _step_durations},
        ModelPredictions: {"predictions": _predictions},
        Progress: {"fraction": _fraction},
        Prediction: {"predicted": "label"},
        Predictions: {
            "results": _results,
            "features": lambda response: {each.backbone: decode_features(each) for each in response.features},
        },
        RebuiltVersion: {"promotion": _promotion("new_version")},
        ServerInfo: {
            "default_backbones": lambda info: {
                _decode_modality(each.modality): each.backbone for each in info.default_backbones
            },
            "precision_reasons": lambda info: {
                _decode_modality(each.modality): each.precision_reason
                for each in info.default_backbones
                if each.precision_reason
            },
        },
        Version: {
            "promotion": _promotion("version"),
            "thresholds": lambda version: dict(zip(version.class_names, version.thresholds, strict=False)),
        },
    },
)
