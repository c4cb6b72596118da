"""Structured logs, and the recording of Prometheus metrics."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from headstart_server.lru import LruCache
from headstart_server.observability import metrics
from headstart_server.observability.call_metrics import CallMetrics
from headstart_server.observability.histogram import BoundedSeries
from headstart_server.observability.line_writer import LogStream
from headstart_server.observability.metrics import Metric, Read

log = structlog.get_logger(__name__)

#: Seconds between two records of the same text of the same logger.
QUIET_SECONDS = 10.0
#: Maximum texts to remember.
_MOST_KNOWN = 256


class LibraryLogs(logging.Handler):
    """Write records of the standard library's loggers to the structured log."""

    def __init__(
        self, quiet_seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        #: For each text, the time it was last written and the number of records omitted since.
        self._known: LruCache[tuple[str, str], tuple[float, int]] = LruCache(_MOST_KNOWN)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the same one was written a moment ago."""
        key = (record.name, str(record.msg)[:200])
        now = self._clock()
        written, omitted = self._known.get(key) or (float("-inf"), 0)
        if now - written < self._quiet_seconds:
            self._known.add(key, (written, omitted + 1))
            return
        self._known.add(key, (now, 0))
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a record whose arguments do not fit its text
            message = str(record.msg)
        fields: dict[str, Any] = {"logger": record.name, "message": message}
        if omitted:
            fields["repeated"] = omitted
        log.log(record.levelno, "library_log", exc_info=record.exc_info or None, **fields)


class _Named(Protocol):
    """An enum's member whose value is the value of a label."""

    @property
    def value(self) -> str: ...


class _Quality(Protocol):
    """The metrics of a version, which are defined in a room above this one."""

    @property
    def accuracy(self) -> float | None: ...

    @property
    def log_loss(self) -> float | None: ...


class Telemetry:
    """Record the metrics of `headstart_server.observability.metrics`, in one registry."""

    def __init__(self, software: str, versions: BoundedSeries | None = None) -> None:
        # Creation times would be a fifth of the series, and no rule or dashboard uses them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._versions = versions or BoundedSeries()
        # Finding a series by its labels takes longer than counting; their number is bounded.
        self._series: Callable[..., Any] = cache(lambda metric, *labels: metric.labels(*labels))
        metrics.BUILD_INFO.gauge(registry).labels(software).set(1)
        self._start = metrics.STARTUP.gauge(registry)
        self.calls = CallMetrics(registry)
        stages = metrics.PREDICT_STAGE.histogram(registry)
        self._observe_stage = cache(lambda stage: stages.labels(stage).observe)
        self._predictions = metrics.PREDICTIONS.counter(registry)
        self._canary_requests = metrics.CANARY_REQUESTS.counter(registry)
        self._canary_duration = metrics.CANARY_DURATION.histogram(registry)
        self._feature_drift = metrics.FEATURE_DRIFT.gauge(registry)
        self._prediction_drift = metrics.PREDICTION_DRIFT.gauge(registry)
        self._confidence_drift = metrics.CONFIDENCE_DRIFT.gauge(registry)
        self._shadow = metrics.SHADOW_PREDICTIONS.counter(registry)
        self._feedback = metrics.FEEDBACK.counter(registry)
        self._retrains = metrics.RETRAINS.counter(registry)
        self._captured = metrics.CAPTURED.counter(registry)
        self._captures_dropped = metrics.CAPTURES_DROPPED.counter(registry)
        self._batch_size = metrics.BATCH_SIZE.histogram(registry)
        self._batch_duration = metrics.BATCH_DURATION.histogram(registry)
        self._embedding_latency = metrics.EMBEDDING_LATENCY.histogram(registry)
        self._dropped = metrics.INPUTS_DROPPED.counter(registry)
        self._cache = metrics.CACHE_REQUESTS.counter(registry)
        self._cache_dropped = metrics.CACHE_WRITES_DROPPED.counter(registry)
        self._takeovers = metrics.JOB_TAKEOVERS.counter(registry)
        self._claims_failed = metrics.JOB_CLAIM_FAILURES.counter(registry)
        self._limited = metrics.JOB_LIMIT_FAILURES.counter(registry)
        self._job_ends = metrics.JOB_RUNS.counter(registry)
        self._webhooks = metrics.WEBHOOK_ATTEMPTS.counter(registry)
        self._steps = metrics.JOB_STEP.histogram(registry)
        self._published = metrics.VERSIONS_PUBLISHED.counter(registry)
        self._accuracy = metrics.VERSION_ACCURACY.gauge(registry)
        self._loss = metrics.VERSION_LOG_LOSS.gauge(registry)
        self._examples = metrics.VERSION_EXAMPLES.gauge(registry)

    def read(self, metric: Metric, read: Read) -> None:
        """Add a metric whose values are read at each scrape.

        Args:
            read: returns the value of each label value, or the one value. If it raises an error, the scrape
                omits the metric and the error is logged.
        """
        self.registry.register(_Read(metric, read))

    def serving_started(self, seconds: float) -> None:
        """Record the seconds from the start of the process until it served."""
        self._start.set(seconds)

    def predicted(self, stages: Mapping[str, float], versions: Mapping[tuple[str, int], int]) -> None:
        """Record a Predict: the seconds of its stages, and its inputs by (model, version)."""
        for stage, seconds in stages.items():
            self._observe_stage(stage)(seconds)
        for (model, version), inputs in versions.items():
            self._versions.series(self._predictions, model, version).inc(inputs)

    def canary_call_ended(self, versions: Iterable[tuple[str, int]], code: str, seconds: float) -> None:
        """Record a Predict on aliases with a traffic split, by the versions that were chosen."""
        for model, version in versions:
            self._versions.canary_series(self._canary_requests, model, version, code).inc()
            self._versions.canary_series(self._canary_duration, model, version).observe(seconds)

    def feature_drift_measured(self, model: str, version: int, drift: float) -> None:
        """Record the distance between the means of recent inputs and of training examples."""
        self._versions.series(self._feature_drift, model, version).set(drift)

    def prediction_drift_measured(
        self, model: str, version: int, drift: float, confidence: float | None
    ) -> None:
        """Record the drift of a version's predictions, and of their confidence."""
        self._versions.series(self._prediction_drift, model, version).set(drift)
        if confidence is not None:
            self._versions.series(self._confidence_drift, model, version).set(confidence)

    def shadow_compared(self, model: str, shadow: int, agreed: int, differed: int) -> None:
        """Record on how many inputs the shadow agreed with the served version."""
        self._versions.series(self._shadow, model, shadow, "true").inc(agreed)
        self._versions.series(self._shadow, model, shadow, "false").inc(differed)

    def feedback_sent(self, outcome: str) -> None:
        """Count feedback."""
        self._series(self._feedback, outcome).inc()

    def retrain_considered(self, outcome: str) -> None:
        """Count a retrain that was submitted, or failed before that."""
        self._series(self._retrains, outcome).inc()

    def inputs_captured(self, reasons: Mapping[str, int]) -> None:
        """Record inputs that were stored for review, by condition."""
        for reason, count in reasons.items():
            self._series(self._captured, reason).inc(count)

    def captures_dropped(self, cause: str, count: int) -> None:
        """Record inputs that were lost for review."""
        self._series(self._captures_dropped, cause).inc(count)

    def batch_ran(self, lane: _Named, rows: int, seconds: float, slowest: float) -> None:
        """Record a batch; `slowest` is the latency of its slowest row, from arrival to end."""
        label = lane.value
        self._series(self._batch_size, label).observe(rows)
        self._series(self._batch_duration, label).observe(seconds)
        self._series(self._embedding_latency, label).observe(slowest)

    def inputs_dropped(self, lane: _Named, count: int, reason: str) -> None:
        """Count inputs that left a queue before they ran; the reason is `expired` or `abandoned`."""
        self._series(self._dropped, lane.value, reason).inc(count)

    def cache_looked_up(self, outcome: _Named, count: int) -> None:
        """Count requests for cached features with the same outcome."""
        self._series(self._cache, outcome.value).inc(count)

    def cache_writes_dropped(self, count: int) -> None:
        """Count features that were not written to disk."""
        self._cache_dropped.labels().inc(count)

    def job_taken_over(self) -> None:
        """Count a job that was taken over from another process."""
        self._takeovers.labels().inc()

    def claim_failed(self) -> None:
        """Count a claim that failed."""
        self._claims_failed.labels().inc()

    def job_limited(self, reason: str) -> None:
        """Count a run that reached a limit of time or memory."""
        self._series(self._limited, reason).inc()

    def job_ended(self, outcome: str) -> None:
        """Count a run that ended."""
        self._series(self._job_ends, outcome).inc()

    def webhook_attempted(self, outcome: str) -> None:
        """Count an attempt to send a webhook."""
        self._series(self._webhooks, outcome).inc()

    def step_finished(self, step: str, seconds: float) -> None:
        """Record the time of a job's step."""
        self._series(self._steps, step).observe(seconds)

    def version_published(self, model: str, version: int, metrics: _Quality, example_count: int) -> None:
        """Record the quality of a published version; only a model's newest has series."""
        del version
        self._versions.series(self._published, model).inc()
        self._versions.series(self._examples, model).set(example_count)
        if metrics.accuracy is not None:
            self._versions.series(self._accuracy, model).set(metrics.accuracy)
        if metrics.log_loss is not None:
            self._versions.series(self._loss, model).set(metrics.log_loss)


def process_age() -> float:
    """Return the seconds since this process started."""
    # proc(5): field 22 is the start, in ticks since boot. The name of the program may contain anything; the
    # fields after it are numbered from 3.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


class _Read(Collector):
    def __init__(self, metric: Metric, read: Read) -> None:
        self._metric, self._read = metric, read

    def collect(self) -> list[PrometheusMetric]:
        try:
            return [self._metric.family(self._read)]
        except Exception:
            log.exception("metric_read_failed", metric=self._metric.name)
            return [self._metric.family()]

    def describe(self) -> list[PrometheusMetric]:
        return [self._metric.family()]


def configure_logs(*, level: str, json: bool, process: str = "") -> None:
    """Send this process's logs to stderr, one event per line.

    A line that cannot be written is dropped. The next line has the number of dropped lines.

    Args:
        level: the minimum level, such as `info`.
        json: whether a line is a JSON object, for machines, or text, for people.
        process: the name of this process in each line; empty for none.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    stream = LogStream(sys.stderr)
    shared.append(_with_dropped(stream))
    if process:
        shared.append(_named(process))
    if json:
        final: list[Any] = [_tracebacks(), structlog.processors.JSONRenderer()]
    else:
        # Rich's tracebacks, the default where Rich is installed, print the values of variables.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        final = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, sort_keys=False)]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    # They report connections that break while they are closed, with a traceback each, and every damaged form.
    # Calls report both.
    for name in ("sqlalchemy.pool", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[LibraryLogs()], force=True)
    logging.captureWarnings(True)


def _with_dropped(stream: LogStream) -> Any:
    def add(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
        if stream.dropped:
            event["dropped_lines"] = stream.dropped
        return event

    return add


def _named(process: str) -> Any:
    def add(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("process", process)
        return event

    return add


def _tracebacks() -> Any:
    # Without the values of variables: they are callers' images, texts and labels.
    return structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
