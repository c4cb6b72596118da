"""The messages of the traffic of versions."""

from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.messages.common import duration, optional_seconds, timestamp
from headstart_server.errors import InvalidField
from headstart_server.models.traffic import KEPT_SECONDS, Counts, Window

_DEFAULT_SECONDS = 3600.0


def window_seconds_of(request: pb.GetTrafficRequest) -> float:
    """Return the seconds of the window that a request wants."""
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
