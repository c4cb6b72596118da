"""The examples of one fine-tune while they are sent: checked, stored, then accepted as a job or validated."""

import json
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.dataset_writer import DatasetWriter
from headstart_server.datasets.parents import Parent
from headstart_server.embedding.modality import check_kind, check_modality
from headstart_server.errors import (
    Cancelled,
    DatabaseUnavailable,
    InvalidField,
    InvalidStream,
    JobNotFound,
)
from headstart_server.jobs.job import Job
from headstart_server.jobs.quotas import UploadQuota
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.submitting import Submission
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.heads.recipe import check_task
from headstart_server.models.feedback_rows import ChosenFeedback
from headstart_server.training.dataset_source import DatasetSources
from headstart_server.training.job_admission import JobAdmission
from headstart_server.training.preview_service import PreviewService, Validation
from headstart_server.training.upload_backbone import UploadBackbone


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UploadRequest:
    """The request of an upload."""

    # the request as JSON values, including the parent's alias if given. It distinguishes requests with
    # the same ID
    request_json: Mapping[str, Any]
    spec: FineTuneSpec  # the spec, with the backbone's name and the parent's number
    request_id: str  # the caller's ID; empty for none
    parent: Parent | None  # the version that it continues from; None for none and for a repeated call
    # whether the request ID was accepted before. Then the examples are only compared with those
    repeated: bool
    tenant: str  # the tenant; empty for none
    principal: str  # the name of the principal; empty without an access file
    # the feedback that an automatic retrain trains on; None for a caller's request
    feedback: ChosenFeedback | None = None


class DatasetUpload:
    """The examples of one fine-tune while they are sent. Used by one caller."""

    def __init__(
        self,
        request: UploadRequest,
        backbone: UploadBackbone,
        quota: UploadQuota,
        *,
        admission: JobAdmission,
        datasets: DatasetStore,
        sources: DatasetSources,
        previews: PreviewService,
    ) -> None:
        self._request = request
        self._request_json = request.request_json
        self._spec = request.spec
        self._backbone = backbone
        self._quota = quota
        self._admission = admission
        self._datasets = datasets
        self._sources = sources
        self._previews = previews
        self._job_id = uuid.uuid4().hex
        # Opened by the first piece of work, so that an upload whose caller left earlier leaves no files.
        self._writer: DatasetWriter | None = None
        self._count = 0
        self._accepted = False
        self._closed = False
        # A caller may leave, which calls `close`, while another thread still runs its last piece of work.
        self._turn = threading.Lock()
        self._left = threading.Event()

    def add(self, examples: Sequence[Example]) -> None:
        """Check and store some examples."""
        name = "dataset" if self._spec.dataset is not None else "dataset_uri"
        if examples and (self._spec.dataset_uri or self._spec.dataset) is not None:
            raise InvalidStream(f"The spec has a {name}, and the stream has examples. Send only one of them.")
        self._add(examples)

    def gather(self) -> None:
        """Read the examples of the named dataset, or of the dataset URI, if the spec has one.

        The dataset of a repeated call is not read again. Raise Draining if the server stops.
        """
        uri = self._spec.dataset_uri
        if self._request.repeated:
            return
        if self._spec.dataset is not None:
            self._take(self._spec.dataset)
        if uri is None:
            return
        tenant, task = self._request.tenant, self._spec.task
        with closing(self._sources.examples(uri, self._check_awaited, tenant, task)) as found:
            # One by one: each may be large.
            for example in found:
                self._add([example])

    def _take(self, dataset: str) -> None:
        """Refer to the examples of a named dataset instead of storing them."""
        with self._working() as writer:
            examples = self._sources.stored(dataset)
            self._settle(self._sources.like(examples))
            for index, example in enumerate(examples):
                if self._spec.max_excluded_fraction <= 0:
                    check_kind(self._backbone.info, example.kind, f"examples[{index}].input", example.id)
                self._check_use(index, held_out=example.held_out)
            writer.add_stored(examples)

    def _add(self, examples: Sequence[Example]) -> None:
        with self._working() as writer:
            # Examples of a repeated call are only compared with the first call's: its backbone may be gone.
            if examples and not self._request.repeated:
                self._settle(examples[0].content)
                for index, example in enumerate(examples, start=self._count):
                    self._check(example, index)
            writer.add(examples)
            self._count += len(examples)
            self._quota.reserve(writer.nbytes)

    def accept(self) -> Job:
        """Accept the job after all examples; return it, or the earlier one of the request ID."""
        with self._working() as writer:
            request_hash = self._request_hash(writer)
            if self._request.repeated:
                return self._earlier(request_hash)
            self._backbone.settle_like(self._request.parent)
            self._spec = self._backbone.named_in(self._spec)
            submission = self._submission(writer, request_hash)
            try:
                job = self._admission.submit(submission)
            except DatabaseUnavailable:
                # It may still be accepted: its examples stay until a cleaning finds that they have no job.
                self._accepted = True
                raise
            self._accepted = job.job_id == self._job_id
        if self._accepted:
            self._admission.wake_workers()
        return job

    def _request_hash(self, writer: DatasetWriter) -> str:
        # Only the sent data counts: an alias, or the examples of a parent, may have changed by now.
        digest = ""
        if self._spec.dataset_uri is None and self._spec.dataset is None:
            with_ids = any(map(self._request_json.get, ("parent_version", "parent_alias")))
            digest = writer.digest_of_added(with_ids=with_ids)
        content = json.dumps([self._request_json, digest], sort_keys=True)
        return sha256(content.encode()).hexdigest()

    def _submission(self, writer: DatasetWriter, request_hash: str) -> Submission:
        summary = writer.finish()
        check_task(self._spec.recipe, summary.task)
        return Submission(
            job_id=self._job_id,
            spec=self._spec,
            summary=summary,
            request_id=self._request.request_id or None,
            request_hash=request_hash,
            archives=writer.archives,
            nbytes=writer.nbytes,
            memory_bytes=self._backbone.estimated_bytes(self._spec.recipe, summary),
            tenant=self._request.tenant,
            principal=self._request.principal,
            feedback=self._request.feedback,
        )

    def _earlier(self, request_hash: str) -> Job:
        job = self._admission.earlier(self._request.request_id, self._request.tenant, request_hash)
        if job is None:
            raise JobNotFound("The job with this request ID was just removed. Send the call again.")
        return job

    def check_backbone(self) -> None:
        """Raise Loading, and load the backbone, if it is not loaded: no thread may wait for it."""
        self._backbone.check_loaded()

    def validate(self) -> Validation:
        """Pass every example through the backbone, fit a head and return the findings, without a job.

        The features stay in the cache, so that a fine-tune of the same examples does not compute them again.
        Raise Draining if the server stops.
        """
        with self._working() as writer:
            summary = writer.finish(shared=False)
            check_task(self._spec.recipe, summary.task)
            self._backbone.estimated_bytes(self._spec.recipe, summary)
            name = self._backbone.info.name
            return self._previews.validate(self._spec, self._job_id, summary, name, self._check_awaited)

    def _check_awaited(self) -> None:
        if self._left.is_set():
            raise Cancelled("The caller left while its examples were validated.")
        self._admission.check_open()

    def close(self) -> None:
        """Remove the stored examples, unless a job was accepted."""
        # Running work ends at its next checkpoint.
        self._left.set()
        with self._turn:
            self._closed = True
            self._quota.release()
            writer, self._writer = self._writer, None
            if not self._accepted and writer is not None:
                writer.discard()

    @contextmanager
    def _working(self) -> Iterator[DatasetWriter]:
        with self._turn:
            if self._closed:
                raise Cancelled("The caller left before it had sent all examples.")
            if self._writer is None:
                task = self._spec.task if self._request.parent is None else self._request.parent.task
                self._writer = self._datasets.writer(self._job_id, task, self._request.parent)
            yield self._writer

    def _settle(self, first: Content) -> None:
        """Determine the backbone by the content of the first example if the caller named none."""
        name = self._backbone.settle(first, self._spec.recipe)
        if name is not None:
            self._request_json = {**self._request_json, "backbone": name}
        self._spec = self._backbone.named_in(self._spec)

    def _check(self, example: Example, index: int) -> None:
        if self._spec.max_excluded_fraction <= 0:  # else it is excluded like an undecodable one
            check_modality(self._backbone.info, example.content, f"examples[{index}].input", example.id)
        self._check_use(index, held_out=example.held_out)

    def _check_use(self, index: int, *, held_out: bool) -> None:
        if held_out and self._spec.held_out_fraction > 0:
            raise InvalidField(
                f"Expected held_out_fraction or examples marked held_out, not both. Received: "
                f"held_out_fraction {self._spec.held_out_fraction} and example {index} marked.",
                field=f"examples[{index}].held_out",
            )
