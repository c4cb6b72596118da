"""Creates exports: each once for all callers that request it, and cancelled when all have left."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.auth.tenants import own_name
from headstart_server.backbones.worker.export_request import Answers, ExportFormat, ExportRequest
from headstart_server.errors import Cancelled, ExportQueueFull
from headstart_server.export.cache import RETRY_SECONDS, ExportCache, Key, OpenExport
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Scaling
from headstart_server.learning.heads.head import Head
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Selector, Version
from headstart_server.storage.disk import storage_errors

_ANSWERS = {
    Task.SINGLE_LABEL: Answers.SOFTMAX,
    Task.MULTI_LABEL: Answers.SIGMOID,
    Task.REGRESSION: Answers.NONE,
}


def export_request(version: Version, loaded: ResidentVersion, form: ExportFormat) -> ExportRequest:
    """Return the request to export a version; `loaded` has its head and tail."""
    head = loaded.head
    slopes, offsets = _calibration(head)
    hidden = head.hidden
    return ExportRequest(
        form=form,
        digest=loaded.backbone_digest,
        views=head.views,
        roots=head.scaling is Scaling.ROOT,
        lengths=head.scaling is not Scaling.STANDARD,
        hidden_weights=hidden.weights if hidden is not None else np.zeros((0, 0), np.float32),
        hidden_bias=hidden.bias if hidden is not None else np.zeros(0, np.float32),
        weights=head.weights,
        bias=head.bias,
        slopes=slopes,
        offsets=offsets,
        answers=_ANSWERS[head.task],
        tail=loaded.tail.weights if loaded.tail is not None else None,
        facts=_facts(version, head),
    )


def _calibration(head: Head) -> tuple[Float32, Float32]:
    columns = head.bias.shape
    if head.task is Task.SINGLE_LABEL:
        return np.full(columns, 1 / head.temperature, np.float32), np.zeros(columns, np.float32)
    if head.task is Task.MULTI_LABEL:
        return head.calibration.slopes, head.calibration.offsets
    return np.ones(columns, np.float32), np.zeros(columns, np.float32)


def _facts(version: Version, head: Head) -> dict[str, Any]:
    manifest = version.manifest
    facts: dict[str, Any] = {
        # Recipients of the export must not see the name of the tenant.
        "model": own_name(version.model),
        "version": version.number,
        "task": head.task.value,
        "backbone": manifest.backbone,
        "backbone_digest": manifest.backbone_digest,
        "software": manifest.software,
    }
    if head.class_names:
        facts["class_names"] = list(head.class_names)
    if head.task is Task.SINGLE_LABEL:
        facts["temperature"] = head.temperature
    if head.thresholds.size:
        facts["thresholds"] = head.thresholds.tolist()
    if head.interval is not None:
        facts["interval"] = list(head.interval)
    return facts


#: Concurrent exports; each takes a process with a gigabyte or more of memory.
MAX_CONCURRENT = 1
#: Further exports that may wait.
MAX_QUEUED = 8

ExportNetwork = Callable[[str, ExportRequest, Path, Callable[[], None]], None]
"""Writes a version with the backbone of a name into an empty folder; calls its last argument often, which may
raise to stop it."""


@dataclass(kw_only=True, slots=True)
class _RunningExport:
    done: "asyncio.Future[None]"
    stop: threading.Event
    callers: int = 0


class Exporter:
    """Creates exports. Belongs to one event loop.

    Args:
        max_queued: exports that may wait.
    """

    def __init__(
        self,
        registry: Registry,
        export_network: ExportNetwork,
        cache: ExportCache,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._registry = registry
        self._export_network = export_network
        self._cache = cache
        self._most = MAX_CONCURRENT + max_queued
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT, "export")
        self._running: dict[Key, _RunningExport] = {}

    async def open(self, selector: Selector, form: ExportFormat) -> tuple[Version, OpenExport]:
        """Return an export of a version, created if it is not cached; the caller closes it.

        If all callers of an export are cancelled, its creation stops.
        """
        version = await asyncio.to_thread(self._registry.selected, selector)
        key = (version.artifact, form)
        while True:
            opening = asyncio.create_task(asyncio.to_thread(self._cache.open, key))
            try:
                found = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close)
                raise
            if found is not None:
                return version, found
            await self._create(key, version)

    def sweep(self) -> None:
        """Remove exports that are too old, or whose version is deleted."""
        self._cache.sweep(self._registry.reader.known_artifacts)

    async def _create(self, key: Key, version: Version) -> None:
        running = self._running.get(key)
        if running is None or running.stop.is_set():
            running = self._start(key, version)
        running.callers += 1
        try:
            await asyncio.shield(running.done)
        finally:
            running.callers -= 1
            if running.callers == 0:
                running.stop.set()

    def _start(self, key: Key, version: Version) -> _RunningExport:
        if len(self._running) >= self._most:
            raise ExportQueueFull(
                f"{self._most} exports are running or queued, which is the maximum. Try again in "
                f"{RETRY_SECONDS:.0f} seconds.",
                retry_after=RETRY_SECONDS,
            )
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, self._make, key, version, stop)
        running = self._running[key] = _RunningExport(done=done, stop=stop)

        def end(future: "asyncio.Future[None]") -> None:
            if self._running.get(key) is running:
                del self._running[key]
            if not future.cancelled():
                future.exception()  # mark as retrieved: all callers may have left

        done.add_done_callback(end)
        return running

    def _make(self, key: Key, version: Version, stop: threading.Event) -> None:
        def check() -> None:
            if stop.is_set():
                raise Cancelled("The caller no longer waits for the export.")

        check()
        loaded = self._registry.files.load(version.model, version.number)
        request = export_request(version, loaded, key[1])
        folder = self._cache.new_folder()
        try:
            with storage_errors():
                self._export_network(version.manifest.backbone, request, folder, check)
                self._cache.add(key, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _close(opening: "asyncio.Task[OpenExport | None]") -> None:
    """Close an export whose caller left while it was opened."""
    if not opening.cancelled() and opening.exception() is None and (export := opening.result()) is not None:
        export.close()
