"""Where messages name models: calls are checked, and tenants' names changed, by this one list."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

#: Every field of the contract that holds the name of a model. A test finds those that are missing.
_OWN_FIELDS = frozenset(
    f"headstart.v1.{field}"
    for field in (
        "CompareResponse.first_model",
        "CompareResponse.second_model",
        "DeleteExampleRequest.model",
        "DeleteModelRequest.model",
        "DeleteVersionRequest.model",
        "EvaluateResponse.model",
        "FineTuneSpec.model",
        "ExportHeader.model",
        "GetModelRequest.model",
        "ListJobsRequest.model",
        "Model.name",
        "RebaseRequest.model",
        "SetAliasRequest.model",
        "Version.model",
        "VersionName.model",
        "VersionPredictions.model",
        "VersionSelector.model",
    )
)

#: The same of the dialects, where an alias may follow behind an @.
_DIALECT_FIELDS = frozenset(
    {
        "inference.ModelConfig.name",
        "inference.ModelConfigRequest.name",
        "inference.ModelInferRequest.model_name",
        "inference.ModelInferResponse.model_name",
        "inference.ModelMetadataRequest.name",
        "inference.ModelMetadataResponse.name",
        "inference.ModelReadyRequest.name",
        "inference.ModelStatistics.name",
        "inference.ModelStatisticsRequest.name",
        "inference.RepositoryIndexResponse.ModelIndex.name",
        "inference.RepositoryModelLoadRequest.model_name",
        "inference.RepositoryModelLoadResponse.model_name",
        "inference.RepositoryModelUnloadRequest.model_name",
        "tensorflow.serving.ModelSpec.name",
    }
)

#: Every field that holds the name of a model.
MODEL_FIELDS = _OWN_FIELDS | _DIALECT_FIELDS


def model_names(message: Message) -> Iterator[str]:
    """The names of models in a message; empty ones, too, where a part that is there has none."""
    plan = _plan(message.DESCRIPTOR)
    for part, name in _named(message, plan):
        yield getattr(part, name)


def rename_models(message: Message, change: Callable[[str], str]) -> None:
    """Change the names of models in a message; those that are empty stay so."""
    for part, name in list(_named(message, _plan(message.DESCRIPTOR))):
        before = getattr(part, name)
        if before:
            setattr(part, name, change(before))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a message to look at: fields that hold names, and parts that have such fields."""

    names: tuple[str, ...]
    parts: tuple[tuple[FieldDescriptor, "_Plan"], ...]

    @property
    def is_empty(self) -> bool:
        return not self.names and not self.parts


def _named(message: Message, plan: _Plan) -> Iterator[tuple[Message, str]]:
    for name in plan.names:
        yield message, name
    for field, inner in plan.parts:
        for part in _parts(message, field):
            yield from _named(part, inner)


def _parts(message: Message, field: FieldDescriptor) -> Sequence[Message]:
    found = getattr(message, field.name)
    if not field.is_repeated:
        return [found] if message.HasField(field.name) else []
    return list(found.values()) if hasattr(found, "values") else list(found)


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    return _made(descriptor, frozenset())


def _made(descriptor: Descriptor, above: frozenset[str]) -> _Plan:
    # A type within itself names no model further down: a test looks for those that would.
    if descriptor.full_name in above:
        return _Plan((), ())
    names, parts = [], []
    for field in descriptor.fields:
        if field.full_name in MODEL_FIELDS:
            names.append(field.name)
        else:
            inner = _held(field)
            plan = None if inner is None else _made(inner, above | {descriptor.full_name})
            if plan is not None and not plan.is_empty:
                parts.append((field, plan))
    return _Plan(tuple(names), tuple(parts))


def _held(field: FieldDescriptor) -> Descriptor | None:
    """The type of message that a field holds, or a map's values are of; None for none."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return inner.fields_by_name["value"].message_type
    return inner
