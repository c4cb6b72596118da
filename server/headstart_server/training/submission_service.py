"""Accepts fine-tunes: the spec, then the examples, then the job."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from headstart_server.backbones.contract.memory import available_bytes
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.parents import Parent, find_parent
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import NOT_STARTED, Draining, InvalidField, WrongTask
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.quotas import PendingUploads, Quotas, UploadQuota
from headstart_server.jobs.spec import AUTO, FineTuneSpec
from headstart_server.models.feedback_rows import ChosenFeedback
from headstart_server.models.registry import Registry
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.training.candidates import Candidates, can, check_known_recipe, check_trainable_here
from headstart_server.training.dataset_source import (
    DatasetSource,
    NamedDatasets,
    NoDatasetSource,
    NoNamedDatasets,
)
from headstart_server.training.dataset_upload import DatasetUpload, UploadRequest, UploadTools
from headstart_server.training.preview_service import PreviewService
from headstart_server.training.upload_backbone import (
    NamedBackbone,
    SelectedBackbone,
    UnnamedBackbone,
    UploadBackbone,
)
from headstart_server.webhooks.policy import WebhookPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionOptions:
    """What a server may do without when it accepts fine-tunes."""

    memory_bytes: int | None = None  # most bytes of memory of all jobs of this server; None for no limit
    # returns the bytes of available memory; None if unknown
    available_memory: Callable[[], int | None] = available_bytes
    tracing: Tracing = NO_TRACING
    # decides which URLs may receive notifications
    webhooks: WebhookPolicy = field(default_factory=lambda: WebhookPolicy(()))
    data: DatasetSource = field(default_factory=NoDatasetSource)  # reads datasets that lie at URIs
    named: NamedDatasets = field(default_factory=NoNamedDatasets)


NO_OPTIONS = SubmissionOptions()


class SubmissionService:
    """Opens uploads and accepts jobs.

    Args:
        on_accepted: called after each job that was accepted.
        max_activation_bytes: most bytes of one job's activations.
    """

    def __init__(
        self,
        queue: JobQueue,
        quotas: Quotas,
        datasets: DatasetStore,
        pool: BackbonePool,
        registry: Registry,
        *,
        on_accepted: Callable[[], None],
        max_activation_bytes: int,
        options: SubmissionOptions = NO_OPTIONS,
    ) -> None:
        self.queue = queue
        self._quotas = quotas
        self.datasets = datasets
        self.pool = pool
        self._registry = registry
        self._webhooks = options.webhooks
        self._available_memory = options.available_memory
        self._pending = PendingUploads()
        self._closed = threading.Event()
        self.tools = UploadTools(
            queue=queue,
            datasets=datasets,
            pool=pool,
            previews=PreviewService(datasets, pool, max_activation_bytes=max_activation_bytes),
            data=options.data,
            named=options.named,
            tracing=options.tracing,
            memory_bytes=options.memory_bytes,
            on_accepted=on_accepted,
            check_open=self.check_open,
        )

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
            ModelNotFound, VersionNotFound, AliasNotFound, ExamplesNotKept, ExampleNotFound or WrongTask:
                there is no such parent, or it does not have or predict the requested task.
            TenantQuotaExceeded: the tenant stores as much as it may.
            Draining: the server is stopping.
        """
        self.check_open()
        spec = spec.check()
        check_request_id(request_id)
        earlier = None
        if request_id and not validate_only:
            earlier = self.queue.replayed(request_id, tenant=tenant)
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
        feedback: ChosenFeedback | None = None,
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
            feedback: the feedback that an automatic retrain trains on; None for a caller's request.
        """
        if spec.webhook is not None:
            self._webhooks.check(spec.webhook, tenant)
        if spec.dataset_uri is not None and not repeated:
            self.tools.data.check(spec.dataset_uri, tenant)
        # The job of a repeated call is returned, even if its backbone is gone.
        backbone = UnnamedBackbone() if repeated else self._backbone(spec)
        if not previews and not request_id:
            # Checked before the examples are sent. With a request id the job may be there already.
            self._quotas.check_room(tenant)
        # Of a repeated call nothing stays, either.
        most = self._quotas.room_for(tenant, spec.model, previews=previews or repeated)
        full = backbone.named_in(spec) if isinstance(backbone, NamedBackbone) else spec
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
            feedback=feedback,
        )
        refusal = partial(self._quotas.refusal, tenant, spec.model)
        quota = UploadQuota(self._pending, tenant, most, refusal)
        return DatasetUpload(self.tools, request, backbone, quota)

    def _backbone(self, spec: FineTuneSpec) -> UploadBackbone:
        """Return the backbone of a spec, as far as it is known before the examples are sent."""
        check_trainable_here(spec.recipe)
        if spec.selects_backbone:
            return SelectedBackbone(Candidates(self.pool, spec, self._available_memory))
        if spec.backbone:
            info = self.pool.request(spec.backbone)
            check_known_recipe(info, spec.recipe)
            return NamedBackbone(info)
        if not any(can(each, spec.recipe) for each in self.pool.all_metadata()):
            check_known_recipe(self.pool.request(""), spec.recipe)
        return UnnamedBackbone()

    def check_open(self) -> None:
        """Check that uploads are taken. Raise Draining if the server is stopping."""
        if self._closed.is_set():
            raise Draining(
                "The server is stopping and takes no new jobs. Try again at another replica.",
                metadata=dict([NOT_STARTED]),
            )

    def close(self) -> None:
        """Take no further uploads, and stop looking at those that came."""
        self._closed.set()


def check_request_id(request_id: str) -> None:
    """Check that a request id can be kept."""
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
