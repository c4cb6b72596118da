"""Python client of Headstart: fine-tune models on frozen, pretrained backbones, and predict with them."""

from headstart import results
from headstart.arguments import FineTuneSettings, PredictSettings
from headstart.async_client import AsyncClient
from headstart.async_handles import AsyncAliasHandle, AsyncModelHandle, AsyncVersionHandle
from headstart.calls.job_calls import RebaseSettings
from headstart.client import Client
from headstart.dataset_handle import AsyncDatasetHandle, DatasetHandle
from headstart.edits import Edits, ExampleEdit
from headstart.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    ErrorDetails,
    FailedPrecondition,
    FieldViolation,
    HeadstartError,
    Internal,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    NotFound,
    PermissionDenied,
    PredictionError,
    QuotaViolation,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from headstart.evidence import Abstention
from headstart.handles import AliasHandle, ModelHandle, VersionHandle
from headstart.inputs.contents import Content
from headstart.inputs.examples import Examples, ExampleSettings, ExampleWarning
from headstart.inputs.inputs import URL, Example, Text
from headstart.inputs.prediction_inputs import Inputs, InputSettings
from headstart.inputs.tables import Table
from headstart.inputs.task import Task, TaskName
from headstart.job import AsyncJob, Job
from headstart.release import installed_version
from headstart.results import *  # noqa: F403 - a facade; the names are in its __all__
from headstart.spec import (
    Auto,
    FineTuneSpec,
    Logistic,
    Mlp,
    Partial,
    PromotionGate,
    Recipe,
    RecipeName,
    Ridge,
    ScalingName,
    SpecSettings,
)
from headstart.transport.channel import TlsConfig
from headstart.transport.retries import RetryPolicy
from headstart.transport.tokens import Token
from headstart.transport.upload import UploadReport
from headstart.version_ref import VersionRef

__all__ = [
    "URL",
    "Aborted",
    "Abstention",
    "AliasHandle",
    "AlreadyExists",
    "AsyncAliasHandle",
    "AsyncClient",
    "AsyncDatasetHandle",
    "AsyncJob",
    "AsyncModelHandle",
    "AsyncVersionHandle",
    "Auto",
    "Cancelled",
    "Client",
    "Content",
    "DataLoss",
    "DatasetHandle",
    "DeadlineExceeded",
    "Edits",
    "ErrorDetails",
    "Example",
    "ExampleEdit",
    "ExampleSettings",
    "ExampleWarning",
    "Examples",
    "FailedPrecondition",
    "FieldViolation",
    "FineTuneSettings",
    "FineTuneSpec",
    "HeadstartError",
    "InputSettings",
    "Inputs",
    "Internal",
    "InvalidArgument",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Logistic",
    "Mlp",
    "ModelHandle",
    "NotFound",
    "Partial",
    "PermissionDenied",
    "PredictSettings",
    "PredictionError",
    "PromotionGate",
    "QuotaViolation",
    "RebaseSettings",
    "Recipe",
    "RecipeName",
    "ResourceExhausted",
    "RetryPolicy",
    "Ridge",
    "ScalingName",
    "SpecSettings",
    "Table",
    "Task",
    "TaskName",
    "Text",
    "TlsConfig",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "UploadReport",
    "VersionHandle",
    "VersionRef",
]

__version__ = installed_version()
__all__ += results.__all__
