"""Models, versions, aliases and backbones, from messages."""

from collections.abc import Iterable

from headstart.answers.enums import read_enum
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
    Version,
)
from headstart.spec_message import read_recipe
from headstart.v1 import model_pb2

__all__ = ["read_alias", "read_backbone", "read_model", "read_version"]


def read_model(model: model_pb2.Model, versions: Iterable[Version] = ()) -> Model:
    """Reads a model."""
    return Model(
        name=model.name,
        create_time=moment(model.create_time),
        newest_version=model.newest_version or None,
        version_count=model.version_count,
        aliases=tuple(read_alias(alias) for alias in model.aliases),
        versions=tuple(versions),
    )


def read_alias(alias: model_pb2.Alias) -> Alias:
    """Reads an alias."""
    return Alias(
        name=alias.name,
        version=alias.version,
        etag=alias.etag,
        update_time=moment(alias.update_time),
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
        metrics=_metrics(version.metrics),
        lineage=_lineage(version.lineage),
        size_bytes=version.size_bytes,
        aliases=tuple(version.aliases),
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
    )


def _metrics(metrics: model_pb2.Metrics) -> Metrics:
    return Metrics(
        source=read_enum(metrics.source, model_pb2.MetricsSource.DESCRIPTOR, MetricsSource),
        example_count=metrics.example_count,
        accuracy=metrics.accuracy if metrics.HasField("accuracy") else None,
        accuracy_low=metrics.accuracy_low if metrics.HasField("accuracy_low") else None,
        accuracy_high=metrics.accuracy_high if metrics.HasField("accuracy_high") else None,
        log_loss=metrics.log_loss if metrics.HasField("log_loss") else None,
        confusion=tuple(
            ConfusionCell(actual=cell.actual, predicted=cell.predicted, count=cell.count)
            for cell in metrics.confusion
        ),
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
    )
