"""Stand-ins for what is slow or uncertain: time, networks, threads."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empty_database import open_empty
from headstart_server.backbones.contract.backbone import BackboneInfo, Content, Modality, Truncation
from headstart_server.backbones.contract.tail import Cut, TailMismatch, TailPlan, TailWeights
from headstart_server.backbones.contract.tail_training import (
    Loss,
    TailEpoch,
    TailRequest,
    TailResult,
    TrainingStop,
)
from headstart_server.embedding.queue import Lane
from headstart_server.errors import BackboneNotFound, UndecodableInput
from headstart_server.jobs.claiming import ReplicaSettings
from headstart_server.jobs.heartbeat import Lease
from headstart_server.jobs.job import Findings, Job, JobEvent, JobStep, Progress
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_store import JobStore, open_job_store
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.stored import QueueLimits, TenantLimits
from headstart_server.jobs.submitting import Submission
from headstart_server.learning.examples.dataset import DatasetSummary
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import TAIL_FILE, VersionStore, encode_tail
from headstart_server.models.version import Manifest, TailFacts
from headstart_server.settings.settings import SETTINGS, Settings
from headstart_server.settings.sources import load

#: Seconds after which a test gives up on a thread; never waited for when the code is right.
PATIENCE = 60.0
#: The lease of the job stores of tests.
LEASE = Lease(seconds=10.0, interval=1.0)


class ManualClock:
    """A clock that only the test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeBackbone:
    """Features that follow from the content alone: contents with the same word before their colon lie close.

    Contents that begin with `broken` cannot be decoded; features of those with `endless` are no numbers. It
    can be cut before its last block or before the last two; its activations are the features, three times.

    Args:
        own: weight of what differs between contents; from about 3 on words can hardly be distinguished.
        parameters: how many it has.
        seconds: what a batch takes, where a test lets time pass.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        modality: Modality = Modality.IMAGE,
        size: int = 12,
        digest: str = "b" * 64,
        own: float = 0.3,
        parameters: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self.own = own
        self.seconds = seconds
        self.info = BackboneInfo(
            name=name,
            modality=modality,
            views={"last": size, "taps": 3},
            input_size=(),
            parameter_count=parameters,
            source="a test",
            license="Apache-2.0",
            description="A fake.",
            tails={
                blocks: TailPlan(
                    blocks=blocks, cut=Cut(name=f"cut{blocks}", shape=(1, 3, size)), layers=("top",)
                )
                for blocks in (1, 2)
            },
        )
        self.digest = digest
        self.runtime = "fake float32"
        self.streams = 1
        self.stream_per_core = False
        self.on_device = False
        self.is_immediate = False
        self.batch = 8
        self.decoded: Counter[bytes] = Counter()
        self.batches: list[int] = []
        #: The requested cuts of each batch.
        self.cuts: list[frozenset[str]] = []
        self.tails_made = 0
        self.trained: list[TailRequest] = []
        #: What the training of a tail comes to.
        self.train: Callable[[TailRequest], TailResult] = trained_tail
        #: Called with the rows of each batch before it is answered; may block or raise.
        self.before_run: Callable[[NDArray[np.generic]], None] = lambda rows: None
        self._lock = threading.Lock()

    @property
    def decoder(self) -> "FakeDecoder":
        return FakeDecoder(size=self.info.views["last"], own=self.own)

    def decode(self, content: Content) -> NDArray[np.float32]:
        with self._lock:
            self.decoded[content if isinstance(content, bytes) else _raw(content)] += 1
        return self.decoder.decode(content)

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        return None

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.float32], Truncation | None]:
        return self.decode(content), self.decoder.truncation(content)

    def truncation(self, content: Content) -> Truncation | None:
        return self.decoder.truncation(content)

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> dict[str, NDArray[np.float32]]:
        self.before_run(rows)
        self.batches.append(len(rows))
        self.cuts.append(frozenset(cuts))
        values = rows.astype(np.float32)
        activations = np.repeat(values[:, None, None], 3, axis=2)
        return {"last": values, "taps": values[:, :3] * 2, **dict.fromkeys(cuts, activations)}

    def tail(self, weights: TailWeights) -> "FakeTail":
        if weights.blocks not in self.info.tails:
            raise TailMismatch(f"Expected 1 or 2 blocks. Received: {weights.blocks}.")
        self.tails_made += 1
        return FakeTail(weights.tensor("top/bias"))

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        checkpoint()
        self.trained.append(request)
        result = self.train(request)
        for number, loss in enumerate(result.losses):
            progress(TailEpoch(number=number, loss=loss))
        return result


@dataclass(frozen=True, kw_only=True)
class FakeDecoder:
    """Decodes as a `FakeBackbone`."""

    size: int
    own: float

    def decode(self, content: Content) -> NDArray[np.float32]:
        raw = content if isinstance(content, bytes) else _raw(content)
        if raw.startswith(b"broken"):
            raise UndecodableInput(f"Expected an image. Received: {raw[:20]!r}.")
        if raw.startswith(b"endless"):
            return np.full(self.size, np.inf, np.float32)
        word = vector_of(raw.split(b":")[0], self.size)
        return (word + self.own * vector_of(raw, self.size)).astype(np.float32)

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.float32], Truncation | None]:
        return self.decode(content), self.truncation(content)

    def truncation(self, content: Content) -> Truncation | None:
        """Texts are cut after 20 characters."""
        long = isinstance(content, str) and len(content) > 20
        return Truncation(kept=20, length=len(content)) if long else None


class FakeTail:
    """Adds its bias to the features of the backbone."""

    def __init__(self, bias: NDArray[np.float32]) -> None:
        self._bias = bias

    def run(self, activations: NDArray[np.float32]) -> NDArray[np.float32]:
        return activations.mean(axis=(1, 2)) + self._bias


def make_tail(*, blocks: int = 1, size: int = 12, bias: float = 1.0) -> TailWeights:
    """The weights of a `FakeTail`."""
    return TailWeights(blocks=blocks, tensors={"top/bias": np.full(size, bias, np.float32)})


def trained_tail(request: TailRequest) -> TailResult:
    """A training that makes every answer right and moves the features by 1."""
    fixed = request.fixed_features.shape[1]
    head = request.heads[-1].copy()
    # The tail adds 1 to its features; the bias takes it off again.
    head[-1] -= head[fixed:-1].sum(axis=0)
    return TailResult(
        epoch=2,
        losses=(1.0, 0.5, 0.1),
        stop=TrainingStop.STEPS,
        outputs=20 * request.targets - 10 if request.loss is not Loss.SQUARED else request.targets,
        head=head,
        tail=make_tail(blocks=request.blocks, size=head.shape[0] - 1 - fixed),
    )


def vector_of(seed: bytes, size: int) -> NDArray[np.float64]:
    """Normal numbers that follow from the seed alone."""
    return np.random.default_rng(list(sha256(seed).digest())).normal(size=size)


def _raw(content: Content) -> bytes:
    return content.encode() if isinstance(content, str) else np.asarray(content).tobytes()


class FakeSource:
    """Backbones by name, loaded without delay."""

    def __init__(self, *backbones: FakeBackbone) -> None:
        self.backbones = {backbone.info.name: backbone for backbone in backbones}
        self.loads: list[str] = []
        #: Called at each load; may block or raise.
        self.before_load: Callable[[str], None] = lambda name: None
        self.before_prepare: Callable[[str], object] = lambda name: None
        #: Names of those whose facts are not known before they are prepared or loaded.
        self.unprepared: set[str] = set()
        self.is_closed = False
        self.seconds_left: float | None = None
        self.on_close: Callable[[], object] = lambda: None

    def list(self) -> Sequence[BackboneInfo]:
        return [self.info(name) for name in self.backbones]

    def info(self, name: str) -> BackboneInfo:
        try:
            info = self.backbones[name].info
            return replace(info, views={}) if name in self.unprepared else info
        except KeyError:
            raise BackboneNotFound(
                f"There is no backbone '{name}'. Expected one of: {', '.join(sorted(self.backbones))}."
            ) from None

    def prepare(self, name: str) -> BackboneInfo:
        self.before_prepare(name)
        self.unprepared.discard(name)
        return self.info(name)

    def load(self, name: str) -> FakeBackbone:
        self.loads.append(name)
        self.before_load(name)
        self.unprepared.discard(name)
        return self.backbones[name]

    def remaining(self, name: str) -> float | None:
        return self.seconds_left

    def close(self) -> None:
        self.is_closed = True
        self.on_close()


class Recorder:
    """Observes batches, training and the ends of jobs, and keeps the calls."""

    def __init__(self) -> None:
        self.batches: list[tuple[Lane, int]] = []
        self.dropped: list[tuple[Lane, int, str]] = []
        self.steps: list[str] = []
        self.published: list[tuple[str, int]] = []
        self.outcomes: list[str] = []

    def batch_ran(self, lane: Lane, rows: int, seconds: float, slowest: float) -> None:
        self.batches.append((lane, rows))

    def inputs_dropped(self, lane: Lane, rows: int, cause: str) -> None:
        self.dropped.append((lane, rows, cause))

    def step_finished(self, step: str, seconds: float) -> None:
        self.steps.append(step)

    def version_published(self, model: str, version: int, metrics: Metrics, example_count: int) -> None:
        self.published.append((model, version))

    def job_ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def make_head(*, classes: int = 3, size: int = 12, seed: int = 0, view: str = "last") -> Head:
    """A head of random weights."""
    rng = np.random.default_rng(seed)
    return Head(
        views=(view,),
        weights=rng.normal(size=(size, classes)).astype(np.float32),
        bias=rng.normal(size=classes).astype(np.float32),
        calibration=Calibration(temperature=0.5),
        class_names=tuple(f"class {index}" for index in range(classes)),
    )


def make_manifest(model: str = "pets", job_id: str = "job-1", **changes: Any) -> Manifest:
    """The manifest of a version of `make_head`."""
    fields: dict[str, Any] = {
        "model": model,
        "job_id": job_id,
        "backbone": "fake",
        "backbone_digest": "b" * 64,
        "dataset_digest": "d" * 64,
        "recipe": Ridge(regularization=0.1, temperature=0.5, folds=3),
        "seed": 0,
        "example_count": 9,
        "class_names": ("class 0", "class 1", "class 2"),
        "metrics": Metrics(),
        "display_name": "",
        "tags": {},
        "created": 1_700_000_000.0,
        "software": "headstart test",
    }
    return Manifest(**{**fields, **changes})


class Publisher:
    """A registry with its database and files in a folder, to publish versions without jobs."""

    def __init__(
        self,
        folder: Path,
        clock: ManualClock,
        *,
        resident_bytes: int = 1 << 20,
        address: str | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.resident_bytes = resident_bytes
        file = folder / "headstart.sqlite3"
        self.database = open_empty(address or file, clock)
        self.store = VersionStore(folder / "versions")
        self.resident = ResidentVersions(resident_bytes)
        self.registry = Registry(self.database, self.store, self.resident, clock=clock)
        self._jobs = count(1)

    def publish(
        self,
        model: str = "pets",
        *,
        alias: str | None = None,
        expires: float | None = None,
        head: Head | None = None,
        tail: TailWeights | None = None,
        job_id: str = "",
        files: Mapping[str, bytes] | None = None,
        **manifest: Any,
    ) -> int:
        """Publish a version, as a job does; returns its number."""
        head = head or make_head()
        job_id = job_id or f"job-{next(self._jobs)}"
        fields = {"class_names": head.class_names, **manifest}
        further = dict(files or {})
        if tail is not None:
            fields["tail"] = TailFacts(blocks=tail.blocks, cut=f"cut{tail.blocks}")
            further[TAIL_FILE] = encode_tail(tail)
        written, size = self.store.write(f"{job_id}.1", head, make_manifest(model, job_id, **fields), further)
        with self.database.write() as connection:
            number = self.registry.insert(
                connection,
                artifact=f"{job_id}.1",
                size_bytes=size,
                manifest=written,
                expires=expires,
                alias=alias,
            )
        self.registry.index.refresh(model)
        return number

    def reopened(self) -> Registry:
        """The registry of a server that was just started on the same files."""
        return Registry(self.database, self.store, ResidentVersions(self.resident_bytes), clock=self.clock)

    def close(self) -> None:
        self.database.close()


class FakeArchives:
    """Files of archives, of which only their sizes are there."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}

    def sizes(self) -> dict[str, int]:
        return dict(self.files)

    def remove(self, job_id: str) -> None:
        self.files.pop(job_id, None)

    def remove_all_but(
        self, needed: Callable[[Collection[str]], Collection[str]], *, older_than: float = 0.0
    ) -> int:
        gone = sorted(set(self.files) - set(needed(self.files)))
        for job_id in gone:
            del self.files[job_id]
        return len(gone)


SUMMARY = DatasetSummary(
    example_count=9, class_counts={"cat": 4, "dog": 5}, held_out_count=0, digest="d" * 64
)


def with_parts(store: JobStore, **kinds: type) -> JobStore:
    """Turn parts of a job store into instances of subclasses that fail or wait."""
    for name, kind in kinds.items():
        getattr(store, name).__class__ = kind
    return store


class JobDriver:
    """A job store, with short ways to do what jobs and callers do."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        limits: QueueLimits | None = None,
        slots: int = 1,
        tenant_limits: Callable[[str], TenantLimits] | None = None,
    ) -> None:
        self.tenant_limits = tenant_limits
        self.publisher = publisher
        self.clock = publisher.clock
        self.notifier = JobNotifier()
        self.limits = limits or QueueLimits()
        self.slots = slots
        self._owners = count(1)
        self.job_store = self.restarted()
        self._ids = count(1)

    def restarted(self, backbones: Collection[str] | None = None, **settings: Any) -> JobStore:
        """The job store of another process on the same database; further settings as `JobStore` has them."""
        names = [each.name for each in fields(ReplicaSettings) if each.name in settings]
        own = {name: settings.pop(name) for name in names}
        defaults = {
            "owner": f"host/{next(self._owners)}",
            "slots": self.slots,
            "lease_seconds": LEASE.seconds,
        }
        return open_job_store(
            self.publisher.database,
            self.publisher.registry,
            settings.pop("notifier", self.notifier),
            ReplicaSettings(**{"backbones": backbones, **defaults, **own}),
            limits=self.limits,
            tenant_limits=self.tenant_limits,
            **settings,
        )

    def crash(self) -> None:
        """Lose the process: another one on the same database goes on, once all leases have ended."""
        self.job_store = self.restarted()
        self.job_store.queue.expire_leases()

    def submission(
        self,
        job_id: str = "",
        *,
        request_id: str | None = None,
        request_hash: str = "h",
        archives: Collection[str] = (),
        tenant: str = "",
        nbytes: int = 0,
        memory_bytes: int | None = None,
        **spec: Any,
    ) -> Submission:
        return Submission(
            memory_bytes=memory_bytes,
            tenant=tenant,
            nbytes=nbytes,
            job_id=job_id or f"job-{next(self._ids)}",
            spec=FineTuneSpec(**{"model": "pets", "backbone": "fake", **spec}),
            summary=SUMMARY,
            request_id=request_id,
            request_hash=request_hash,
            archives=archives,
        )

    def submit(self, job_id: str = "", **fields: Any) -> Job:
        return self.job_store.queue.submit(self.submission(job_id, **fields))

    def claim(self) -> Job:
        job = self.job_store.queue.claim()
        assert job is not None
        return job

    def running(self, job_id: str = "", **fields: Any) -> Job:
        self.submit(job_id, **fields)
        return self.claim()

    def report(self, job: Job, fraction: float = 0.5, *, staged: str | None = None) -> None:
        progress = Progress(step=JobStep.FEATURES, fraction=fraction)
        self.job_store.runs.report(job, progress, Findings(), staged=staged)

    def succeed(
        self,
        job: Job,
        promotion: Promotion | None = None,
        *,
        findings: Findings | None = None,
        members: Collection[tuple[str, int]] = (),
    ) -> int:
        head, artifact = make_head(), f"{job.job_id}.{job.attempt}"
        manifest, size = self.publisher.store.write(artifact, head, make_manifest(job.spec.model, job.job_id))
        return self.job_store.runs.succeed(
            job,
            Progress(step=JobStep.PUBLISH, fraction=1.0),
            findings or Findings(),
            artifact=artifact,
            size_bytes=size,
            manifest=manifest,
            promotion=promotion,
            members=members,
        )

    def events(self, job_id: str) -> list[JobEvent]:
        return list(self.job_store.reader.events(job_id, 0))


def settings_of(**values: object) -> Settings:
    """The settings of a server from values that are written as in variables."""
    texts = {SETTINGS[name].variable: str(value) for name, value in values.items()}
    return load({}, texts).settings()
