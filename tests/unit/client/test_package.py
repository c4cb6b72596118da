import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import metadata
from typing import get_origin

import pytest

import headstart
from headstart import (
    AliasHandle,
    AsyncAliasHandle,
    AsyncClient,
    AsyncDatasetHandle,
    AsyncJob,
    AsyncModelHandle,
    AsyncVersionHandle,
    Client,
    DatasetHandle,
    Job,
    ModelHandle,
    VersionHandle,
)

PUBLIC = """
    Aborted Abstention AbstentionReason Alias AlreadyExists Dataset DatasetState
    AliasEvent AliasEventCause AsyncClient AsyncJob Auto Backbone BackboneCandidate BackboneStatus
    BackboneSelection Cancelled CandidateOutcome ClassMetrics ClassProbability Client ComparedClass
    ComparedMetrics Comparison ConfusedPair
    ConfusionCell Truncation DataLoss DatasetFindings DeadlineExceeded ErasedExample
    ErasureCertificate RebuiltVersion DuplicateGroup
    DifferingExample ExampleMap
    Energy ErrorDetails Evaluation EvaluationResult Example ExampleFault ExampleOutcome ExampleReference
    Export
    FailedPrecondition FieldViolation FineTuneSpec HeadstartError Influence InputFault Internal
    InvalidArgument Job
    JobCancelled JobEvent JobFailed JobState JobStatus JobStep LabelIssue LearningPoint Lineage
    Logistic Metrics MetricsSource Mlp Modality Model ModelPredictions Neighbor NotFound Outlier
    Partial PermissionDenied PredictedInput Prediction PredictionError Predictions Progress Promotion
    PromotionDecision PromotionGate QuotaViolation RebaseSettings ReliabilityBin Recommendation
    RecommendationKind Report
    ResourceExhausted RetryPolicy Ridge Saliency SpecSettings StageTimes StopReason Table
    VersionRef Task Text ThresholdPoint TlsConfig URL Unauthenticated Unavailable Validation ValuePair Version
    VersionEvaluation WatchedJobs WebhookDelivery WebhookState
    AliasHandle AsyncAliasHandle AsyncDatasetHandle AsyncModelHandle AsyncVersionHandle DatasetHandle
    ModelHandle VersionHandle
    Caller Content ExampleSettings ExampleWarning Examples ExportFormat Feature FineTuneSettings
    InputSettings Inputs Permission PredictSettings Recipe RecipeName ReportFormat Right ScalingName
    ServerInfo ServerLimits TaskName Token Traffic TrafficPoint UploadReport Usage VersionTraffic
    CapturePolicy CaptureReason CaptureStatus CapturedContent CapturedInput ClassFeedback Edits
    ExampleContent ExampleEdit ExampleFinding ExampleIssue ExampleOrigin ExampleRecord Feedback
    FeedbackAnswer FeedbackCount FeedbackOutcome FeedbackState FeedbackStatistics FeedbackSummary
    JobTrigger RetrainPolicy RetrainState RetrainStatus ReviewEntry ReviewReason SentFeedback
    UnknownClasses VersionFeedback WeekFeedback
"""


def test_the_public_names_are_these():
    assert sorted(headstart.__all__) == sorted(PUBLIC.split())


@pytest.mark.parametrize("name", headstart.__all__)
def test_each_public_name_is_there_and_documented(name):
    value = getattr(headstart, name)
    # The type of an argument, such as Literal["html", "json", "text"], has no docstring.
    assert inspect.getdoc(value) or get_origin(value) is not None


def test_it_reports_its_version():
    assert headstart.__version__ == metadata.version("headstart")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Client, AsyncClient),
        (Job, AsyncJob),
        (ModelHandle, AsyncModelHandle),
        (VersionHandle, AsyncVersionHandle),
        (AliasHandle, AsyncAliasHandle),
        (DatasetHandle, AsyncDatasetHandle),
    ],
)
def test_the_asynchronous_twin_has_the_same_methods_and_arguments(one, other):
    def public(kind):
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(one) == public(other)


def test_an_asynchronous_method_is_documented_and_annotated_as_one():
    assert inspect.getdoc(AsyncClient.versions) == inspect.getdoc(Client.versions)
    assert inspect.iscoroutinefunction(AsyncClient.delete_model)
    assert inspect.signature(AsyncClient.delete_model).return_annotation is int
    assert inspect.signature(AsyncClient.versions).return_annotation == AsyncIterator[headstart.Version]


def test_importing_it_pulls_in_no_framework_no_server_and_no_command_line():
    heavy = [
        "keras",
        "tensorflow",
        "torch",
        "jax",
        "typer",
        "rich",
        "click",
        "headstart_server",
        "grpc_status",
        "PIL",
    ]
    script = f"import sys, headstart; print([name for name in {heavy} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
