"""The admission of jobs to the queue: while the server is open, and within the quotas."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from headstart_server.backbones.contract.machine import limit_bytes
from headstart_server.errors import NOT_STARTED, Draining, JobMemoryLimit
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.quotas import PendingUploads, Quotas, UploadQuota
from headstart_server.jobs.submitting import Submission
from headstart_server.learning.heads.memory_estimate import Sizes, estimated_bytes
from headstart_server.learning.heads.recipe import Recipe, required_views
from headstart_server.observability.tracing import NO_TRACING, Tracing

#: Bytes reserved for the server and its backbones, and the minimum share of all memory for jobs.
RESERVED = 1 << 30
LEAST_SHARE = 4
_GIB = 1 << 30


def memory_budget(setting: int | None, cached_bytes: int, total: int | None = None) -> int | None:
    """Return the bytes of memory that all jobs of a server may use together; None if unknown.

    Args:
        setting: bytes that the operator configured; None uses the remaining memory.
        cached_bytes: maximum bytes of the server's caches.
        total: bytes of the machine or container; None reads them.
    """
    if setting is not None:
        return setting
    total = limit_bytes() if total is None else total
    return None if total is None else max(total - RESERVED - cached_bytes, total // LEAST_SHARE)


def check_memory(
    recipe: Recipe,
    views: Iterable[Mapping[str, int]],
    *,
    examples: int,
    outputs: int,
    further_classes: int = 0,
    limit: int | None,
) -> int | None:
    """Estimate the memory of a job, and check that it fits if it runs alone.

    Args:
        views: sizes of the views of each backbone that it may use; empty if not known yet.
        outputs: number of classes, or 1 for numbers.
        further_classes: classes in all labels together, besides one of each example.
        limit: maximum bytes; None for no limit.

    Returns:
        The estimated bytes; None if no sizes are known.
    """
    known = [
        Sizes(examples=examples, views=sizes, outputs=outputs, further_classes=further_classes)
        for sizes in views
        if sizes
    ]
    if not known:
        return None
    estimate, largest = max(
        ((estimated_bytes(recipe, sizes), sizes) for sizes in known), key=lambda found: found[0]
    )
    if limit is not None and estimate > limit:
        numbers = sum(largest.views[name] for name in required_views(recipe, largest.views))
        raise JobMemoryLimit(
            f"The fine-tune would take about {estimate / _GIB:,.1f} GiB of memory for {examples:,} examples "
            f"with {numbers:,} features each{_further(further_classes)}, and this server gives "
            f"{limit / _GIB:,.1f} GiB to jobs (--job-memory). Use fewer examples"
            f"{', fewer classes in each label' if further_classes else ''}, a backbone with fewer features, "
            "or a server with more memory.",
            metadata={"limit": str(limit), "estimate": str(estimate)},
        )
    return estimate


def _further(classes: int) -> str:
    return f", whose labels have {classes:,} classes besides one of each" if classes else ""


class JobAdmission:
    """Admits jobs until it is closed. Safe to use from many threads.

    Args:
        wake_workers: called after each accepted job.
    """

    def __init__(
        self,
        queue: JobQueue,
        quotas: Quotas,
        *,
        wake_workers: Callable[[], None],
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._queue = queue
        self._quotas = quotas
        self._tracing = tracing
        self._pending = PendingUploads()
        self._closed = threading.Event()
        self.wake_workers = wake_workers

    @property
    def is_open(self) -> bool:
        """Whether uploads are accepted: the server is not stopping."""
        return not self._closed.is_set()

    def check_open(self) -> None:
        """Raise Draining if the server is stopping and accepts no uploads."""
        if not self.is_open:
            raise Draining(
                "The server is stopping and accepts no new jobs. Try again with another replica.",
                metadata=dict([NOT_STARTED]),
            )

    def close(self) -> None:
        """Reject further uploads, and stop reading open ones."""
        self._closed.set()

    def earlier(self, request_id: str, tenant: str, request_hash: str | None = None) -> Job | None:
        """Return the job of an accepted request ID, if the request hash matches or is unknown."""
        return self._queue.replayed(request_id, request_hash, tenant)

    def check_room(self, tenant: str) -> None:
        """Raise an error if a job would be rejected now."""
        self._quotas.check_room(tenant)

    def quota(self, tenant: str, model: str, *, is_temporary: bool) -> UploadQuota:
        """Return the quota of an upload, and check that its tenant may store more.

        Args:
            is_temporary: whether the upload is not kept; then the whole capacity is available to it.
        """
        most = self._quotas.room_for(tenant, model, previews=is_temporary)
        return UploadQuota(self._pending, tenant, most, partial(self._quotas.refusal, tenant, model))

    def submit(self, submission: Submission) -> Job:
        """Accept a job as `JobQueue.submit`, with the trace of the call."""
        return self._queue.submit(replace(submission, trace_context=self._tracing.context()))
