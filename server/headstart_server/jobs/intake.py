"""Takes in a fine-tune: the spec, then the examples, then the job is accepted or the findings are told."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

from headstart_server.backbones.backbone import BackboneInfo
from headstart_server.embedding.embedder import CHECK_SECONDS
from headstart_server.embedding.engine import Engine
from headstart_server.embedding.modality import check_modality
from headstart_server.errors import (
    Cancelled,
    DatabaseAway,
    Draining,
    HeadstartError,
    InvalidField,
    JobNotFound,
    WrongTask,
)
from headstart_server.jobs.activations import check_room
from headstart_server.jobs.answering import MAX_LISTED_FAULTS
from headstart_server.jobs.datasets import DatasetStore, DatasetWriter
from headstart_server.jobs.job import Job
from headstart_server.jobs.ledger import Ledger, Submission
from headstart_server.jobs.parents import Parent, find_parent
from headstart_server.jobs.preview import Preview, Previewed
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.dataset import DatasetSummary, Example, ExampleFault
from headstart_server.learning.recipe import Partial, Recipe, check_task, views_of
from headstart_server.learning.stored_example import StoredExample
from headstart_server.learning.target_count import check_trainable
from headstart_server.models.registry import Registry

#: Examples under way to the backbone at once while they are looked at without a job.
PREVIEW_WINDOW = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """What was found in the examples of a fine-tune.

    Attributes:
        valid: whether it would be accepted and not fail for its data.
        example_count: number of examples.
        class_counts: number of examples of each class, by name.
        faults: examples that cannot be used, at most 100.
        fault_count: number of examples that cannot be used.
        warnings: remarks that do not stop it.
        message: why it is not valid; empty if it is.
        previewed: what was found in the examples, and how good a version of them would be; None if it is not
            valid.
    """

    valid: bool
    example_count: int
    class_counts: dict[str, int]
    faults: tuple[ExampleFault, ...]
    fault_count: int
    warnings: tuple[str, ...]
    message: str
    previewed: Previewed | None = None


class Upload:
    """The examples of one fine-tune on their way in. Used by one caller.

    Args:
        intake: whose upload it is.
        asked: what to do, as the caller said it: with an alias for the parent, if that was named.
        spec: what to do, with the backbone's name and the parent's number.
        info: the backbone's facts.
        request_id: the caller's id; empty for none.
        parent: the version that it goes on from; None for none, and for a repeated call.
        by_first: whether the first example decides on the backbone: none was named, and there is no earlier
            one to go by.
        repeated: whether the request id was accepted before: then the examples are only told apart from
            those.
    """

    def __init__(
        self,
        intake: "Intake",
        asked: FineTuneSpec,
        spec: FineTuneSpec,
        info: BackboneInfo,
        request_id: str,
        *,
        parent: Parent | None,
        by_first: bool = False,
        repeated: bool,
    ) -> None:
        self._intake = intake
        self._asked = asked
        self._spec = spec
        self._info = info
        self._request_id = request_id
        self._parent = parent
        self._by_first = by_first
        self._repeated = repeated
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
        with self._working() as writer:
            if self._by_first and examples:
                self._choose_backbone(examples[0])
            for index, example in enumerate(examples, start=self._count):
                self._check(example, index)
            writer.add(examples)
            self._count += len(examples)

    def accept(self) -> Job:
        """Accept the job, once all examples have come.

        Returns:
            The job; an earlier one if the request id was accepted before.

        Raises:
            HeadstartError: the examples cannot be trained on, or the ledger refuses the job.
        """
        with self._working() as writer:
            # Of what the caller sent: what an alias names, or a parent holds, may be other things by now.
            digest = writer.digest_of_added(with_ids=self._spec.has_parent)
            request_hash = _request_hash(self._asked, digest)
            if self._repeated:
                return self._earlier(request_hash)
            summary = writer.finish()
            check_task(self._spec.recipe, summary.task)
            submission = Submission(
                job_id=self._job_id,
                spec=self._spec,
                summary=summary,
                request_id=self._request_id or None,
                request_hash=request_hash,
                archives=writer.archives,
            )
            try:
                job = self._intake.ledger.submit(submission)
            except DatabaseAway:
                # It may be accepted all the same: its examples stay, until a cleaning finds no job of theirs.
                self._accepted = True
                raise
            self._accepted = job.job_id == self._job_id
        if self._accepted:
            self._intake.on_accepted()
        return job

    def _earlier(self, request_hash: str) -> Job:
        job = self._intake.ledger.replayed(self._request_id, request_hash)
        if job is None:
            raise JobNotFound(
                "The job that this request id was accepted for has just been forgotten. Send the call again."
            )
        return job

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
            return self._validate(summary)

    def _validate(self, summary: DatasetSummary) -> Validation:
        embedder = self._intake.engine.load(self._info.name)
        with closing(self._intake.datasets.open(self._job_id)) as dataset:
            preview = Preview(
                self._spec, dataset, embedder, window=PREVIEW_WINDOW, checkpoint=self._check_awaited
            )
            preview.extract()
            faults = [preview.faults[index] for index in sorted(preview.faults)]
            kept = [dataset.examples[index] for index in preview.usable]
            verdict = self._verdict(summary, faults, kept, preview.content_count)
            if not verdict.valid:
                return verdict
            with self._intake.looking(self._check_awaited):
                return replace(verdict, previewed=preview.look())

    def _check_awaited(self) -> None:
        if self._left.is_set():
            raise Cancelled("The caller left while its examples were looked at.")
        self._intake.check_open()

    def close(self) -> None:
        """Remove what was stored, unless it was accepted."""
        # What is still going on ends at its next checkpoint.
        self._left.set()
        with self._turn:
            self._closed = True
            if not self._accepted and self._writer is not None:
                self._writer.discard()

    @contextmanager
    def _working(self) -> Iterator[DatasetWriter]:
        with self._turn:
            if self._closed:
                raise Cancelled("The caller left before its examples had all come.")
            if self._writer is None:
                task = self._spec.task if self._parent is None else self._parent.task
                self._writer = self._intake.datasets.writer(self._job_id, task, self._parent)
            yield self._writer

    def _verdict(
        self,
        summary: DatasetSummary,
        faults: Sequence[ExampleFault],
        kept: Sequence[StoredExample],
        content_count: int,
    ) -> Validation:
        allowed = self._spec.droppable(summary.example_count)
        message = ""
        if len(faults) > allowed:
            message = (
                f"{len(faults)} of {summary.example_count} examples cannot be used, and max_dropped_share "
                f"allows {allowed}."
            )
        else:
            try:
                check_trainable((example.target, example.held_out) for example in kept)
                self._check_room(content_count)
            except HeadstartError as error:
                message = error.message
        return Validation(
            valid=not message,
            example_count=summary.example_count,
            class_counts=summary.class_counts,
            faults=tuple(faults[:MAX_LISTED_FAULTS]),
            fault_count=len(faults),
            warnings=tuple(_warnings(summary)),
            message=message,
        )

    def _check_room(self, content_count: int) -> None:
        """Check that so many different contents are not too many for what the job has to keep of each."""
        recipe = self._spec.recipe
        if isinstance(recipe, Partial):
            check_room(self._info.tails[recipe.blocks].cut, content_count, self._intake.max_activation_bytes)

    def _choose_backbone(self, first: Example) -> None:
        """Take the backbone that is meant for such content as the first example's."""
        self._by_first = False
        info = self._intake.engine.usual(first.content)
        check_fits(self._spec.recipe, info)
        self._info = info
        self._spec = replace(self._spec, backbone=info.name)
        self._asked = replace(self._asked, backbone=info.name)

    def _check(self, example: Example, index: int) -> None:
        check_modality(self._info, example.content, f"examples[{index}].input", example.id)
        if example.held_out and self._spec.held_out_share > 0:
            raise InvalidField(
                f"Expected held_out_share or examples marked held_out, not both. Received: held_out_share "
                f"{self._spec.held_out_share} and example {index} marked.",
                field=f"examples[{index}].held_out",
            )


class Intake:
    """Opens uploads and accepts jobs.

    Args:
        ledger: where jobs are accepted.
        datasets: where examples are stored.
        engine: which backbones there are.
        registry: which versions there are to go on from.
        on_accepted: called after each job that was accepted.
        max_activation_bytes: most bytes of one job's activations.
    """

    def __init__(
        self,
        ledger: Ledger,
        datasets: DatasetStore,
        engine: Engine,
        registry: Registry,
        on_accepted: Callable[[], None],
        *,
        max_activation_bytes: int,
    ) -> None:
        self.ledger = ledger
        self.max_activation_bytes = max_activation_bytes
        self._registry = registry
        self.datasets = datasets
        self.engine = engine
        self.on_accepted = on_accepted
        self._closed = threading.Event()
        self._looking = threading.Lock()

    def open(self, spec: FineTuneSpec, request_id: str, *, validate_only: bool) -> Upload:
        """Open an upload; close it whatever comes.

        Args:
            spec: what to do; an empty backbone means that of the parent, without one the usual one for such
                content as the first example's.
            request_id: the caller's id; empty for none.
            validate_only: whether no job shall come of it.

        Raises:
            InvalidField: a part of the spec is not in its range.
            BackboneNotFound: there is no such backbone.
            ModelNotFound, VersionNotFound, AliasNotFound, ExamplesNotKept, ExampleNotFound or WrongTask:
                there is no such parent, or it does not have or tell what is asked for.
            JobQueueFull: too many jobs are queued.
            Draining: the server is stopping.
        """
        self.check_open()
        spec = spec.check()
        _check_request_id(request_id)
        earlier = self.ledger.replayed(request_id) if request_id and not validate_only else None
        parent = None
        if spec.has_parent and earlier is None:
            parent = find_parent(self._registry, spec, self.datasets.forgotten)
            _check_inherited(spec, parent)
        name = spec.backbone or _earlier_backbone(parent, earlier)
        info = self.engine.info(name)
        # Told before the examples are sent; where those decide, if no backbone would do.
        if name or not any(_fits(spec.recipe, each) for each in self.engine.infos()):
            check_fits(spec.recipe, info)
        if not validate_only and not request_id:
            # Told before the examples are sent. With a request id the job may be there already.
            self.ledger.check_room()
        full = replace(spec, backbone=info.name)
        asked = spec if spec.has_parent else full
        if parent is not None:
            full = replace(full, parent_version=parent.number, parent_alias=None)
        return Upload(
            self,
            asked,
            full,
            info,
            request_id,
            parent=parent,
            by_first=not name,
            repeated=earlier is not None,
        )

    def check_open(self) -> None:
        """Check that uploads are taken.

        Raises:
            Draining: the server is stopping.
        """
        if self._closed.is_set():
            raise Draining("The server is stopping and takes no new jobs. Try again at another replica.")

    @contextmanager
    def looking(self, checkpoint: Callable[[], None]) -> Iterator[None]:
        """Wait for a turn to fit a head without a job: one at a time, so that jobs and Predicts get theirs.

        Args:
            checkpoint: called while it waits; may raise to stop.
        """
        while not self._looking.acquire(timeout=CHECK_SECONDS):
            checkpoint()
        try:
            yield
        finally:
            self._looking.release()

    def close(self) -> None:
        """Take no further uploads, and stop looking at those that came."""
        self._closed.set()


def check_fits(recipe: Recipe, info: BackboneInfo) -> None:
    """Check that a backbone has what a recipe works on.

    Raises:
        InvalidField: it does not.
    """
    unknown = [view for view in views_of(recipe, info.views) if view not in info.views]
    if unknown:
        raise InvalidField(
            f"Expected a view of backbone '{info.name}': {', '.join(sorted(info.views))}. "
            f"Received: {unknown[0]!r}.",
            field=f"spec.recipe.{type(recipe).__name__.lower()}.view",
        )
    if isinstance(recipe, Partial) and recipe.blocks not in info.tails:
        known = ", ".join(map(str, info.tails))
        raise InvalidField(
            f"Expected a number of last blocks that backbone '{info.name}' can be cut before: "
            f"{known or 'it cannot be cut'}. Received: {recipe.blocks}.",
            field="spec.recipe.partial.blocks",
        )


def _fits(recipe: Recipe, info: BackboneInfo) -> bool:
    try:
        check_fits(recipe, info)
    except InvalidField:
        return False
    return True


def _check_request_id(request_id: str) -> None:
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
    return earlier.spec.backbone if earlier is not None else ""


def _check_inherited(spec: FineTuneSpec, parent: Parent) -> None:
    """Check that a spec fits what it goes on from."""
    if spec.task not in (None, parent.task):
        raise WrongTask(
            f"Expected the task of the parent, version {parent.number}: {parent.task}. "
            f"Received: {spec.task}.",
            field="spec.task",
        )
    held_out = sum(example.held_out for example in parent.examples)
    if held_out and spec.held_out_share > 0:
        raise InvalidField(
            "Expected held_out_share or examples marked held_out, not both. Received: held_out_share "
            f"{spec.held_out_share}, and {held_out} examples of the parent are marked.",
            field="spec.held_out_share",
        )


def _warnings(summary: DatasetSummary) -> list[str]:
    single = [name for name, count in summary.class_counts.items() if count == 1]
    if not single:
        return []
    return [
        f"{len(single)} of {len(summary.class_counts)} classes have a single example, such as {single[0]!r}: "
        "their accuracy cannot be estimated."
    ]


def _request_hash(spec: FineTuneSpec, digest: str) -> str:
    content = json.dumps([spec.to_json(), digest], sort_keys=True)
    return sha256(content.encode()).hexdigest()
