"""The limit of each request field of every RPC, as one table for parsing, the protos and the tests.

Fields of Boolean, enum and single message types need no entry: their type limits them, and a message's own
fields have entries. If any other request field has no entry, the server does not start.
"""

from collections.abc import Mapping

from headstart_server.api.grpc.requests.limit import MAX_INT32, MAX_INT64, Limit
from headstart_server.datasets.batch_writer import MAX_BATCHES
from headstart_server.errors import HeadstartError, InvalidField, InvalidLabel
from headstart_server.jobs.spec import (
    MAX_CANDIDATES,
    MAX_EDITS,
    PRIORITIES,
)
from headstart_server.jobs.watching import MAX_TOKEN
from headstart_server.learning.examples.example_checks import (
    MAX_LABEL_BYTES,
    MAX_VALUE,
    MAX_WEIGHT,
    SHARES_TOLERANCE,
)
from headstart_server.learning.heads.recipe import (
    Logistic,
    Mlp,
    Partial,
    Recipe,
    Ridge,
    setting_ranges,
)
from headstart_server.models.capture_policy import MAX_COUNT, MIN_BYTES
from headstart_server.models.names import MAX_MODEL_NAME
from headstart_server.models.retrain_policy import MAX_FAILURES, MAX_FEEDBACK_COUNT
from headstart_server.models.traffic_split import MAX_SHARES
from headstart_server.prediction.predict_options import MAX_FALSE_ALARM_RATE, MAX_INFLUENCES, MAX_NEIGHBORS
from headstart_server.prediction.predictor import MAX_TARGETS

#: Maximum characters of a prediction ID.
MAX_PREDICTION_ID = 64
#: Upper limit of `--max-inputs`: inputs of one call.
MAX_INPUTS = 4096
#: Upper limit of `--max-input-size`: bytes of one input.
MAX_INPUT_BYTES = 256 << 20
#: Maximum examples of one message of a stream.
MAX_BATCH_EXAMPLES = 10_000
#: Maximum classes of one example.
MAX_CLASSES = 10_000
#: Maximum characters of a text to train on or to predict.
MAX_TEXT = 1 << 20
#: Maximum views of a backbone in one request, and in one recipe.
MAX_VIEWS, MAX_RECIPE_VIEWS = 64, 16
MAX_ROUTING_KEY, MAX_URI_BYTES = 256, 2048
#: Maximum seconds of a `google.protobuf.Duration`: 10,000 years.
MAX_DURATION = 315_576_000_000
#: Seconds of a `google.protobuf.Timestamp`: the years 1 to 9999. Others cannot be written as JSON.
MIN_TIME, MAX_TIME = -62_135_596_800, 253_402_300_799
#: Maximum numbers of a tensor in a typed field. The limit of integers also applies to all fields of a message
#: together, because protobuf reads them one by one, up to 20 ns each, and holds Python's lock meanwhile.
MAX_FLOATS, MAX_DOUBLES, MAX_INTEGERS = 16 << 20, 8 << 20, 2 << 20


def _many(entries: int) -> Limit:
    return Limit(entries=entries)


def _name(characters: int, entries: int | None = None, *, unique: bool = False) -> Limit:
    return Limit(characters=characters, entries=entries, unique=unique)


def _bytes_name(nbytes: int, entries: int | None = None, error: type[HeadstartError] = InvalidField) -> Limit:
    return Limit(nbytes=nbytes, entries=entries, error=error)


def _model(characters: int = MAX_MODEL_NAME) -> Limit:
    return Limit(characters=characters, model=True)


def _dataset() -> Limit:
    return Limit(characters=MAX_MODEL_NAME, dataset=True)


def _data(entries: int | None = None) -> Limit:
    return Limit(nbytes=MAX_INPUT_BYTES, entries=entries, lines=True)


def _range(low: float, high: float) -> Limit:
    return Limit(low=low, high=high)


def _settings(recipe: type[Recipe]) -> dict[str, Limit]:
    ranges = setting_ranges(recipe)
    return {name: _range(*ranges[name]) for name in ranges if name != "time_budget"}


#: Any number of the field's type.
_ANY = Limit()
_ALIAS = _name(128)
#: A model's name in other protocols, which may end in @ and an alias.
_MODEL_AT = _model(MAX_MODEL_NAME + 1 + 128)
_BACKBONE = _name(256)
_CANDIDATES = _name(256, MAX_CANDIDATES)
_JOB_ID = _name(128)
_LABEL = _bytes_name(MAX_LABEL_BYTES, error=InvalidLabel)
_LABELS = _bytes_name(MAX_LABEL_BYTES, MAX_CLASSES, InvalidLabel)
_EXAMPLE_ID = _bytes_name(MAX_LABEL_BYTES)
_PAGE = {"page_size": _range(0, MAX_INT32), "page_token": _name(2048)}
_REQUEST_ID, _URI = _bytes_name(128), _bytes_name(MAX_URI_BYTES)
_PRIORITY = _range(*PRIORITIES)
_RECIPE_VIEWS = _name(128, MAX_RECIPE_VIEWS, unique=True)
_SHAPE = _many(32)
_FLOATS, _DOUBLES, _INTEGERS = _many(MAX_FLOATS), _many(MAX_DOUBLES), _many(MAX_INTEGERS)
_PARAMETERS, _PARAMETER_NAME = _many(64), _name(256)
_VERSION_TEXT = _name(128)
_FEATURE_NUMBERS = _many(1 << 16)

#: A tag: its key and its value.
_TAG = {"key": _bytes_name(63), "value": _bytes_name(256)}
_DETAILS = {
    "display_name": _bytes_name(256),
    "description": Limit(nbytes=4096, prose=True),
    "tags": _many(64),
}

_TABLE: Mapping[str, Mapping[str, Limit]] = {
    "headstart.v1.Abstention": {
        "false_alarm_rate": _range(0.0, MAX_FALSE_ALARM_RATE),
        "min_probability": _range(0.0, 1.0),
    },
    "headstart.v1.CancelRequest": {"job_id": _JOB_ID},
    "headstart.v1.CapturePolicy": {
        "random_fraction": _range(0.0, 1.0),
        "max_margin": _range(0.0, 1.0),
        "max_typicality": _range(0.0, 1.0),
        "rare_class_fraction": _range(0.0, 1.0),
        "max_count": _range(1, MAX_COUNT),
        "max_bytes": _range(MIN_BYTES, MAX_INT64),
    },
    "headstart.v1.GetCaptureStatusRequest": {"model": _model()},
    "headstart.v1.GetCapturedInputRequest": {
        "model": _model(),
        "prediction_id": _name(MAX_PREDICTION_ID),
        "thumbnail_size": _range(64, 512),
    },
    "headstart.v1.ListReviewRequest": {"model": _model(), **_PAGE, "version": _ANY, "alias": _ALIAS},
    "headstart.v1.DeleteJobRequest": {"job_id": _JOB_ID},
    "headstart.v1.EraseExampleRequest": {
        "example_id": _EXAMPLE_ID,
        "model": _model(),
        "request_id": _REQUEST_ID,
    },
    "headstart.v1.DeleteAliasRequest": {"model": _model(), "alias": _ALIAS, "etag": _name(128)},
    "headstart.v1.DeleteModelRequest": {"model": _model()},
    "headstart.v1.DeleteVersionRequest": {"model": _model(), "version": _ANY},
    "headstart.v1.EmbedRequest": {
        "backbone": _BACKBONE,
        "inputs": _many(MAX_INPUTS),
        "views": _name(128, MAX_VIEWS, unique=True),
    },
    "headstart.v1.Example": {"example_id": _EXAMPLE_ID, "weight": _range(0.0, MAX_WEIGHT)},
    "headstart.v1.ExampleEdit": {
        "example_id": _EXAMPLE_ID,
        "index": _range(0, MAX_INT64),
        "weight": _range(0.0, MAX_WEIGHT),
    },
    "headstart.v1.ExampleFilter": {
        "label": _LABEL,
        "predicted_label": _LABEL,
        "example_id_prefix": _EXAMPLE_ID,
    },
    "headstart.v1.GetExampleContentRequest": {
        "dataset": _dataset(),
        "example_id": _EXAMPLE_ID,
        "index": _range(0, MAX_INT64),
        "thumbnail_size": _range(64, 512),
    },
    "headstart.v1.ListExamplesRequest": {
        "dataset": _dataset(),
        "order_by": _name(64),
        **_PAGE,
        "skip": _range(0, MAX_INT32),
    },
    "headstart.v1.ExampleBatch": {"examples": _many(MAX_BATCH_EXAMPLES)},
    "headstart.v1.FineTuneSpec": {
        "model": _model(),
        "backbone": _BACKBONE,
        "held_out_fraction": _range(0.0, 0.9),
        "seed": _ANY,
        "display_name": _bytes_name(256),
        "tags": _many(64),
        "alias": _ALIAS,
        "request_id": _REQUEST_ID,
        "max_excluded_fraction": _range(0.0, 1.0),
        "parent_version": _range(1, MAX_INT64),
        "parent_alias": _ALIAS,
        "edits": _many(MAX_EDITS),
        "priority": _PRIORITY,
        "backbone_candidates": _CANDIDATES,
        "webhook": _URI,
        "dataset_uri": _URI,
        "dataset": _dataset(),
    },
    "headstart.v1.FineTuneSpec.TagsEntry": _TAG,
    "headstart.v1.GetModelRequest": {"model": _model()},
    "headstart.v1.Input": {"image": _data(), "text": Limit(characters=MAX_TEXT, lines=True)},
    "headstart.v1.Label": {"class_name": _LABEL, "number": _range(-MAX_VALUE, MAX_VALUE)},
    "headstart.v1.LabelSet": {"class_names": _LABELS},
    "headstart.v1.ListBackbonesRequest": _PAGE,
    "headstart.v1.ListJobsRequest": {"model": _model(), "states": _many(16), **_PAGE},
    "headstart.v1.ListModelsRequest": _PAGE,
    "headstart.v1.LogisticRecipe": {**_settings(Logistic), "views": _RECIPE_VIEWS},
    "headstart.v1.MlpRecipe": {**_settings(Mlp), "views": _RECIPE_VIEWS},
    "headstart.v1.PartialRecipe": _settings(Partial),
    "headstart.v1.PredictRequest": {
        "inputs": _many(MAX_INPUTS),
        "top_k": _range(1, MAX_INT32),
        "targets": _many(MAX_TARGETS),
        "neighbors": _range(0, MAX_NEIGHBORS),
        "influence": _range(0, MAX_INFLUENCES),
        "routing_key": _name(MAX_ROUTING_KEY),
    },
    "headstart.v1.PromotionGate": {
        "max_drop": _range(0.0, 1.0),
        "max_class_drop": _range(0.0, 1.0),
        "min_class_examples": _range(1, MAX_INT32),
        "significance": _range(0.0, 1.0),
    },
    "headstart.v1.RebaseRequest": {
        "alias": _ALIAS,
        "backbone": _BACKBONE,
        "backbone_candidates": _CANDIDATES,
        "request_id": _REQUEST_ID,
        "priority": _PRIORITY,
        "webhook": _URI,
    },
    "headstart.v1.RidgeRecipe": {**_settings(Ridge), "view": _name(128), "views": _RECIPE_VIEWS},
    "headstart.v1.SaliencyRequest": {"class_name": _bytes_name(MAX_LABEL_BYTES)},
    "headstart.v1.SetAliasRequest": {
        "model": _model(),
        "alias": _ALIAS,
        "version": _ANY,
        "etag": _name(128),
        "traffic": _many(MAX_SHARES),
    },
    "headstart.v1.SoftLabel": {"probabilities": _many(MAX_CLASSES)},
    "headstart.v1.SoftLabel.ProbabilitiesEntry": {
        "key": _LABEL,
        "value": _range(0.0, 1.0 + SHARES_TOLERANCE),
    },
    "headstart.v1.StatusRequest": {"job_id": _JOB_ID},
    "headstart.v1.Tensor": {"shape": _SHAPE, "data": _data()},
    "headstart.v1.VersionSelector": {"model": _model(), "version": _ANY, "alias": _ALIAS},
    "headstart.v1.TrafficSplit": {"version": _ANY, "fraction": _range(0.0, 1.0)},
    "headstart.v1.WatchJobsRequest": {"model": _model(), "resume_token": _name(MAX_TOKEN)},
    "headstart.v1.WatchRequest": {"job_id": _JOB_ID, "after_event": _ANY},
    "headstart.v1.ListVersionsRequest": {"model": _model(), **_PAGE, "order_by": _name(64)},
    "headstart.v1.VersionFilter": {"tags": _many(64), "alias": _ALIAS, "backbone": _BACKBONE},
    "headstart.v1.VersionFilter.TagsEntry": _TAG,
    "headstart.v1.UpdateVersionRequest": {"model": _model(), "version": _ANY, **_DETAILS},
    "headstart.v1.UpdateVersionRequest.TagsEntry": _TAG,
    "headstart.v1.UpdateModelRequest": {"model": _model(), **_DETAILS},
    "headstart.v1.UpdateModelRequest.TagsEntry": _TAG,
    "headstart.v1.RetrainPolicy": {
        "alias": _ALIAS,
        "min_feedback_count": _range(1, MAX_FEEDBACK_COUNT),
        "min_accuracy": _range(0.0, 1.0),
        "webhook": _URI,
        "max_failures": _range(1, MAX_FAILURES),
    },
    "headstart.v1.SendFeedbackRequest": {
        "model": _model(),
        "prediction_id": _name(64),
        "request_id": _REQUEST_ID,
        "version": _range(1, MAX_INT64),
    },
    "headstart.v1.ListFeedbackRequest": {"model": _model(), "states": _many(16), **_PAGE},
    "headstart.v1.GetFeedbackSummaryRequest": {"model": _model()},
    "headstart.v1.EvaluateSpec": {"dataset": _dataset()},
    "headstart.v1.CompareSpec": {"dataset": _dataset()},
    "headstart.v1.CreateDatasetRequest": {"dataset": _dataset(), **_DETAILS},
    "headstart.v1.CreateDatasetRequest.TagsEntry": _TAG,
    "headstart.v1.WriteExamplesRequest": {
        "dataset": _dataset(),
        "batch": _range(0, MAX_BATCHES - 1),
        "sha256": Limit(nbytes=32, lines=True),
    },
    "headstart.v1.FinishDatasetRequest": {"dataset": _dataset(), "example_count": _range(1, MAX_INT64)},
    "headstart.v1.GetDatasetRequest": {"dataset": _dataset()},
    "headstart.v1.ListDatasetsRequest": _PAGE,
    "headstart.v1.UpdateDatasetRequest": {"dataset": _dataset(), **_DETAILS},
    "headstart.v1.UpdateDatasetRequest.TagsEntry": _TAG,
    "headstart.v1.DeleteDatasetRequest": {"dataset": _dataset(), "etag": _name(128)},
    "headstart.v1.SubmitFineTuneRequest": {"examples": _many(MAX_BATCH_EXAMPLES)},
    "google.protobuf.FieldMask": {"paths": _name(64, 16, unique=True)},
    "google.protobuf.Timestamp": {
        "seconds": _range(MIN_TIME, MAX_TIME),
        "nanos": _range(0, 999_999_999),
    },
    "headstart.v1.ListAliasEventsRequest": {"model": _model(), "alias": _ALIAS, **_PAGE},
    "headstart.v1.GetTrafficRequest": {"model": _model(), "version": _ANY},
    # The range of the type; each field has a narrower range.
    "google.protobuf.Duration": {
        "seconds": _range(-MAX_DURATION, MAX_DURATION),
        "nanos": _range(-999_999_999, 999_999_999),
    },
    "google.protobuf.Int64Value": {"value": _ANY},
    "grpc.health.v1.HealthCheckRequest": {"service": _name(256)},
    "inference.InferParameter": {
        "int64_param": _ANY,
        "string_param": _name(2048),
        "double_param": _ANY,
        "uint64_param": _ANY,
    },
    "inference.InferTensorContents": {
        "bool_contents": _INTEGERS,
        "int_contents": _INTEGERS,
        "int64_contents": _INTEGERS,
        "uint_contents": _INTEGERS,
        "uint64_contents": _INTEGERS,
        "fp32_contents": _FLOATS,
        "fp64_contents": _DOUBLES,
        "bytes_contents": _data(MAX_INPUTS),
    },
    "inference.ModelConfigRequest": {"name": _MODEL_AT, "version": _VERSION_TEXT},
    "inference.ModelInferRequest": {
        "model_name": _MODEL_AT,
        "model_version": _VERSION_TEXT,
        "id": _name(1024),
        "parameters": _PARAMETERS,
        "inputs": _many(16),
        "outputs": _many(16),
        "raw_input_contents": _data(16),
    },
    "inference.ModelInferRequest.InferInputTensor": {
        "name": _name(256),
        "datatype": _name(64),
        "shape": _SHAPE,
        "parameters": _PARAMETERS,
    },
    "inference.ModelInferRequest.InferInputTensor.ParametersEntry": {"key": _PARAMETER_NAME},
    "inference.ModelInferRequest.InferRequestedOutputTensor": {"name": _name(256), "parameters": _PARAMETERS},
    "inference.ModelInferRequest.InferRequestedOutputTensor.ParametersEntry": {"key": _PARAMETER_NAME},
    "inference.ModelInferRequest.ParametersEntry": {"key": _PARAMETER_NAME},
    "inference.ModelMetadataRequest": {"name": _MODEL_AT, "version": _VERSION_TEXT},
    "inference.ModelReadyRequest": {"name": _MODEL_AT, "version": _VERSION_TEXT},
    "inference.ModelStatisticsRequest": {"name": _MODEL_AT, "version": _VERSION_TEXT},
    "inference.RepositoryIndexRequest": {"repository_name": _name(256)},
    "inference.RepositoryModelLoadRequest": {"repository_name": _name(256), "model_name": _MODEL_AT},
    "inference.RepositoryModelUnloadRequest": {"repository_name": _name(256), "model_name": _MODEL_AT},
    "inference.SharedMemoryRequest": {"name": _name(256)},
    "tensorflow.BytesList": {"value": _data(16)},
    "tensorflow.Features": {"feature": _many(16)},
    "tensorflow.Features.FeatureEntry": {"key": _name(256)},
    "tensorflow.FloatList": {"value": _FEATURE_NUMBERS},
    "tensorflow.Int64List": {"value": _FEATURE_NUMBERS},
    "tensorflow.TensorProto": {
        "version_number": _ANY,
        "tensor_content": _data(),
        "float_val": _FLOATS,
        "double_val": _DOUBLES,
        "int_val": _INTEGERS,
        "string_val": _data(MAX_INPUTS),
        "int64_val": _INTEGERS,
        "bool_val": _INTEGERS,
        "uint32_val": _INTEGERS,
        "uint64_val": _INTEGERS,
    },
    "tensorflow.TensorShapeProto": {"dim": _SHAPE},
    "tensorflow.TensorShapeProto.Dim": {"size": _ANY, "name": _name(256)},
    "tensorflow.serving.ExampleList": {"examples": _many(MAX_INPUTS)},
    "tensorflow.serving.ExampleListWithContext": {"examples": _many(MAX_INPUTS)},
    "tensorflow.serving.GetModelMetadataRequest": {"metadata_field": _name(128, 16)},
    "tensorflow.serving.InferenceTask": {"method_name": _name(128)},
    "tensorflow.serving.ModelSpec": {"name": _model(), "version_label": _ALIAS, "signature_name": _name(128)},
    "tensorflow.serving.MultiInferenceRequest": {"tasks": _many(MAX_TARGETS)},
    "tensorflow.serving.PredictRequest": {"inputs": _many(16), "output_filter": _name(128, 16)},
    "tensorflow.serving.PredictRequest.InputsEntry": {"key": _name(256)},
}

#: The limit of each field by its full name.
LIMITS: Mapping[str, Limit] = {
    f"{message}.{field}": limit for message, fields in _TABLE.items() for field, limit in fields.items()
}
