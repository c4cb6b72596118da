"""Metrics whose values are read from the objects of a server at each scrape."""

from headstart_server.app.build import Objects
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.database.database import PLACE as DATABASE_PLACE
from headstart_server.embedding.queue import Lane
from headstart_server.observability import metrics
from headstart_server.observability.power import gpu_gauges
from headstart_server.storage.circuit_breaker import FULL_DISKS
from headstart_server.storage.disk import PLACE as ARTIFACTS_PLACE


def add_gauges(objects: Objects) -> None:
    """Add the metrics of a server."""
    read = objects.telemetry.read
    cores = float(available_cores())
    read(metrics.CPU_CORES, lambda: cores)
    read(metrics.ENERGY, objects.energy.totals)
    for metric, values in ({} if objects.gpus is None else gpu_gauges(objects.gpus)).items():
        read(metric, values)
    read(metrics.QUEUE_DEPTH, lambda: _queue_depth(objects))
    read(metrics.RESIDENT_VERSIONS, lambda: float(len(objects.resident)))
    if objects.part.runs_jobs:
        _add_jobs(objects)
    _add_storage(objects)


def _add_jobs(objects: Objects) -> None:
    read = objects.telemetry.read
    read(metrics.JOBS, objects.job_counts)
    read(metrics.JOB_MEMORY, lambda: float(objects.reservations.used_bytes))
    if (limit := objects.memory_bytes) is not None:
        read(metrics.JOB_MEMORY_LIMIT, lambda: float(limit))


def _add_storage(objects: Objects) -> None:
    read, usage, cache = objects.telemetry.read, objects.usage, objects.cache
    counts = objects.data_counts
    read(metrics.DATASETS, counts.dataset_counts)
    read(metrics.STORED_CAPTURES, lambda: float(counts.counted.captured_inputs))
    read(metrics.WAITING_FEEDBACK, counts.feedback_counts)
    if objects.settings.auth.access_file is not None:
        read(metrics.TENANT_BYTES, usage.nbytes)
        read(metrics.TENANT_VERSIONS, usage.versions)
    read(metrics.DATABASE_AVAILABLE, lambda: float(objects.database.is_available))
    read(metrics.STORAGE_AVAILABLE, lambda: float(objects.roots.is_available))
    read(metrics.DISK_FULL, lambda: FULL_DISKS.states((ARTIFACTS_PLACE, DATABASE_PLACE)))
    read(
        metrics.MEMORY,
        lambda: {
            "feature_cache": cache.nbytes,
            "version_cache": objects.resident.nbytes,
            "influence": objects.influence.nbytes,
        },
    )
    read(
        metrics.DISK,
        lambda: {
            "feature_cache": cache.disk_nbytes,
            "examples": usage.example_bytes,
            "datasets": float(counts.counted.dataset_bytes),
            "feedback": float(counts.counted.feedback_bytes),
            "captured_inputs": usage.capture_bytes,
        },
    )


def _queue_depth(objects: Objects) -> dict[str, float]:
    embedders = objects.pool.all_loaded()
    return {lane.value: sum(embedder.waiting(lane) for embedder in embedders) for lane in Lane}
