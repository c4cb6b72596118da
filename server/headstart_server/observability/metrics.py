"""Every Prometheus metric of the server. `make pages` generates docs/reference/metrics.md from this file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from headstart_server.observability.counter import Counter
from headstart_server.observability.histogram import Histogram

#: Bounds of durations, in seconds.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: Bounds of batch sizes, in inputs.
_INPUTS = (1, 2, 4, 8, 16, 32, 64)
# Few, because each version with canary traffic has a series for each bound: they are most of a scrape.
_CANARY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

#: Values of a metric by the value of its label, or its one value.
Read = Callable[[], Mapping[str, float] | float]


class Kind(Enum):
    """A type of Prometheus metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """Rule for merging the values of a server's processes; counts are always added."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    #: The largest magnitude, with its sign.
    LARGEST = "largest"


@dataclass(frozen=True)
class Metric:
    """The declaration of a metric.

    Args:
        name: the name, with the unit and, for counters, `_total` at its end.
        values: all values of its last label, where the server's code determines them.
        condition: when the server has this metric; empty for always.
        merge: rule for merging the values of several processes.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS
    condition: str = ""
    merge: Merge = Merge.SUM

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Create the counter; its series with known label values begin at 0."""
        metric = Counter(self.name, self.help, self.labels, registry=registry)
        # To Prometheus a series that begins at 1 is no increase, so the first event would be lost.
        if not self.labels:
            metric.labels()
        elif len(self.labels) == 1:
            for value in self.values:
                metric.labels(value)
        return metric

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Create the gauge."""
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Create the histogram."""
        return Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)

    def family(self, read: Read | None = None) -> GaugeMetricFamily | CounterMetricFamily:
        """Return the metric with the values that a function returns, or without values."""
        create = CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily
        family = create(self.name, self.help, labels=self.labels)
        values = {} if read is None else read()
        if isinstance(values, Mapping):
            for label, value in values.items():
                family.add_metric([label], value)
        else:
            family.add_metric([], values)
        return family


_METHOD = ("grpc_type", "grpc_service", "grpc_method")
_VERSION = ("model", "version")
_MONITORING = "with `--monitor-sample-rate`"
_LANES = ("predict", "train")
_ACCESS = "with an access file, for the 20 tenants that store the most"
_GPU = "with an NVIDIA GPU and the extra `gpu`"


def _counter(name: str, text: str, *labels: str, values: tuple[str, ...] = (), condition: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, values, condition=condition)


def _gauge(
    name: str,
    text: str,
    *labels: str,
    values: tuple[str, ...] = (),
    condition: str = "",
    merge: Merge = Merge.MAX,
) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels, values, condition=condition, merge=merge)


def _histogram(
    name: str, text: str, *labels: str, values: tuple[str, ...] = (), buckets: tuple[float, ...] = SECONDS
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, values, buckets)


# Calls: names and labels are those of the Prometheus interceptors of gRPC.
GRPC_STARTED = _counter("grpc_server_started_total", "Calls started.", *_METHOD)
GRPC_HANDLED = _counter(
    "grpc_server_handled_total", "Calls completed, by gRPC status code.", *_METHOD, "grpc_code"
)
GRPC_HANDLING = _histogram(
    "grpc_server_handling_seconds", "Time from the start to the end of a call.", *_METHOD
)
GRPC_RECEIVED = _counter("grpc_server_msg_received_total", "Request messages received and parsed.", *_METHOD)
GRPC_SENT = _counter("grpc_server_msg_sent_total", "Response messages sent.", *_METHOD)

# The process.
BUILD_INFO = _gauge("headstart_build_info", "Always 1; the label has the release of the server.", "version")
STARTUP = _gauge(
    "headstart_startup_seconds",
    "Time from the start of the process until it was ready; 0 while one of the server's processes starts.",
)
CPU_CORES = _gauge("headstart_cpu_cores", "Processor cores that the server may use.")
MEMORY = _gauge(
    "headstart_memory_bytes",
    "Memory used by a component.",
    "component",
    values=("feature_cache", "version_cache", "influence"),
    merge=Merge.SUM,
)
DISK = _gauge(
    "headstart_disk_bytes",
    "Disk or bucket space used by a component; `examples` include datasets and feedback.",
    "component",
    values=("feature_cache", "examples", "datasets", "feedback", "captured_inputs"),
)
DISK_FULL = _gauge(
    "headstart_disk_full",
    "1 while writes fail because the disk, or its quota, is full; otherwise 0.",
    "place",
    values=("artifacts", "database"),
)
DATABASE_AVAILABLE = _gauge(
    "headstart_database_available",
    "1 while the database is available to this server; 0 during an outage.",
    merge=Merge.MIN,
)
STORAGE_AVAILABLE = _gauge(
    "headstart_storage_available",
    "1 while the bucket is available to this server, or if artifacts are in a folder; 0 during an outage.",
    merge=Merge.MIN,
)
ENERGY = _counter(
    "headstart_energy_joules_total",
    "Energy used by this server, by source of the measurement; cpu_time is an estimate.",
    "source",
    values=("rapl", "nvml", "cpu_time"),
)
GPU_UTILIZATION = _gauge(
    "headstart_gpu_utilization_ratio",
    "Fraction of the last second in which the GPU was busy, for any process.",
    "device",
    condition=_GPU,
)
GPU_MEMORY_USED = _gauge(
    "headstart_gpu_memory_used_bytes", "GPU memory in use, by any process.", "device", condition=_GPU
)
GPU_MEMORY = _gauge("headstart_gpu_memory_size_bytes", "GPU memory installed.", "device", condition=_GPU)

# Predictions.
PREDICTIONS = _counter("headstart_predictions_total", "Inputs predicted.", *_VERSION)
PREDICT_STAGE = _histogram(
    "headstart_predict_stage_duration_seconds",
    "Time of each stage of a Predict call.",
    "stage",
    values=("resolve", "decode", "queue", "backbone", "head"),
)
CANARY_REQUESTS = _counter(
    "headstart_canary_requests_total",
    "Predict calls to an alias with a traffic split, by version that answered and gRPC status code.",
    *_VERSION,
    "grpc_code",
)
CANARY_DURATION = _histogram(
    "headstart_canary_request_duration_seconds",
    "Time of a Predict call to an alias with a traffic split.",
    *_VERSION,
    buckets=_CANARY_SECONDS,
)
RESIDENT_VERSIONS = _gauge("headstart_resident_versions", "Versions loaded in memory.")

DATASETS = _gauge(
    "headstart_datasets", "Named datasets, at the last cleaning.", "state", values=("open", "ready")
)
STORED_CAPTURES = _gauge("headstart_stored_captures", "Captured inputs in storage, at the last cleaning.")
WAITING_FEEDBACK = _gauge(
    "headstart_waiting_feedback",
    "Feedback that no version has learned, at the last cleaning.",
    "state",
    values=("pending", "training"),
)
FEEDBACK = _counter(
    "headstart_feedback_total",
    "Feedback that was sent: accepted, repeated, or replaced earlier feedback.",
    "outcome",
    values=("accepted", "repeated", "replaced"),
)
RETRAINS = _counter(
    "headstart_retrains_total",
    "Automatic retrains: submitted as a job, or failed before that.",
    "outcome",
    values=("submitted", "failed"),
)
CAPTURED = _counter(
    "headstart_captured_inputs_total",
    "Inputs stored for review, by condition that selected them; several conditions may select one.",
    "reason",
    values=("random", "low_margin", "low_typicality", "rare_class", "shadow_disagreement"),
)
CAPTURES_DROPPED = _counter(
    "headstart_captures_dropped_total",
    "Predictions not considered, or selected inputs not stored, by cause. The predictions succeeded.",
    "cause",
    values=("queue_full", "storage_failed", "quota_full"),
)

# Drift.
FEATURE_DRIFT = _gauge(
    "headstart_feature_drift",
    "Distance between the means of recent inputs and of training examples, in standard deviations.",
    *_VERSION,
    condition=_MONITORING,
)
PREDICTION_DRIFT = _gauge(
    "headstart_prediction_drift_psi",
    "Population stability index of recent predictions against those of the evaluation.",
    *_VERSION,
    condition=_MONITORING,
)
CONFIDENCE_DRIFT = _gauge(
    "headstart_confidence_drift",
    "Mean confidence of recent predictions minus that of the evaluation.",
    *_VERSION,
    condition=_MONITORING,
    merge=Merge.LARGEST,
)
SHADOW_PREDICTIONS = _counter(
    "headstart_shadow_predictions_total",
    "Inputs predicted by the shadow version, by agreement with the served version.",
    *_VERSION,
    "agrees",
    values=("true", "false"),
    condition=_MONITORING,
)

# Backbones.
QUEUE_DEPTH = _gauge(
    "headstart_queue_depth", "Inputs that wait for a backbone.", "lane", values=_LANES, merge=Merge.SUM
)
BATCH_SIZE = _histogram(
    "headstart_batch_size", "Inputs in a backbone batch.", "lane", values=_LANES, buckets=_INPUTS
)
BATCH_DURATION = _histogram(
    "headstart_batch_duration_seconds", "Time of a backbone batch.", "lane", values=_LANES
)
EMBEDDING_LATENCY = _histogram(
    "headstart_embedding_latency_seconds",
    "Time from the arrival of an input in its queue to its features, for the slowest input of each batch.",
    "lane",
    values=_LANES,
)
INPUTS_DROPPED = _counter(
    "headstart_inputs_dropped_total",
    "Inputs removed from a queue before they ran: their deadline expired, or their call ended.",
    "lane",
    "reason",
    values=("expired", "abandoned"),
)
CACHE_REQUESTS = _counter(
    "headstart_feature_cache_requests_total",
    "Features requested from the cache: found in memory, found on disk, or missing.",
    "outcome",
    values=("memory", "disk", "miss"),
)
CACHE_WRITES_DROPPED = _counter(
    "headstart_feature_cache_writes_dropped_total",
    "Features not written to disk, because the disk is full, failing or too slow.",
)

# Jobs.
JOBS = _gauge(
    "headstart_jobs",
    "Jobs in the shared database, by state; every replica reports the same numbers.",
    "state",
    values=("queued", "running", "succeeded", "failed", "cancelled"),
)
JOB_RUNS = _counter(
    "headstart_job_runs_total",
    "Job runs that ended on this server: released at a shutdown, postponed after a storage failure, "
    "or lost to another replica.",
    "outcome",
    values=("succeeded", "failed", "cancelled", "released", "postponed", "lost"),
)
JOB_TAKEOVERS = _counter(
    "headstart_job_takeovers_total", "Jobs taken over from a replica that crashed or lost its database."
)
JOB_CLAIM_FAILURES = _counter(
    "headstart_job_claim_failures_total",
    "Failed attempts to claim jobs, and jobs that failed because their rows are unreadable.",
)
JOB_LIMIT_FAILURES = _counter(
    "headstart_job_limit_failures_total",
    "Job runs that failed at a limit of time or memory.",
    "reason",
    values=("JOB_TIME_LIMIT", "JOB_MEMORY_LIMIT"),
)
JOB_STEP = _histogram(
    "headstart_job_step_duration_seconds",
    "Time of a step of a job.",
    "step",
    values=("select_backbone", "features", "fit", "evaluate", "publish"),
)
JOB_MEMORY = _gauge(
    "headstart_job_memory_estimated_bytes", "Estimated memory of the running jobs and the fits of erasures."
)
JOB_MEMORY_LIMIT = _gauge("headstart_job_memory_limit_bytes", "Memory that running jobs may use together.")
WEBHOOK_ATTEMPTS = _counter(
    "headstart_webhook_attempts_total",
    "Attempts to send a webhook: delivered, failed (and retried later), or given up after the last attempt.",
    "outcome",
    values=("delivered", "failed", "given_up"),
)

# Versions and tenants.
VERSIONS_PUBLISHED = _counter("headstart_versions_published_total", "Versions published.", "model")
VERSION_ACCURACY = _gauge(
    "headstart_version_accuracy", "Out-of-fold or held-out accuracy of the newest version, 0 to 1.", "model"
)
VERSION_LOG_LOSS = _gauge(
    "headstart_version_log_loss", "Out-of-fold or held-out log loss of the newest version, in nats.", "model"
)
VERSION_EXAMPLES = _gauge("headstart_version_examples", "Training examples of the newest version.", "model")
TENANT_BYTES = _gauge(
    "headstart_tenant_stored_bytes", "Bytes that a tenant stores.", "tenant", condition=_ACCESS
)
TENANT_VERSIONS = _gauge(
    "headstart_tenant_versions", "Versions that a tenant stores.", "tenant", condition=_ACCESS
)

#: All metrics, in the order of this file.
METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
