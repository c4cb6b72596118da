"""Where messages name models: calls are checked, and tenants' names changed, by this one list."""

from collections.abc import Callable, Iterator

from google.protobuf.message import Message

from headstart_server.rpc.field_plans import field_plan

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
    for part, name, _ in field_plan(message.DESCRIPTOR, MODEL_FIELDS).found(message):
        yield getattr(part, name)


def rename_models(message: Message, change: Callable[[str], str]) -> None:
    """Change the names of models in a message; those that are empty stay so."""
    for part, name, _ in list(field_plan(message.DESCRIPTOR, MODEL_FIELDS).found(message)):
        before = getattr(part, name)
        if before:
            setattr(part, name, change(before))
