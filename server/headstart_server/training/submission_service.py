"""Accepts fine-tunes: the spec, then the examples, then the job."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headstart_server.datasets.dataset_catalog import NamedExamples
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.parents import Parent, find_parent
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import InvalidField, WrongTask
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.spec import AUTO, FineTuneSpec
from headstart_server.models.feedback_rows import ChosenFeedback
from headstart_server.models.registry import Registry
from headstart_server.models.updates import Expiration
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.training.dataset_source import DatasetSources
from headstart_server.training.dataset_upload import DatasetUpload, UploadRequest
from headstart_server.training.job_admission import JobAdmission
from headstart_server.training.preview_service import PreviewService
from headstart_server.training.upload_backbone import UploadBackbones
from headstart_server.webhooks.policy import WebhookPolicy


class SubmissionService:
    """Opens uploads and accepts jobs."""

    def __init__(
        self,
        admission: JobAdmission,
        backbones: UploadBackbones,
        datasets: DatasetStore,
        registry: Registry,
        *,
        sources: DatasetSources,
        previews: PreviewService,
        webhooks: WebhookPolicy,
    ) -> None:
        self.admission = admission
        self.backbones = backbones
        self.datasets = datasets
        self._registry = registry
        self._sources = sources
        self._previews = previews
        self._webhooks = webhooks

    def open(
        self,
        spec: FineTuneSpec,
        request_id: str,
        *,
        validate_only: bool,
        tenant: str = "",
        principal: str = "",
    ) -> DatasetUpload:
        """Open an upload, which must be closed in any case.

        Args:
            spec: the spec; an empty backbone means the parent's, or without a parent the default for the
                first example's content.
            request_id: the caller's ID; empty for none.
            validate_only: whether the examples are only checked, without a job.
            tenant: the caller's tenant; empty for none.
            principal: name of the calling principal; empty without an access file.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound, ExamplesNotKept, ExampleNotFound or WrongTask:
                the parent does not exist, lacks the examples, or has another task.
            TenantQuotaExceeded: the tenant has no storage left.
            InvalidField: a value of the spec is out of its range, such as an expire_time in the past.
            Draining: the server is stopping.
        """
        self.admission.check_open()
        spec = spec.check()
        check_request_id(request_id)
        earlier = None
        if request_id and not validate_only:
            earlier = self.admission.earlier(request_id, tenant)
        if earlier is None:
            # Checked now, because the examples of a repeated call may arrive after the time.
            Expiration(time=spec.expire_time).at(self._registry.index.now(), "spec.")
        parent = None
        if spec.has_parent and earlier is None:
            parent = find_parent(self._registry, spec, self.datasets.erased)
            _check_inherited(spec, parent)
        if spec.selects_backbone and spec.has_parent:
            raise InvalidField(
                "Expected the name of a backbone, or none for the parent's backbone. "
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
            spec: the spec; an empty backbone means the default for the first example's content.
            request_id: the caller's ID; empty for none.
            request_json: the request as JSON values, which distinguishes requests with the same ID; None
                for the spec.
            parent: the version that it continues from; None for none and for a repeated call.
            repeated: whether the request ID was accepted before.
            previews: whether the examples are only checked, without a job.
            tenant: the caller's tenant; empty for none.
            principal: name of the calling principal; empty without an access file.
            feedback: the feedback that an automatic retrain trains on; None for a caller's request.
        """
        if spec.webhook is not None:
            self._webhooks.check(spec.webhook, tenant)
        if not repeated:
            self._sources.check(spec, tenant)
        backbone = self.backbones.of_repeated() if repeated else self.backbones.of(spec)
        if not previews and not request_id:
            # Checked before the examples are sent. With a request ID the job may already exist.
            self.admission.check_room(tenant)
        # The examples of a repeated call are not kept, either.
        quota = self.admission.quota(tenant, spec.model, is_temporary=previews or repeated)
        full = backbone.named_in(spec)
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
        return DatasetUpload(
            request,
            backbone,
            quota,
            admission=self.admission,
            datasets=self.datasets,
            sources=self._sources,
            previews=self._previews,
        )

    def close(self) -> None:
        """Reject further uploads, and stop reading open ones."""
        self.admission.close()


def open_submissions(
    job_store: JobStore,
    datasets: DatasetStore,
    pool: BackbonePool,
    registry: Registry,
    *,
    named: NamedExamples,
    wake_workers: Callable[[], None],
    max_activation_bytes: int,
    memory_bytes: int | None = None,
    tracing: Tracing = NO_TRACING,
    webhooks: WebhookPolicy | None = None,
    uris: DatasetReader | None = None,
) -> SubmissionService:
    """Return the service of a server.

    Args:
        named: reads datasets that are stored under names.
        wake_workers: called after each accepted job.
        max_activation_bytes: maximum bytes of one job's activations.
        memory_bytes: maximum memory of all jobs of this server; None for no limit.
        webhooks: decides which URLs may receive notifications; None for no URLs.
        uris: reads datasets at URIs; None if the server allows none.
    """
    return SubmissionService(
        JobAdmission(job_store.queue, job_store.quotas, wake_workers=wake_workers, tracing=tracing),
        UploadBackbones(pool, memory_bytes),
        datasets,
        registry,
        sources=DatasetSources(named, uris),
        previews=PreviewService(datasets, pool, max_activation_bytes=max_activation_bytes),
        webhooks=webhooks or WebhookPolicy(()),
    )


def check_request_id(request_id: str) -> None:
    """Check that a request ID can be stored."""
    if len(request_id.encode()) > 128:
        raise InvalidField(
            f"Expected a request id of at most 128 bytes. Received: {len(request_id.encode())}.",
            field="spec.request_id",
        )
    # Not every database accepts one, even in a query.
    if "\0" in request_id:
        raise InvalidField(
            f"Expected a request id without the character NUL. Received: {request_id!r}.",
            field="spec.request_id",
        )


def _earlier_backbone(parent: Parent | None, earlier: Job | None) -> str:
    """Return the backbone if the spec names none and it is already known; otherwise an empty text."""
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
