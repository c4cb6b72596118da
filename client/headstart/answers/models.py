"""Models, versions, aliases and backbones, from messages."""

from collections.abc import Iterable

from headstart.answers.choosing import read_choice
from headstart.answers.comparisons import read_promotion
from headstart.answers.energy import read_energy
from headstart.answers.enums import read_enum
from headstart.answers.optional import optional
from headstart.answers.times import moment
from headstart.results import (
    Alias,
    Backbone,
    ConfusionCell,
    Lineage,
    Metrics,
    MetricsSource,
    Modality,
    Model,
    StopReason,
    StoredUsage,
    Version,
)
from headstart.spec_message import read_recipe
from headstart.task import Task
from headstart.v1 import input_pb2, model_pb2, model_service_pb2

__all__ = ["read_alias", "read_backbone", "read_metrics", "read_model", "read_usage", "read_version"]

_FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "log_loss",
    "balanced_accuracy",
    "macro_f1",
    "micro_f1",
    "calibration_error",
    "mean_absolute_error",
    "root_mean_squared_error",
    "r_squared",
)


def read_model(model: model_pb2.Model, versions: Iterable[Version] = ()) -> Model:
    """Reads a model."""
    return Model(
        name=model.name,
        create_time=moment(model.create_time),
        newest_version=model.newest_version or None,
        version_count=model.version_count,
        aliases=tuple(read_alias(alias) for alias in model.aliases),
        versions=tuple(versions),
        resident_versions=model.resident_versions,
    )


def read_usage(usage: model_service_pb2.StoredUsage) -> StoredUsage:
    """Reads what a tenant stores."""
    return StoredUsage(
        version_count=usage.version_count,
        version_limit=usage.version_limit or None,
        stored_bytes=usage.stored_bytes,
        stored_bytes_limit=usage.stored_bytes_limit or None,
    )


def read_alias(alias: model_pb2.Alias) -> Alias:
    """Reads an alias."""
    return Alias(
        name=alias.name,
        version=alias.version,
        etag=alias.etag,
        update_time=moment(alias.update_time),
        shares={each.version: each.share for each in alias.shares},
    )


def read_version(version: model_pb2.Version) -> Version:
    """Reads a version."""
    return Version(
        model=version.model,
        number=version.number,
        create_time=moment(version.create_time),
        expire_time=moment(version.expire_time) if version.HasField("expire_time") else None,
        display_name=version.display_name,
        labels=dict(version.labels),
        class_names=tuple(version.class_names),
        metrics=read_metrics(version.metrics),
        lineage=_lineage(version.lineage),
        size_bytes=version.size_bytes,
        aliases=tuple(version.aliases),
        task=read_enum(version.task, input_pb2.Task.DESCRIPTOR, Task),
        thresholds=dict(zip(version.class_names, version.thresholds, strict=False)),
        promotion=read_promotion(version.promotion, version.model, version.number)
        if version.HasField("promotion")
        else None,
        has_examples=version.has_examples,
        resident=version.resident,
        backbone_choice=read_choice(version.backbone_choice) if version.HasField("backbone_choice") else None,
        energy=read_energy(version),
    )


def read_backbone(backbone: model_pb2.Backbone) -> Backbone:
    """Reads a backbone."""
    return Backbone(
        name=backbone.name,
        modality=read_enum(backbone.modality, model_pb2.Modality.DESCRIPTOR, Modality),
        digest=backbone.digest,
        views=dict(sorted(backbone.views.items())),
        input_size=tuple(backbone.input_size),
        parameter_count=backbone.parameter_count,
        source=backbone.source,
        license=backbone.license,
        ready=backbone.ready,
        default=backbone.default,
        description=backbone.description,
        runtime=backbone.runtime,
        problem=backbone.problem,
    )


def read_metrics(metrics: model_pb2.Metrics) -> Metrics:
    """Reads the figures of a version in short."""
    return Metrics(
        source=read_enum(metrics.source, model_pb2.MetricsSource.DESCRIPTOR, MetricsSource),
        example_count=metrics.example_count,
        confusion=tuple(
            ConfusionCell(actual=cell.actual, predicted=cell.predicted, count=cell.count)
            for cell in metrics.confusion
        ),
        **optional(metrics, *_FIGURES),
    )


def _lineage(lineage: model_pb2.Lineage) -> Lineage:
    return Lineage(
        job_id=lineage.job_id,
        backbone=lineage.backbone,
        backbone_digest=lineage.backbone_digest,
        dataset_digest=lineage.dataset_digest,
        recipe=read_recipe(lineage.recipe),
        seed=lineage.seed,
        example_count=lineage.example_count,
        software=lineage.software,
        runtime=lineage.runtime,
        stop_reason=read_enum(lineage.stop_reason, model_pb2.StopReason.DESCRIPTOR, StopReason),
        fit_time=lineage.fit_time.ToTimedelta() if lineage.HasField("fit_time") else None,
        parent_version=lineage.parent_version or None,
        added_example_count=lineage.added_example_count,
        removed_example_count=lineage.removed_example_count,
        own_blocks=lineage.own_blocks,
        remark=lineage.remark,
    )
