"""The decision to send traces, by the flag and the environment variables of OpenTelemetry."""

from collections.abc import Mapping

import structlog

from headstart_server.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def open_tracing(endpoint: str | None, environment: Mapping[str, str], software: str) -> Tracing:
    """Return the requested tracing; raise ModuleNotFoundError if the extra `otel` is not installed."""
    if not wants_traces(endpoint, environment):
        return NO_TRACING
    try:
        from headstart_server.observability.open_telemetry import OpenTelemetryTracing, otlp_provider  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = f"Traces need {error.name}: pip install 'headstart[otel]'."
        if endpoint is not None:
            raise ModuleNotFoundError(missing, name=error.name) from None
        # A cluster may set the variables in all its pods.
        log.warning("tracing_disabled", error=missing)
        return NO_TRACING
    return OpenTelemetryTracing(otlp_provider(endpoint, software))


def wants_traces(endpoint: str | None, environment: Mapping[str, str]) -> bool:
    """Return whether the flag or OpenTelemetry's environment variables request traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if endpoint is not None:
        return True
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in ("", "otlp"):
        if exporter != "none":
            log.warning(
                "tracing_disabled",
                error=f"Expected OTEL_TRACES_EXPORTER otlp or none. Received: {exporter!r}.",
            )
        return False
    if not exporter and not any(map(environment.get, _ENDPOINTS)):
        return False
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "grpc")
    if protocol != "grpc":
        log.warning("tracing_disabled", error=f"Expected {_PROTOCOLS[1]} grpc. Received: {protocol!r}.")
        return False
    return True
