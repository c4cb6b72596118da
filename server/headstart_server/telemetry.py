"""What operators see: structured logs and Prometheus metrics."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headstart_server.call_metrics import SECONDS, CallMetrics
from headstart_server.library_logs import LibraryLogs
from headstart_server.series import BoundedSeries

log = structlog.get_logger(__name__)

_JOB_OUTCOMES = ("succeeded", "failed", "cancelled", "given_back", "put_off", "lost")
_CACHE_OUTCOMES = ("memory", "disk", "miss")
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class _Named(Protocol):
    """What has a value, such as an enum's member."""

    @property
    def value(self) -> str: ...


class Telemetry:
    """Counts and times everything worth watching, in a registry of its own.

    Names follow the Prometheus conventions and, for calls, those of the gRPC interceptors of the field.

    Args:
        software: the version of this software.
        versions: finds the series of models and versions.
    """

    def __init__(self, software: str, versions: BoundedSeries | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._versions = versions or BoundedSeries()
        # Finding a series by its labels takes longer than counting; there is a bounded number of them.
        self._series: Callable[..., Any] = cache(lambda metric, *labels: metric.labels(*labels))
        build = Gauge("headstart_build_info", "1, labelled with the version.", ["version"], registry=registry)
        build.labels(software).set(1)
        self._start = Gauge(
            "headstart_start_seconds",
            "Time from the start of the process until it served; 0 before.",
            registry=registry,
        )
        #: Of gRPC calls.
        self.calls = CallMetrics(registry)
        self._stages = Histogram(
            "headstart_predict_stage_seconds",
            "Time of each stage of a Predict call.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._predictions = Counter(
            "headstart_predictions_total",
            "Inputs answered, by model and version.",
            ["model", "version"],
            registry=registry,
        )
        self._shared_calls = Counter(
            "headstart_shared_alias_calls_total",
            "Predict calls for aliases that give others a share, by the version that got them and gRPC code.",
            ["model", "version", "grpc_code"],
            registry=registry,
        )
        self._shared_seconds = Histogram(
            "headstart_shared_alias_call_seconds",
            "Time of these calls.",
            ["model", "version"],
            buckets=SECONDS,
            registry=registry,
        )
        self._shift = Gauge(
            "headstart_feature_shift",
            "Distance of the mean of a version's inputs from that of its training examples, in their spread.",
            ["model", "version"],
            registry=registry,
        )
        self._answer_shift = Gauge(
            "headstart_answer_shift",
            "Population stability index of a version's predictions against those of its evaluation.",
            ["model", "version"],
            registry=registry,
        )
        self._confidence_shift = Gauge(
            "headstart_confidence_shift",
            "Mean probability of a version's answers less that of the answers it was evaluated by.",
            ["model", "version"],
            registry=registry,
        )
        self._shadow = Counter(
            "headstart_shadow_answers_total",
            "Inputs for which a shadow and the served version predicted the same, or not.",
            ["model", "shadow", "agrees"],
            registry=registry,
        )
        self._batch_rows = Histogram(
            "headstart_batch_rows", "Rows in each backbone batch.", ["lane"], buckets=_ROWS, registry=registry
        )
        self._batch_seconds = Histogram(
            "headstart_batch_seconds",
            "Time of each backbone batch.",
            ["lane"],
            buckets=SECONDS,
            registry=registry,
        )
        self._row_seconds = Histogram(
            "headstart_row_seconds",
            "Time from an input's arrival in a lane to its features, of the slowest input of each batch.",
            ["lane"],
            buckets=SECONDS,
            registry=registry,
        )
        self._dropped = Counter(
            "headstart_rows_dropped_total",
            "Inputs that left a queue unrun, by cause.",
            ["lane", "cause"],
            registry=registry,
        )
        self._cache = Counter(
            "headstart_feature_cache_total",
            "Look-ups in the feature cache, by outcome: found in memory, on disk, or not.",
            ["outcome"],
            registry=registry,
        )
        self._cache_dropped = Counter(
            "headstart_feature_cache_writes_dropped_total",
            "Features that were not written to disk: too many waited, or the disk is full or fails.",
            registry=registry,
        )
        self._taken_over = Counter(
            "headstart_jobs_taken_over_total",
            "Jobs that this replica took over from one that had died or fallen silent.",
            registry=registry,
        )
        self._claims_failed = Counter(
            "headstart_job_claim_failures_total",
            "Claims of jobs that failed, and jobs that failed because their rows cannot be read.",
            registry=registry,
        )
        self._limited = Counter(
            "headstart_job_limits_total",
            "Runs of jobs that failed because they reached a limit of time or memory, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in ("JOB_TIME_LIMIT", "JOB_MEMORY_LIMIT"):
            self._series(self._limited, reason)
        self._job_ends = Counter(
            "headstart_job_runs_total", "Runs of jobs that ended, by outcome.", ["outcome"], registry=registry
        )
        # A series that begins at 1 is no increase to Prometheus: the first failure would go unseen.
        for outcome in _JOB_OUTCOMES:
            self._series(self._job_ends, outcome)
        for outcome in _CACHE_OUTCOMES:
            self._series(self._cache, outcome)
        self._webhooks = Counter(
            "headstart_webhooks_total",
            "POSTs that tell of a job's end, by what became of each try.",
            ["outcome"],
            registry=registry,
        )
        self._steps = Histogram(
            "headstart_job_step_seconds",
            "Time of each step of a job.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self._published = Counter(
            "headstart_versions_published_total",
            "Versions published, by model.",
            ["model"],
            registry=registry,
        )
        self._accuracy = Gauge(
            "headstart_version_accuracy",
            "Out-of-fold or held-out accuracy of the newest version.",
            ["model"],
            registry=registry,
        )
        self._loss = Gauge(
            "headstart_version_log_loss",
            "Out-of-fold or held-out log loss of the newest version, in nats.",
            ["model"],
            registry=registry,
        )
        self._examples = Gauge(
            "headstart_version_examples",
            "Examples the newest version was trained on.",
            ["model"],
            registry=registry,
        )

    def gauge(self, name: str, description: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Show values that are read whenever the metrics are scraped.

        Args:
            name: of the metric.
            description: of the metric.
            label: the one label.
            read: gives the value of each label value; what it raises is left out of the scrape and logged.
        """
        self.registry.register(_Read(GaugeMetricFamily, name, description, label, read))

    def flag(self, name: str, description: str, read: Callable[[], bool]) -> None:
        """Show a fact that is read whenever the metrics are scraped, as 1 or 0."""
        Gauge(name, description, registry=self.registry).set_function(lambda: float(read()))

    def counter(
        self, name: str, description: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """As `gauge`, of values that only go up."""
        self.registry.register(_Read(CounterMetricFamily, name, description, label, read))

    def began_to_serve(self, seconds: float) -> None:
        """The server serves, some seconds after its process was started."""
        self._start.set(seconds)

    def predicted(self, stages: Mapping[str, float], versions: Mapping[tuple[str, int], int]) -> None:
        """A Predict call was answered: seconds of each stage, and inputs by (model, version)."""
        for stage, seconds in stages.items():
            self._series(self._stages, stage).observe(seconds)
        for (model, version), inputs in versions.items():
            self._versions.of(self._predictions, model, version).inc(inputs)

    def shared_call_ended(self, versions: Iterable[tuple[str, int]], code: str, seconds: float) -> None:
        """A Predict for aliases that give others a share ended; versions are those that were chosen."""
        for model, version in versions:
            self._versions.of_canary(self._shared_calls, model, version, code).inc()
            self._versions.of_canary(self._shared_seconds, model, version).observe(seconds)

    def features_shifted(self, model: str, version: int, shift: float) -> None:
        """The mean of a version's inputs lies so far from that of its training examples."""
        self._versions.of(self._shift, model, version).set(shift)

    def answers_shifted(self, model: str, version: int, shift: float, confidence: float | None) -> None:
        """A version's answers have moved so far from those it was evaluated by, and their probability."""
        self._versions.of(self._answer_shift, model, version).set(shift)
        if confidence is not None:
            self._versions.of(self._confidence_shift, model, version).set(confidence)

    def shadow_answered(self, model: str, shadow: int, agreed: int, differed: int) -> None:
        """A shadow told the same of some inputs, and something else of others."""
        self._versions.of(self._shadow, model, shadow, "yes").inc(agreed)
        self._versions.of(self._shadow, model, shadow, "no").inc(differed)

    def batch_ran(self, lane: _Named, rows: int, seconds: float, slowest: float) -> None:
        """A batch of some rows ran for some seconds; its slowest row took `slowest` from arrival to end."""
        self._series(self._batch_rows, lane.value).observe(rows)
        self._series(self._batch_seconds, lane.value).observe(seconds)
        self._series(self._row_seconds, lane.value).observe(slowest)

    def rows_dropped(self, lane: _Named, rows: int, cause: str) -> None:
        """Rows left a queue unrun."""
        self._series(self._dropped, lane.value, cause).inc(rows)

    def cache_looked_up(self, outcome: _Named, count: int) -> None:
        """The feature cache was asked for some features, with the same outcome."""
        self._series(self._cache, outcome.value).inc(count)

    def cache_writes_dropped(self, count: int) -> None:
        """Some features were not written to disk."""
        self._cache_dropped.inc(count)

    def job_taken_over(self) -> None:
        """A job was taken over from another process."""
        self._taken_over.inc()

    def claim_failed(self) -> None:
        """Count a claim that failed."""
        self._claims_failed.inc()

    def job_limited(self, reason: str) -> None:
        """Count a run that reached a limit of time or memory."""
        self._series(self._limited, reason).inc()

    def job_ended(self, outcome: str) -> None:
        """A run of a job ended."""
        self._series(self._job_ends, outcome).inc()

    def webhook_tried(self, outcome: str) -> None:
        """A POST that tells of a job's end was tried."""
        self._series(self._webhooks, outcome).inc()

    def step_finished(self, step: str, seconds: float) -> None:
        """A step of a job took some seconds."""
        self._series(self._steps, step).observe(seconds)

    def version_published(self, model: str, version: int, metrics: Any, example_count: int) -> None:
        """A version was published; metrics have `accuracy` and `log_loss`, each a float or None."""
        del version  # the newest is the one that is shown
        self._versions.of(self._published, model).inc()
        self._versions.of(self._examples, model).set(example_count)
        if metrics.accuracy is not None:
            self._versions.of(self._accuracy, model).set(metrics.accuracy)
        if metrics.log_loss is not None:
            self._versions.of(self._loss, model).set(metrics.log_loss)


def process_age() -> float:
    """Seconds since this process was started (proc(5): field 22 of /proc/PID/stat, in ticks since boot)."""
    # The name of the program may hold anything; the fields after it are numbered from 3.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]


class _Read(Collector):
    def __init__(
        self,
        family: _Family,
        name: str,
        description: str,
        label: str,
        read: Callable[[], Mapping[str, float]],
    ) -> None:
        self._family = family
        self._name, self._description, self._label, self._read = name, description, label, read

    def collect(self) -> list[Metric]:
        family = self._family(self._name, self._description, labels=[self._label])
        try:
            for value, number in self._read().items():
                family.add_metric([value], number)
        except Exception:
            log.exception("metric_not_read", metric=self._name)
        return [family]

    def describe(self) -> list[Metric]:
        return [self._family(self._name, self._description, labels=[self._label])]


def configure_logs(*, level: str, json: bool) -> None:
    """Send this process's logs to stderr, one event a line.

    Args:
        level: the lowest level shown, such as `info`.
        json: whether a line is a JSON object, for machines, or text, for people.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # It reports, with a traceback each, connections that break while it closes them; calls tell of those.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[LibraryLogs()], force=True)
    logging.captureWarnings(True)


def _tracebacks() -> Any:
    # Without the values of variables: they are callers' pictures, texts and labels.
    return structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
