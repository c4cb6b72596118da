"""Lists as names and CSV columns."""

from collections.abc import Iterable
from datetime import timedelta

from headstart.cli.output.formats import Listing, listing
from headstart.results import Alias, AliasEvent, Backbone, JobStatus, Model, Traffic, Version


def model_listing(models: Iterable[Model]) -> Listing:
    """Return models."""
    return listing(
        models,
        lambda each: each.model,
        {
            "model": lambda each: each.model,
            "newest_version": lambda each: each.newest_version,
            "version_count": lambda each: each.version_count,
            "aliases": lambda each: " ".join(f"{alias.alias}={alias.version}" for alias in each.aliases),
            "create_time": lambda each: each.create_time,
        },
    )


def version_listing(versions: Iterable[Version]) -> Listing:
    """Return versions."""
    return listing(
        versions,
        lambda each: f"{each.model}@{each.version}",
        {
            "model": lambda each: each.model,
            "version": lambda each: each.version,
            "accuracy": lambda each: each.metrics.accuracy,
            "mean_absolute_error": lambda each: each.metrics.mean_absolute_error,
            "metrics_source": lambda each: each.metrics.source,
            "example_count": lambda each: each.lineage.example_count,
            "class_count": lambda each: len(each.class_names),
            "backbone": lambda each: each.lineage.backbone,
            "aliases": lambda each: " ".join(each.aliases),
            "display_name": lambda each: each.display_name,
            "create_time": lambda each: each.create_time,
        },
    )


def alias_listing(model: str, aliases: Iterable[Alias]) -> Listing:
    """Return the aliases of a model."""
    return listing(
        aliases,
        lambda each: f"{model}@{each.alias}",
        {
            "model": lambda _: model,
            "alias": lambda each: each.alias,
            "version": lambda each: each.version,
            "traffic": lambda each: " ".join(f"{number}={part}" for number, part in each.traffic.items()),
            "update_time": lambda each: each.update_time,
            "etag": lambda each: each.etag,
        },
    )


def alias_event_listing(events: Iterable[AliasEvent]) -> Listing:
    """Return moves of aliases."""
    return listing(
        events,
        lambda each: f"{each.model}@{each.alias}",
        {
            "model": lambda each: each.model,
            "alias": lambda each: each.alias,
            "event_time": lambda each: each.event_time,
            "cause": lambda each: each.cause,
            "principal": lambda each: each.principal,
            "job_id": lambda each: each.job_id,
            "previous_version": lambda each: each.previous_version,
            "version": lambda each: each.version,
        },
    )


def traffic_listing(model: str, traffic: Traffic) -> Listing:
    """Return the traffic of a model's versions."""
    return listing(
        traffic.versions,
        lambda each: f"{model}@{each.version}",
        {
            "model": lambda _: model,
            "version": lambda each: each.version,
            "request_count": lambda each: each.request_count,
            "error_count": lambda each: each.error_count,
            "input_count": lambda each: each.input_count,
            "unknown_count": lambda each: each.unknown_count,
            "latency_p50_seconds": lambda each: _seconds(each.latency_p50_duration),
            "latency_p90_seconds": lambda each: _seconds(each.latency_p90_duration),
            "latency_p99_seconds": lambda each: _seconds(each.latency_p99_duration),
            "feature_drift": lambda each: each.feature_drift,
            "prediction_drift": lambda each: each.prediction_drift,
            "confidence_drift": lambda each: each.confidence_drift,
            "compared_count": lambda each: each.compared_count,
            "agreed_count": lambda each: each.agreed_count,
        },
    )


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def job_listing(jobs: Iterable[JobStatus]) -> Listing:
    """Return jobs."""
    return listing(
        jobs,
        lambda each: each.job_id,
        {
            "job_id": lambda each: each.job_id,
            "model": lambda each: each.spec.model,
            "state": lambda each: each.state,
            "version": lambda each: each.version,
            "create_time": lambda each: each.create_time,
            "end_time": lambda each: each.end_time,
        },
    )


def backbone_listing(backbones: Iterable[Backbone]) -> Listing:
    """Return backbones."""
    return listing(
        backbones,
        lambda each: each.backbone,
        {
            "backbone": lambda each: each.backbone,
            "modality": lambda each: each.modality,
            "default": lambda each: each.default,
            "ready": lambda each: each.status.ready,
            "parameter_count": lambda each: each.parameter_count,
            "source": lambda each: each.source,
            "license": lambda each: each.license,
        },
    )
