"""The permission table: the rights that each method requires. A method without an entry is denied."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from headstart_server.auth.permissions import Right

#: The name that stands for all models.
ALL_MODELS = "-"


class Subject(Enum):
    """The subject of the required right."""

    #: No subject: every caller may call the method.
    NONE = "none"
    #: Any model.
    ANY = "any"
    #: Any model; the response has only the models on which the caller has the right.
    LISTED = "listed"
    #: Each model that the request names.
    MODEL = "model"
    #: The dataset that the request names.
    DATASET = "dataset"
    #: The model of the job that the request names.
    JOB = "job"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """The rights that a method requires."""

    on: Subject
    rights: frozenset[Right] = frozenset()
    makes: bool = False  # whether the method may create the model or dataset that it names
    changes: bool = False  # whether the method changes data, so that its calls are logged
    # whether the method returns inputs of other callers, so that its calls are logged, too
    reads_inputs: bool = False
    # the name that stands for all models on which the caller has the right, which the method itself selects;
    # None if every request names its models
    all_models: str | None = None


_PREDICT, _TRAIN, _ADMIN, _FEEDBACK, _REVIEW = (frozenset({right}) for right in Right)
_SOME = frozenset(Right)

_OPEN = Rule(on=Subject.NONE)
_V1 = "/headstart.v1."
_OIP = "/inference.GRPCInferenceService/"
_TFS = "/tensorflow.serving."

RULES: Mapping[str, Rule] = {
    "/grpc.health.v1.Health/Check": _OPEN,
    "/grpc.health.v1.Health/List": _OPEN,
    "/grpc.health.v1.Health/Watch": _OPEN,
    # Registered only with --reflection.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _OPEN,
    f"{_V1}PredictionService/Predict": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_V1}PredictionService/Embed": Rule(on=Subject.ANY, rights=_PREDICT),
    f"{_V1}EvaluationService/Evaluate": Rule(on=Subject.MODEL, rights=_PREDICT),
    # It may return examples that the versions were trained on.
    f"{_V1}EvaluationService/Compare": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}FineTuningService/FineTune": Rule(on=Subject.MODEL, rights=_TRAIN, makes=True, changes=True),
    f"{_V1}FineTuningService/SubmitFineTune": Rule(on=Subject.MODEL, rights=_TRAIN, makes=True, changes=True),
    f"{_V1}FineTuningService/Rebase": Rule(on=Subject.MODEL, rights=_TRAIN, changes=True),
    f"{_V1}FineTuningService/Status": Rule(on=Subject.JOB, rights=_TRAIN),
    f"{_V1}FineTuningService/Watch": Rule(on=Subject.JOB, rights=_TRAIN),
    f"{_V1}FineTuningService/Cancel": Rule(on=Subject.JOB, rights=_TRAIN, changes=True),
    f"{_V1}FineTuningService/DeleteJob": Rule(on=Subject.JOB, rights=_ADMIN, changes=True),
    f"{_V1}FineTuningService/WatchJobs": Rule(on=Subject.LISTED, rights=_TRAIN),
    f"{_V1}FineTuningService/ListJobs": Rule(on=Subject.LISTED, rights=_TRAIN),
    # Both return training examples.
    f"{_V1}ExampleService/ListExamples": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}ExampleService/GetExampleContent": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}ExampleService/GetExampleMap": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}ModelService/ListModels": Rule(on=Subject.LISTED, rights=_SOME),
    f"{_V1}ModelService/GetModel": Rule(on=Subject.MODEL, rights=_SOME),
    f"{_V1}ModelService/GetVersion": Rule(on=Subject.MODEL, rights=_SOME),
    f"{_V1}ModelService/ListVersions": Rule(on=Subject.MODEL, rights=_SOME),
    f"{_V1}ModelService/UpdateVersion": Rule(on=Subject.MODEL, rights=_TRAIN, changes=True),
    f"{_V1}ModelService/UpdateModel": Rule(on=Subject.MODEL, rights=_TRAIN, changes=True),
    f"{_V1}ModelService/GetTraffic": Rule(on=Subject.MODEL, rights=_SOME),
    # It names the callers who moved the alias.
    f"{_V1}ModelService/ListAliasEvents": Rule(on=Subject.MODEL, rights=_TRAIN | _ADMIN),
    f"{_V1}ModelService/SetAlias": Rule(on=Subject.MODEL, rights=_TRAIN, changes=True),
    f"{_V1}ModelService/DeleteAlias": Rule(on=Subject.MODEL, rights=_TRAIN, changes=True),
    f"{_V1}ModelService/DeleteVersion": Rule(on=Subject.MODEL, rights=_ADMIN, changes=True),
    f"{_V1}ModelService/DeleteModel": Rule(on=Subject.MODEL, rights=_ADMIN, changes=True),
    f"{_V1}ModelService/EraseExample": Rule(
        on=Subject.MODEL, rights=_ADMIN, changes=True, all_models=ALL_MODELS
    ),
    # Grants cover datasets whose names match their model names. A request about a model that names a dataset
    # needs the right to train on the dataset, too.
    f"{_V1}DatasetService/CreateDataset": Rule(on=Subject.DATASET, rights=_TRAIN, makes=True, changes=True),
    f"{_V1}DatasetService/WriteExamples": Rule(on=Subject.DATASET, rights=_TRAIN, changes=True),
    f"{_V1}DatasetService/FinishDataset": Rule(on=Subject.DATASET, rights=_TRAIN, changes=True),
    f"{_V1}DatasetService/GetDataset": Rule(on=Subject.DATASET, rights=_TRAIN),
    f"{_V1}DatasetService/ListDatasets": Rule(on=Subject.LISTED, rights=_TRAIN),
    f"{_V1}DatasetService/UpdateDataset": Rule(on=Subject.DATASET, rights=_TRAIN, changes=True),
    f"{_V1}DatasetService/DeleteDataset": Rule(on=Subject.DATASET, rights=_ADMIN, changes=True),
    # Both return training data: IDs, labels and images.
    f"{_V1}ModelService/GetEvaluation": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}ModelService/GetReport": Rule(on=Subject.MODEL, rights=_TRAIN),
    # It returns everything that a version has learned.
    f"{_V1}ModelService/ExportVersion": Rule(on=Subject.MODEL, rights=_TRAIN),
    f"{_V1}ModelService/ListBackbones": Rule(on=Subject.ANY, rights=_SOME),
    # They are about inputs of other callers.
    f"{_V1}ReviewService/ListReview": Rule(on=Subject.MODEL, rights=_REVIEW),
    f"{_V1}ReviewService/GetCaptureStatus": Rule(on=Subject.MODEL, rights=_REVIEW),
    f"{_V1}ReviewService/GetCapturedInput": Rule(on=Subject.MODEL, rights=_REVIEW, reads_inputs=True),
    f"{_V1}ReviewService/SendFeedback": Rule(on=Subject.MODEL, rights=_FEEDBACK, changes=True),
    # It names the callers who sent the feedback.
    f"{_V1}ReviewService/ListFeedback": Rule(on=Subject.MODEL, rights=_TRAIN | _REVIEW),
    f"{_V1}ReviewService/GetFeedbackSummary": Rule(on=Subject.MODEL, rights=_TRAIN | _REVIEW | _FEEDBACK),
    # They describe the server and the caller.
    f"{_V1}ServerService/GetServerInfo": Rule(on=Subject.ANY, rights=_SOME),
    f"{_V1}ServerService/WhoAmI": Rule(on=Subject.ANY, rights=_SOME),
    f"{_V1}ServerService/GetUsage": Rule(on=Subject.ANY, rights=_SOME),
    # They report the health of the server.
    f"{_OIP}ServerLive": _OPEN,
    f"{_OIP}ServerReady": _OPEN,
    f"{_OIP}ServerMetadata": Rule(on=Subject.ANY, rights=_SOME),
    f"{_OIP}ModelReady": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}ModelMetadata": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}ModelConfig": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}ModelInfer": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}ModelStreamInfer": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}RepositoryIndex": Rule(on=Subject.LISTED, rights=_SOME),
    f"{_OIP}RepositoryModelLoad": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}RepositoryModelUnload": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_OIP}ModelStatistics": Rule(on=Subject.MODEL, rights=_PREDICT, all_models=""),
    # They report that shared memory is not supported.
    **{
        f"{_OIP}{kind}SharedMemory{what}": Rule(on=Subject.ANY, rights=_PREDICT)
        for kind in ("System", "Cuda")
        for what in ("Status", "Register", "Unregister")
    },
    f"{_TFS}PredictionService/Predict": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}PredictionService/Classify": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}PredictionService/Regress": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}PredictionService/MultiInference": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}PredictionService/GetModelMetadata": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}ModelService/GetModelStatus": Rule(on=Subject.MODEL, rights=_PREDICT),
    f"{_TFS}ModelService/HandleReloadConfigRequest": Rule(on=Subject.ANY, rights=_ADMIN),
}
