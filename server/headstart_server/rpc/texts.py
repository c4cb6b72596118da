"""Checks the names and ids of requests before anything is looked up by them: one place for all methods."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from headstart_server.errors import InvalidField
from headstart_server.rpc.field_plans import FieldPlan, field_plan
from headstart_server.rpc.handlers import changed
from headstart_server.rpc.model_names import MODEL_FIELDS

#: Most characters of what names something, or is an id or a token. Each has a limit of its own further down;
#: this one keeps megabytes from indexes, logs and messages, whatever is looked up first.
MAX_CHARACTERS = 2048
#: Most characters of it that an error shows.
_SHOWN = 80
#: Others' services: health compares names with those it has in memory, reflection with descriptors.
_NOT_OURS = ("/grpc.health.", "/grpc.reflection.")

#: Every field of a request that names something: a model, a job, a backbone, or what of them is wanted.
NAMES = MODEL_FIELDS | {
    "headstart.v1.CancelRequest.job_id",
    "headstart.v1.DeleteExampleRequest.example_id",
    "headstart.v1.EmbedRequest.backbone",
    "headstart.v1.EmbedRequest.views",
    "headstart.v1.FineTuneSpec.alias",
    "headstart.v1.FineTuneSpec.backbone",
    "headstart.v1.FineTuneSpec.backbone_candidates",
    "headstart.v1.FineTuneSpec.dataset_uri",
    "headstart.v1.FineTuneSpec.display_name",
    "headstart.v1.FineTuneSpec.parent_alias",
    "headstart.v1.FineTuneSpec.request_id",
    "headstart.v1.FineTuneSpec.webhook",
    "headstart.v1.GetModelRequest.page_token",
    "headstart.v1.ListBackbonesRequest.page_token",
    "headstart.v1.ListJobsRequest.page_token",
    "headstart.v1.ListModelsRequest.page_token",
    "headstart.v1.LogisticRecipe.views",
    "headstart.v1.MlpRecipe.views",
    "headstart.v1.PredictRequest.routing_key",
    "headstart.v1.RebaseRequest.alias",
    "headstart.v1.RebaseRequest.backbone",
    "headstart.v1.RebaseRequest.backbone_candidates",
    "headstart.v1.RebaseRequest.request_id",
    "headstart.v1.RebaseRequest.webhook",
    "headstart.v1.RidgeRecipe.view",
    "headstart.v1.RidgeRecipe.views",
    "headstart.v1.SaliencyRequest.class_name",
    "headstart.v1.SetAliasRequest.alias",
    "headstart.v1.SetAliasRequest.etag",
    "headstart.v1.StatusRequest.job_id",
    "headstart.v1.VersionSelector.alias",
    "headstart.v1.WatchRequest.job_id",
    "inference.ModelConfigRequest.version",
    "inference.ModelInferRequest.InferInputTensor.datatype",
    "inference.ModelInferRequest.InferInputTensor.name",
    "inference.ModelInferRequest.InferRequestedOutputTensor.name",
    "inference.ModelInferRequest.id",
    "inference.ModelInferRequest.model_version",
    "inference.ModelMetadataRequest.version",
    "inference.ModelReadyRequest.version",
    "inference.ModelStatisticsRequest.version",
    "inference.RepositoryIndexRequest.repository_name",
    "inference.RepositoryModelLoadRequest.repository_name",
    "inference.RepositoryModelUnloadRequest.repository_name",
    "inference.SharedMemoryRequest.name",
    "tensorflow.serving.GetModelMetadataRequest.metadata_field",
    "tensorflow.serving.InferenceTask.method_name",
    "tensorflow.serving.ModelSpec.signature_name",
    "tensorflow.serving.ModelSpec.version_label",
    "tensorflow.serving.PredictRequest.output_filter",
}

#: Texts of requests that are content, or are checked one by one where they are counted, and why nothing is
#: looked up by them: examples and their labels, a model's own labels, ids that are left out of a parent's
#: list, and keys of maps.
OTHER_TEXTS = frozenset(
    {
        "headstart.v1.Example.id",
        "headstart.v1.Example.label",
        "headstart.v1.FineTuneSpec.LabelsEntry.key",
        "headstart.v1.FineTuneSpec.LabelsEntry.value",
        "headstart.v1.FineTuneSpec.removed_example_ids",
        "headstart.v1.Input.text",
        "headstart.v1.LabelSet.labels",
        "headstart.v1.SoftLabel.ProbabilitiesEntry.key",
        "inference.InferParameter.string_param",
        "inference.ModelInferRequest.InferInputTensor.ParametersEntry.key",
        "inference.ModelInferRequest.InferRequestedOutputTensor.ParametersEntry.key",
        "inference.ModelInferRequest.ParametersEntry.key",
        "tensorflow.Features.FeatureEntry.key",
        "tensorflow.TensorShapeProto.Dim.name",
        "tensorflow.serving.PredictRequest.InputsEntry.key",
    }
)


class TextInterceptor(grpc.aio.ServerInterceptor):
    """Refuses requests with a name that cannot be one. Stands innermost: whoever reads requests checks them.

    So callers that are not known are told nothing, and what is refused is told and written down like a
    request that cannot be read.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a method."""
        handler = await continuation(details)
        if handler is None or handler.request_deserializer is None or details.method.startswith(_NOT_OURS):
            return handler
        return changed(handler, parse=partial(_checked, handler.request_deserializer))


def _checked(parse: Callable[[bytes], Message], content: bytes) -> Message:
    message = parse(content)
    check_texts(message)
    return message


def check_texts(message: Message) -> None:
    """Check that names of a request could be some.

    Raises:
        InvalidField: one has the character NUL, which not every database takes even to look for it, or is
            longer than any name.
    """
    plan = field_plan(message.DESCRIPTOR, NAMES)
    found = _first(message, plan)
    if found is not None:
        part, name, text = found
        raise _refusal(_path_of(message, plan, part, name) or name, text)


def _first(part: Message, plan: FieldPlan) -> tuple[Message, str, str] | None:
    """The first name that cannot be one: the part that has it, its field and itself. In every call's way."""
    for name, _ in plan.fields:
        value = getattr(part, name)
        for text in (value,) if isinstance(value, str) else value:
            if len(text) > MAX_CHARACTERS or "\0" in text:
                return part, name, text
    for field, inner in plan.parts:
        for each in plan.parts_of(part, field):
            if (found := _first(each, inner)) is not None:
                return found
    return None


def _path_of(message: Message, plan: FieldPlan, wanted: Message, name: str) -> str | None:
    """Where a field of a part is in a message, such as `additional_targets[2].alias`; None if it is not."""
    if message is wanted:
        return name
    for field, inner in plan.parts:
        for place, part in enumerate(inner.parts_of(message, field)):
            if (rest := _path_of(part, inner, wanted, name)) is not None:
                return f"{field.name}[{place}].{rest}" if field.is_repeated else f"{field.name}.{rest}"
    return None


def _refusal(name: str, text: str) -> InvalidField:
    what = "the character NUL in it" if "\0" in text else f"{len(text)} characters"
    return InvalidField(
        f"Expected at most {MAX_CHARACTERS} characters, and no NUL among them, as {name}. "
        f"Received: {what}, {text[:_SHOWN]!r}.",
        field=name,
    )
