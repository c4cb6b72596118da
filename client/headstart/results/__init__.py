"""What calls give back: frozen values with times, shares and arrays, and no protobuf."""

from headstart.results.jobs import ExampleFault, JobEvent, JobState, JobStatus, JobStep, Progress, Validation
from headstart.results.models import (
    Alias,
    Backbone,
    ConfusionCell,
    Lineage,
    Metrics,
    MetricsSource,
    Modality,
    Model,
    StopReason,
    Version,
)
from headstart.results.predictions import (
    ClassProbability,
    ModelPredictions,
    Prediction,
    Predictions,
    StageTimes,
)

__all__ = [
    "Alias",
    "Backbone",
    "ClassProbability",
    "ConfusionCell",
    "ExampleFault",
    "JobEvent",
    "JobState",
    "JobStatus",
    "JobStep",
    "Lineage",
    "Metrics",
    "MetricsSource",
    "Modality",
    "Model",
    "ModelPredictions",
    "Prediction",
    "Predictions",
    "Progress",
    "StageTimes",
    "StopReason",
    "Validation",
    "Version",
]
