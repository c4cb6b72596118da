"""The messages of models, versions, aliases and backbones."""

from collections.abc import Iterable

from headstart.v1 import alias_event_pb2, energy_pb2, model_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.caller import is_operator
from headstart_server.api.grpc.messages.backbone_selection import choice_message
from headstart_server.api.grpc.messages.comparisons import promotion_message
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.api.grpc.messages.evaluations import metrics_message
from headstart_server.api.grpc.messages.recipes import recipe_message
from headstart_server.api.grpc.messages.retraining import policy_message
from headstart_server.api.grpc.messages.times import duration, optional_seconds, timestamp
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import InvalidField
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.models.alias_history import AliasEvent
from headstart_server.models.traffic import KEPT_SECONDS, Counts, Window
from headstart_server.models.version import Alias, Model, TrafficSplit, Version
from headstart_server.observability.energy import Energy


def energy_message(energy: Energy | None) -> energy_pb2.Energy | None:
    """Return the message of joules and grams of CO2; None if nothing was measured."""
    if energy is None:
        return None
    return message_of(
        energy,
        energy_pb2.Energy,
        joules=energy.total_joules,
        estimated=energy.is_estimated,
        joules_by_source=energy.joules,
    )


_DEFAULT_SECONDS = 3600.0


def window_seconds_of(request: pb.GetTrafficRequest) -> float:
    """Return the seconds of a request's window."""
    seconds = optional_seconds(request, "window_duration")
    if seconds is None:
        return _DEFAULT_SECONDS
    if not 0 < seconds <= KEPT_SECONDS:
        raise InvalidField(
            f"The window has {seconds:g} seconds. Choose more than 0 and at most {KEPT_SECONDS}.",
            field="window_duration",
        )
    return seconds


def traffic_message(window: Window) -> pb.GetTrafficResponse:
    """Return the message of the traffic of a model."""
    return pb.GetTrafficResponse(
        start_time=timestamp(window.start),
        end_time=timestamp(window.end),
        versions=[_version_message(number, window.versions[number]) for number in sorted(window.versions)],
        points=[
            pb.TrafficPoint(
                start_time=timestamp(each.start), request_count=each.requests, error_count=each.errors
            )
            for each in window.intervals
        ],
    )


def _version_message(number: int, counts: Counts) -> pb.VersionTraffic:
    return pb.VersionTraffic(
        version=number,
        request_count=counts.requests,
        error_count=counts.errors,
        input_count=counts.inputs,
        unknown_count=counts.unknowns,
        latency_p50_duration=duration(counts.latency(0.5)),
        latency_p90_duration=duration(counts.latency(0.9)),
        latency_p99_duration=duration(counts.latency(0.99)),
        sample_count=counts.samples,
        compared_count=counts.compared,
        agreed_count=counts.agreed,
        **counts.drift,
    )


MODALITIES = numbers_of(Modality, model_pb2.Modality)
_CLOSED_FORM = model_pb2.STOP_REASON_CLOSED_FORM
#: Schemes of backbones whose locations are names of public networks.
_PUBLIC_SCHEMES = {"keras", "kerashub", "hf", "timm", "features"}
_PROBLEM = "The backbone could not be prepared or loaded. The operator finds the reason in the log."


def model_message(model: Model) -> model_pb2.Model:
    """Return the message of a model."""
    return message_of(
        model,
        model_pb2.Model,
        model=model.name,
        newest_version=model.newest or None,
        aliases=map(alias_message, model.aliases),
        retrain=policy_message(model.retrain),
    )


def alias_message(alias: Alias) -> model_pb2.Alias:
    """Return the message of an alias."""
    return message_of(alias, model_pb2.Alias, alias=alias.name)


def alias_event_message(event: AliasEvent) -> alias_event_pb2.AliasEvent:
    """Return the message of a change of an alias."""
    return message_of(
        event,
        alias_event_pb2.AliasEvent,
        cause=event.mover.cause,
        principal=event.mover.principal,
        job_id=event.mover.job_id,
        previous_version=event.before,
        version=event.after,
        previous_traffic=event.traffic_before,
        traffic=event.traffic_after,
    )


def traffic_of(messages: Iterable[model_pb2.TrafficSplit]) -> list[TrafficSplit]:
    """Return the traffic shares of messages; their ranges are checked when they are set."""
    return [TrafficSplit(number=message.version, fraction=message.fraction) for message in messages]


def version_message(version: Version) -> model_pb2.Version:
    """Return the message of a version."""
    manifest = version.manifest
    lineage = message_of(
        manifest,
        model_pb2.Lineage,
        recipe=recipe_message(manifest.recipe),
        stop_reason=StopReason(manifest.stop_reason) if manifest.stop_reason else _CLOSED_FORM,
        fit_duration=manifest.fit_seconds,
        parent_version=manifest.parent or None,
        added_example_count=manifest.added_count,
        removed_example_count=manifest.removed_count,
        edited_example_count=manifest.edited_count,
        trained_blocks=manifest.tail.blocks if manifest.tail else 0,
    )
    return message_of(
        version,
        model_pb2.Version,
        display_name=manifest.display_name,
        tags=manifest.tags,
        class_names=manifest.class_names,
        metrics=metrics_message(manifest.metrics),
        lineage=lineage,
        task=manifest.task,
        thresholds=manifest.thresholds,
        promotion=promotion_message(version.promotion),
        backbone_selection=choice_message(manifest.backbone_selection),
        energy=energy_message(manifest.energy),
    )


def backbone_message(info: BackboneInfo, *, is_default: bool) -> model_pb2.Backbone:
    """Return the message of a backbone."""
    return message_of(
        info,
        model_pb2.Backbone,
        backbone=info.name,
        source=info.source if is_operator() else _public_source(info.source),
        default=is_default,
    )


def backbone_status_message(name: str, loaded: Embedder | None, problem: str) -> model_pb2.BackboneStatus:
    """Return the message of the status of a backbone on this replica.

    Args:
        loaded: the backbone's embedder; None if it is not loaded.
        problem: the error of the last attempt to prepare or load the backbone; empty for none.
    """
    return model_pb2.BackboneStatus(
        backbone=name,
        ready=loaded is not None,
        digest=loaded.digest if loaded else "",
        runtime=loaded.runtime if loaded else "",
        problem=problem if is_operator() or not problem else _PROBLEM,
    )


def _public_source(source: str) -> str:
    """Return a source without paths and URLs: the scheme, unless it names a public network."""
    scheme, colon, location = source.partition(":")
    is_public = (
        scheme in _PUBLIC_SCHEMES and not location.startswith(("/", ".", "~")) and "//" not in location
    )
    return source if not colon or is_public else scheme
