"""The fields of messages that name models and datasets, for permission checks and tenants' names."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from headstart_server.api.grpc.requests.limits import LIMITS

#: Every field of a response that holds the name of a model; the table of limits has the fields of requests. A
#: test finds missing fields.
_RESPONSE_FIELDS = frozenset(
    {
        "headstart.v1.EvaluateResponse.model",
        "headstart.v1.ExportHeader.model",
        "headstart.v1.Feedback.model",
        "headstart.v1.AliasEvent.model",
        "headstart.v1.CapturedInput.model",
        "headstart.v1.JobEvent.model",
        "headstart.v1.Model.model",
        "headstart.v1.RebuiltVersion.model",
        "headstart.v1.Version.model",
        "headstart.v1.VersionRef.model",
        "headstart.v1.VersionPredictions.model",
        "inference.ModelConfig.name",
        "inference.ModelInferResponse.model_name",
        "inference.ModelMetadataResponse.name",
        "inference.ModelStatistics.name",
        "inference.RepositoryIndexResponse.ModelIndex.name",
        "inference.RepositoryModelLoadResponse.model_name",
    }
)

#: Every field that holds the name of a model.
MODEL_FIELDS = _RESPONSE_FIELDS | {name for name, limit in LIMITS.items() if limit.model}
#: Every field that holds the name of a dataset.
DATASET_FIELDS = {"headstart.v1.Dataset.dataset"} | {name for name, limit in LIMITS.items() if limit.dataset}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The fields of a message type that name models and datasets."""

    names: tuple[str, ...]  # its own fields that name models
    datasets: tuple[str, ...]  # its own fields that name datasets
    parts: tuple[tuple[FieldDescriptor, "_Plan"], ...]

    def found(self, message: Message, *, datasets: bool) -> Iterator[tuple[Message, str]]:
        """Yield each field in a message as the containing message and the field's name."""
        for name in self.datasets if datasets else self.names:
            # An unset field of a oneof has no name.
            if not message.DESCRIPTOR.fields_by_name[name].has_presence or message.HasField(name):
                yield message, name
        for field, inner in self.parts:
            for part in _parts_of(message, field):
                yield from inner.found(part, datasets=datasets)


def model_names(message: Message) -> Iterator[str]:
    """Yield the names of models in a message; empty if a present part has no name."""
    for part, name in _plan(message.DESCRIPTOR).found(message, datasets=False):
        yield getattr(part, name)


def dataset_names(message: Message) -> Iterator[str]:
    """Yield the names of datasets in a message; empty if a present part has no name."""
    for part, name in _plan(message.DESCRIPTOR).found(message, datasets=True):
        yield getattr(part, name)


def rename_models(message: Message, change: Callable[[str], str]) -> None:
    """Change the names of models and datasets in a message; empty ones stay empty."""
    plan = _plan(message.DESCRIPTOR)
    for part, name in [*plan.found(message, datasets=False), *plan.found(message, datasets=True)]:
        before = getattr(part, name)
        if before:
            setattr(part, name, change(before))


def count_parts(message: Message) -> int:
    """Return the number of entries in the lists of a message that name models or datasets."""
    parts = _plan(message.DESCRIPTOR).parts
    return sum(len(getattr(message, field.name)) for field, _ in parts if field.is_repeated)


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    return _made(descriptor, frozenset())


def _made(descriptor: Descriptor, above: frozenset[str]) -> _Plan:
    # A recursive type names no model in its nested levels: a test checks this.
    if descriptor.full_name in above:
        return _Plan((), (), ())
    names, datasets, parts = [], [], []
    for field in descriptor.fields:
        if field.full_name in MODEL_FIELDS:
            names.append(field.name)
        elif field.full_name in DATASET_FIELDS:
            datasets.append(field.name)
        elif (inner := _message_in(field)) is not None:
            plan = _made(inner, above | {descriptor.full_name})
            if plan.names or plan.datasets or plan.parts:
                parts.append((field, plan))
    return _Plan(tuple(names), tuple(datasets), tuple(parts))


def _message_in(field: FieldDescriptor) -> Descriptor | None:
    """Return the type of message that a field, or the values of a map, holds; None for other types."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return inner.fields_by_name["value"].message_type
    return inner


def _parts_of(message: Message, field: FieldDescriptor) -> Sequence[Message]:
    """Return the messages in a field; empty if it is unset."""
    found: Any = getattr(message, field.name)
    if not field.is_repeated:
        return [found] if message.HasField(field.name) else []
    return list(found.values()) if hasattr(found, "values") else list(found)
