"""Accepts fine-tunes: the spec, then the examples, then the job."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from headstart_server.backbones.contract.backbone import BackboneInfo
from headstart_server.backbones.contract.memory import available_bytes
from headstart_server.datasets.dataset_store import DatasetStore, DatasetWriter
from headstart_server.datasets.parents import Parent, find_parent
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.modality import check_modality, kind_of
from headstart_server.errors import (
    NOT_STARTED,
    BackboneNotFound,
    Cancelled,
    DatabaseUnavailable,
    Draining,
    InvalidField,
    InvalidStream,
    JobNotFound,
    WrongTask,
)
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.spec import AUTO, FineTuneSpec
from headstart_server.jobs.submitting import Submission
from headstart_server.jobs.upload_quota import PendingUploads, UploadQuota
from headstart_server.learning.examples.dataset import DatasetSummary, Example
from headstart_server.learning.heads.recipe import check_task
from headstart_server.models.registry import Registry
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.training.candidates import Candidates, can, check_known_recipe, check_trainable_here
from headstart_server.training.dataset_source import DatasetSource, NoDatasetSource
from headstart_server.training.job_memory import check_memory
from headstart_server.training.preview_service import PreviewService, Validation
from headstart_server.webhooks.policy import WebhookPolicy


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UploadRequest:
    """The request of an upload.

    Attributes:
        request_json: the request as JSON values, with the parent's alias if that was given. It distinguishes
            requests with the same ID.
        spec: the spec, with the backbone's name and the parent's number.
        request_id: the caller's ID; empty for none.
        parent: the version that it continues from; None for none, and for a repeated call.
        repeated: whether the request ID was accepted before. Then the examples are only compared with those.
        tenant: the tenant; empty for none.
        principal: the name of the principal; empty without an access file.
    """

    request_json: Mapping[str, Any]
    spec: FineTuneSpec
    request_id: str
    parent: Parent | None
    repeated: bool
    tenant: str
    principal: str


class DatasetUpload:
    """The examples of one fine-tune while they are sent. Used by one caller.

    Args:
        submissions: the service that opened it.
        request: the request.
        info: the backbone; None if the job selects it, or the first example decides.
        candidates: the backbones to select from; None if it is not selected.
        quota: limits the bytes.
    """

    def __init__(
        self,
        submissions: "SubmissionService",
        request: UploadRequest,
        info: BackboneInfo | None,
        candidates: Candidates | None,
        quota: UploadQuota,
    ) -> None:
        self._submissions = submissions
        self._request = request
        self._request_json = request.request_json
        self._spec = request.spec
        # Set by the first input if it is not named; with `auto` the candidate that is likely the cheapest.
        self._info = info
        self._candidates = candidates
        self._quota = quota
        self._job_id = uuid.uuid4().hex
        # Opened with the first piece of work: an upload whose caller left before leaves nothing behind.
        self._writer: DatasetWriter | None = None
        self._count = 0
        self._accepted = False
        self._closed = False
        # A caller may leave, and so close, while its last piece of work is still going in another thread.
        self._turn = threading.Lock()
        self._left = threading.Event()

    def add(self, examples: Sequence[Example]) -> None:
        """Check and store some examples.

        Raises:
            HeadstartError: names the first example that cannot be taken, and what was expected.
        """
        if examples and self._spec.dataset_uri is not None:
            raise InvalidStream(
                "The spec has a dataset_uri, and the stream has examples, too. Send one or the other."
            )
        self._add(examples)

    def gather(self) -> None:
        """Read the examples at the spec's URI, check and store them; nothing happens if it has none.

        Those of a repeated call are not read again: its URI distinguishes it, whatever the data.

        Raises:
            Cancelled: the caller left meanwhile.
            Draining: the server stops.
            HeadstartError: names the first example that cannot be taken, and what was expected.
        """
        uri = self._spec.dataset_uri
        if uri is None or self._request.repeated:
            return
        data, task = self._submissions.data, self._spec.task
        with closing(data.examples(uri, self._check_awaited, self._request.tenant, task)) as found:
            # One by one: each may be large.
            for example in found:
                self._add([example])

    def _add(self, examples: Sequence[Example]) -> None:
        with self._working() as writer:
            # Those of a repeated call are only compared with the first one's, whose backbone may be gone.
            if examples and not self._request.repeated:
                self._settle(examples[0])
                for index, example in enumerate(examples, start=self._count):
                    self._check(example, index)
            writer.add(examples)
            self._count += len(examples)
            self._quota.reserve(writer.nbytes)

    def accept(self) -> Job:
        """Accept the job, once all examples have come.

        Returns:
            The job; an earlier one if the request id was accepted before.

        Raises:
            HeadstartError: the examples cannot be trained on, or the job store refuses the job.
        """
        with self._working() as writer:
            # Of what the caller sent: what an alias names, or a parent holds, may be other things by now.
            digest = ""
            if self._spec.dataset_uri is None:
                digest = writer.digest_of_added(
                    with_ids=any(map(self._request_json.get, ("parent_version", "parent_alias")))
                )
            request_hash = _request_hash(self._request_json, digest)
            if self._request.repeated:
                return self._earlier(request_hash)
            if (
                self._candidates is not None
                and self._request.parent is not None
                and self._request.parent.examples
            ):
                kind = self._request.parent.examples[0].kind
                self._take_candidates(self._candidates, kind, self._like_parent(self._request.parent, kind))
            summary = writer.finish()
            check_task(self._spec.recipe, summary.task)
            memory_bytes = self._check_memory(summary)
            submission = Submission(
                job_id=self._job_id,
                spec=self._spec,
                summary=summary,
                request_id=self._request.request_id or None,
                request_hash=request_hash,
                archives=writer.archives,
                nbytes=writer.nbytes,
                memory_bytes=memory_bytes,
                trace_context=self._submissions.tracing.context(),
                tenant=self._request.tenant,
                principal=self._request.principal,
            )
            try:
                job = self._submissions.job_store.queue.submit(submission)
            except DatabaseUnavailable:
                # It may still be accepted: its examples stay, until a cleaning finds no job of theirs.
                self._accepted = True
                raise
            self._accepted = job.job_id == self._job_id
        if self._accepted:
            self._submissions.on_accepted()
        return job

    def _earlier(self, request_hash: str) -> Job:
        job = self._submissions.job_store.queue.replayed(
            self._request.request_id, request_hash, self._request.tenant
        )
        if job is None:
            raise JobNotFound(
                "The job that this request id was accepted for has just been forgotten. Send the call again."
            )
        return job

    def check_backbone(self) -> None:
        """Check that the backbone is loaded, so that `validate` holds no thread while it waits.

        Raises:
            Loading: it is not loaded yet; this starts the loading.
            BackboneUnavailable: it cannot be loaded.
        """
        if self._info is not None:
            self._submissions.pool.get(self._info.name)

    def validate(self) -> Validation:
        """Run every example through the backbone, fit a head and tell what was found; no job comes of it.

        The features stay in the cache, so that a fine-tune of the same examples need not compute them again.

        Raises:
            Cancelled: the caller left meanwhile.
            Draining: the server stops.
            HeadstartError: the examples cannot be trained on whatever they hold.
        """
        with self._working() as writer:
            summary = writer.finish(shared=False)
            check_task(self._spec.recipe, summary.task)
            self._check_memory(summary)
            return self._submissions.previews.validate(
                self._spec, self._job_id, summary, self._backbone.name, self._check_awaited
            )

    def _check_awaited(self) -> None:
        if self._left.is_set():
            raise Cancelled("The caller left while its examples were looked at.")
        self._submissions.check_open()

    def close(self) -> None:
        """Remove what was stored, unless it was accepted."""
        # What is still going on ends at its next checkpoint.
        self._left.set()
        with self._turn:
            self._closed = True
            self._quota.release()
            if not self._accepted and self._writer is not None:
                self._writer.discard()

    @contextmanager
    def _working(self) -> Iterator[DatasetWriter]:
        with self._turn:
            if self._closed:
                raise Cancelled("The caller left before its examples had all come.")
            if self._writer is None:
                task = self._spec.task if self._request.parent is None else self._request.parent.task
                self._writer = self._submissions.datasets.writer(self._job_id, task, self._request.parent)
            yield self._writer

    @property
    def _backbone(self) -> BackboneInfo:
        if self._info is None:
            raise ValueError("Add an input before you read its backbone.")
        return self._info

    def _settle(self, first: Example) -> None:
        """Take what is meant for such content as the first example's, where no backbone was named."""
        if self._info is not None:
            return
        pool = self._submissions.pool
        if self._candidates is not None:
            # The job finds out which candidates are unavailable.
            kind, usual = kind_of(first.content), pool.default_for(first.content)
            self._take_candidates(self._candidates, kind, usual)
            return
        usual = pool.request(pool.default_for(first.content).name)
        check_known_recipe(usual, self._spec.recipe)
        self._info = usual
        self._spec = replace(self._spec, backbone=usual.name)
        self._request_json = {**self._request_json, "backbone": usual.name}

    def _like_parent(self, parent: Parent, kind: str) -> BackboneInfo:
        """The parent's backbone, or another that takes such inputs if this server has it no more."""
        try:
            return self._submissions.pool.metadata(parent.backbone)
        except BackboneNotFound:
            return self._submissions.pool.default_for_kind(kind)

    def _take_candidates(self, candidates: Candidates, kind: str, usual: BackboneInfo) -> None:
        found = candidates.like(usual, kind)
        self._info = found[0]
        self._spec = replace(self._spec, backbone_candidates=tuple(info.name for info in found))

    def _check_memory(self, summary: DatasetSummary) -> int | None:
        """Estimate the memory that a job takes, and check that this server has it.

        Returns:
            Bytes; None if the sizes of the backbone are not known yet.

        Raises:
            JobMemoryLimit: the job would take more than all jobs together may.
        """
        pool = self._submissions.pool
        names = self._spec.backbone_candidates if self._spec.selects_backbone else ()
        infos = [pool.metadata(name) for name in names] or ([] if self._info is None else [self._info])
        return check_memory(
            self._spec.recipe,
            [info.views for info in infos],
            examples=summary.example_count,
            outputs=max(1, len(summary.class_counts)),
            limit=self._submissions.memory_bytes,
        )

    def _check(self, example: Example, index: int) -> None:
        if self._spec.max_excluded_fraction <= 0:  # else it is excluded like one that cannot be decoded
            check_modality(self._backbone, example.content, f"examples[{index}].input", example.id)
        if example.held_out and self._spec.held_out_fraction > 0:
            raise InvalidField(
                f"Expected held_out_fraction or examples marked held_out, not both. Received: "
                f"held_out_fraction {self._spec.held_out_fraction} and example {index} marked.",
                field=f"examples[{index}].held_out",
            )


class SubmissionService:
    """Opens uploads and accepts jobs.

    Args:
        job_store: where jobs are accepted.
        datasets: where examples are stored.
        pool: which backbones there are.
        registry: which versions there are to go on from.
        on_accepted: called after each job that was accepted.
        max_activation_bytes: most bytes of one job's activations.
        memory_bytes: most bytes of memory of all jobs of this server; None for no limit.
        available_memory: returns the bytes of available memory; None if unknown.
        tracing: knows the call that submits a job.
        webhooks: decides which URLs may receive notifications; None for none.
        data: reads datasets that lie at URIs; None for none.
    """

    def __init__(
        self,
        job_store: JobStore,
        datasets: DatasetStore,
        pool: BackbonePool,
        registry: Registry,
        on_accepted: Callable[[], None],
        *,
        max_activation_bytes: int,
        memory_bytes: int | None = None,
        available_memory: Callable[[], int | None] = available_bytes,
        tracing: Tracing = NO_TRACING,
        webhooks: WebhookPolicy | None = None,
        data: DatasetSource | None = None,
    ) -> None:
        self.tracing = tracing
        self.data = data or NoDatasetSource()
        self.job_store = job_store
        self._webhooks = webhooks or WebhookPolicy(())
        self._available_memory = available_memory
        self.memory_bytes = memory_bytes
        self._registry = registry
        self.datasets = datasets
        self.pool = pool
        self.on_accepted = on_accepted
        self._pending = PendingUploads()
        self._closed = threading.Event()
        self.previews = PreviewService(datasets, pool, max_activation_bytes=max_activation_bytes)

    def open(
        self,
        spec: FineTuneSpec,
        request_id: str,
        *,
        validate_only: bool,
        tenant: str = "",
        principal: str = "",
    ) -> DatasetUpload:
        """Open an upload; close it whatever comes.

        Args:
            spec: what to do; an empty backbone means that of the parent, without one the usual one for such
                content as the first example's.
            request_id: the caller's id; empty for none.
            validate_only: whether no job shall come of it.
            tenant: on whose behalf; empty for none.
            principal: the name of the principal who sends it; empty without an access file.

        Raises:
            InvalidField: a part of the spec is not in its range.
            BackboneNotFound: there is no such backbone.
            ModelNotFound, VersionNotFound, AliasNotFound, ExamplesNotKept, ExampleNotFound or WrongTask:
                there is no such parent, or it does not have or predict the requested task.
            JobQueueFull: too many jobs are queued.
            TenantQuotaExceeded: the tenant stores as much as it may.
            Draining: the server is stopping.
        """
        self.check_open()
        spec = spec.check()
        check_request_id(request_id)
        earlier = None
        if request_id and not validate_only:
            earlier = self.job_store.queue.replayed(request_id, tenant=tenant)
        parent = None
        if spec.has_parent and earlier is None:
            parent = find_parent(self._registry, spec, self.datasets.erased)
            _check_inherited(spec, parent)
        if spec.selects_backbone and spec.has_parent:
            raise InvalidField(
                "Expected a backbone by its name with a parent, or none for the parent's. "
                f"Received: {AUTO!r}. Rebase tries other backbones for a version.",
                field="spec.backbone",
            )
        return self.upload(
            spec if spec.backbone else replace(spec, backbone=_earlier_backbone(parent, earlier)),
            request_id,
            request_json=spec.to_json() if spec.has_parent else None,
            parent=parent,
            repeated=earlier is not None,
            previews=validate_only,
            tenant=tenant,
            principal=principal,
        )

    def upload(
        self,
        spec: FineTuneSpec,
        request_id: str,
        *,
        request_json: Mapping[str, Any] | None = None,
        parent: Parent | None,
        repeated: bool,
        previews: bool = False,
        tenant: str = "",
        principal: str = "",
    ) -> DatasetUpload:
        """Open an upload for a checked spec.

        Args:
            spec: what to do; an empty backbone means the usual one for such content as the first example's.
            request_id: the caller's id; empty for none.
            request_json: the request as JSON values, which distinguishes requests with the same ID; None
                for the spec.
            parent: the version that it goes on from; None for none, and for a repeated call.
            repeated: whether the request id was accepted before.
            previews: whether no job shall come of it.
            tenant: on whose behalf; empty for none.
            principal: the name of the principal who sends it; empty without an access file.

        Raises:
            InvalidField, BackboneNotFound, JobQueueFull or TenantQuotaExceeded: as `open`.
        """
        if spec.webhook is not None:
            self._webhooks.check(spec.webhook, tenant)
        if spec.dataset_uri is not None and not repeated:
            self.data.check(spec.dataset_uri, tenant)
        candidates = info = None
        # The job of a repeated call is returned, even if its backbone is gone.
        if not repeated:
            check_trainable_here(spec.recipe)
            if spec.selects_backbone:
                candidates = Candidates(self.pool, spec, self._available_memory)
            elif spec.backbone:
                info = self.pool.request(spec.backbone)
                check_known_recipe(info, spec.recipe)
            elif not any(can(each, spec.recipe) for each in self.pool.all_metadata()):
                # Checked before the examples are sent.
                check_known_recipe(self.pool.request(""), spec.recipe)
        if not previews and not request_id:
            # Checked before the examples are sent. With a request id the job may be there already.
            self.job_store.quotas.check_room(tenant)
        # Of a repeated call nothing stays, either.
        most = self.job_store.quotas.room_for(tenant, spec.model, previews=previews or repeated)
        full = spec if info is None else replace(spec, backbone=info.name)
        if parent is not None:
            full = replace(full, parent_version=parent.number, parent_alias=None)
        request = UploadRequest(
            request_json=request_json or full.to_json(),
            spec=full,
            request_id=request_id,
            parent=parent,
            repeated=repeated,
            tenant=tenant,
            principal=principal,
        )
        refusal = partial(self.job_store.quotas.refusal, tenant, spec.model)
        quota = UploadQuota(self._pending, tenant, most, refusal)
        return DatasetUpload(self, request, info, candidates, quota)

    def check_open(self) -> None:
        """Check that uploads are taken.

        Raises:
            Draining: the server is stopping.
        """
        if self._closed.is_set():
            raise Draining(
                "The server is stopping and takes no new jobs. Try again at another replica.",
                metadata=dict([NOT_STARTED]),
            )

    def close(self) -> None:
        """Take no further uploads, and stop looking at those that came."""
        self._closed.set()


def check_request_id(request_id: str) -> None:
    """Check that a request id can be kept.

    Raises:
        InvalidField: it cannot.
    """
    if len(request_id.encode()) > 128:
        raise InvalidField(
            f"Expected a request id of at most 128 bytes. Received: {len(request_id.encode())}.",
            field="spec.request_id",
        )
    # Not every database takes one, even to look for it.
    if "\0" in request_id:
        raise InvalidField(
            f"Expected a request id without the character NUL. Received: {request_id!r}.",
            field="spec.request_id",
        )


def _earlier_backbone(parent: Parent | None, earlier: Job | None) -> str:
    """The backbone that is meant where none is named, if that is known already; else empty."""
    if parent is not None:
        return parent.backbone
    return earlier.spec.backbone if earlier is not None and not earlier.spec.selects_backbone else ""


def _check_inherited(spec: FineTuneSpec, parent: Parent) -> None:
    """Check that a spec fits what it goes on from."""
    if spec.task not in (None, parent.task):
        raise WrongTask(
            f"Expected the task of the parent, version {parent.number}: {parent.task}. "
            f"Received: {spec.task}.",
            field="spec.task",
        )
    held_out = sum(example.held_out for example in parent.examples)
    if held_out and spec.held_out_fraction > 0:
        raise InvalidField(
            "Expected held_out_fraction or examples marked held_out, not both. Received: held_out_fraction "
            f"{spec.held_out_fraction}, and {held_out} examples of the parent are marked.",
            field="spec.held_out_fraction",
        )


def _request_hash(request_json: Mapping[str, Any], digest: str) -> str:
    content = json.dumps([request_json, digest], sort_keys=True)
    return sha256(content.encode()).hexdigest()
