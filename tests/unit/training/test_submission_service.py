"""Uploads: accepted whole, refused by name, or gone without a trace."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fakes import PATIENCE, FakeBackbone, FakeSource, JobDriver, ManualClock, Publisher, Recorder, with_parts
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.datasets.dataset_catalog import DatasetCatalog, NamedExamples
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, LaneQueue
from headstart_server.errors import (
    BackboneNotFound,
    Cancelled,
    Draining,
    HeadstartError,
    InvalidField,
    InvalidStream,
    JobQueueFull,
    RequestIdReused,
    TooFewClasses,
    WrongModality,
)
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.stored import QueueLimits
from headstart_server.jobs.submitting import Submission
from headstart_server.learning.analysis.dataset_findings import DatasetFindings, RecommendationKind
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.recipe import Partial, Ridge
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.training import candidates
from headstart_server.training.dataset_upload import DatasetUpload
from headstart_server.training.preview_service import Validation
from headstart_server.training.submission_service import open_submissions


def embedder_of(backbone: FakeBackbone) -> Embedder:
    batcher = Batcher(backbone.run, LaneQueue(BatchSizes(8, 8)), Recorder(), threads=1)
    batcher.start()
    return Embedder(backbone, batcher, FeatureCache(1 << 20), max_pending=10)


class Elsewhere:
    """Examples at URIs."""

    def __init__(self) -> None:
        self.sets: dict[str, list[Example]] = {}
        self.reads = 0
        #: Called before each example.
        self.before: Callable[[], object] = lambda: None

    def check(self, uri: str, tenant: str) -> None:
        if not uri.startswith("s3://allowed/"):
            raise InvalidField("Expected another URI.", field="spec.dataset_uri")

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str, task: Task | None
    ) -> Generator[Example, None, None]:
        del task
        self.reads += 1
        for example in self.sets[uri]:
            self.before()
            checkpoint()
            yield example


class Counter:
    """An intake that counts what it accepted, and its folder."""

    def __init__(self, folder: Path, publisher: Publisher, job_store: JobStore) -> None:
        self.folder = folder / "datasets"
        self.datasets = DatasetStore(self.folder, DatasetLimits(max_examples=1000))
        words = FakeBackbone("words", modality=Modality.TEXT)
        self.backbone = FakeBackbone("fake")
        self.source = FakeSource(self.backbone, words)
        self.pool = BackbonePool(self.source, embedder_of, "fake")
        self.accepted = 0
        self.elsewhere = Elsewhere()
        cut = self.backbone.info.tails[1].cut
        self.submissions = open_submissions(
            job_store,
            self.datasets,
            self.pool,
            publisher.registry,
            wake_workers=self.count,
            max_activation_bytes=6 * 2 * cut.size,
            uris=self.elsewhere,
            named=NamedExamples(DatasetCatalog(publisher.database), self.datasets),
        )

    def count(self) -> None:
        self.accepted += 1

    def open(
        self, request_id: str = "", *, validate_only: bool = False, tenant: str = "", **spec: object
    ) -> DatasetUpload:
        fields = {"model": "pets", "backbone": "", **spec}
        return self.submissions.open(
            FineTuneSpec(**fields), request_id, validate_only=validate_only, tenant=tenant
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def counter(tmp_path: Path, driver: JobDriver) -> Iterator[Counter]:
    counter = Counter(tmp_path, driver.publisher, driver.job_store)
    yield counter
    counter.pool.close()


_IDS = count()


def examples(*contents: bytes, label: str = "") -> list[Example]:
    return [
        Example(
            content=content,
            target=Target.of_label(label or content.split(b":")[0].decode()),
            id=f"id{next(_IDS)}",
        )
        for content in contents
    ]


PETS = examples(b"cat:1", b"dog:1", b"cat:2", b"dog:2")


# Accepting


def test_an_accepted_upload_is_a_queued_job_with_its_dataset(counter: Counter, driver: JobDriver) -> None:
    upload = counter.open(alias="stable")
    upload.add(PETS[:1])
    upload.add(PETS[1:])
    job = upload.accept()
    upload.close()
    assert (job.state, job.example_count, job.class_count) == (JobState.QUEUED, 4, 2)
    assert job.spec.backbone == "fake"
    assert counter.files() == [f"{job.job_id}.zip"]
    assert counter.accepted == 1
    assert driver.claim().job_id == job.job_id
    dataset = counter.datasets.open(job.job_id)
    assert [dataset.read(place) for place in range(4)] == [example.content for example in PETS]
    dataset.close()


def test_an_upload_that_is_closed_before_it_was_accepted_leaves_nothing(
    counter: Counter, driver: JobDriver
) -> None:
    upload = counter.open()
    upload.add(PETS)
    upload.close()
    assert counter.files() == []
    for late in (upload.accept, upload.validate, lambda: upload.add(PETS)):
        with pytest.raises(Cancelled):
            late()
    assert counter.files() == []
    assert driver.job_store.reader.count()[JobState.QUEUED] == 0
    upload.close()


def test_an_upload_that_was_never_used_leaves_nothing(counter: Counter) -> None:
    counter.open().close()
    assert counter.files() == []


class SlowQueue(JobQueue):
    """Keeps a submission, accepted by then, from returning."""

    committed = threading.Event()
    may_return = threading.Event()

    def submit(self, submission: Submission) -> Job:
        job = super().submit(submission)
        self.committed.set()
        assert self.may_return.wait(PATIENCE)
        return job


def test_a_caller_that_leaves_while_its_job_is_accepted_does_not_take_the_dataset_with_it(
    tmp_path: Path, publisher: Publisher, driver: JobDriver, clock: ManualClock
) -> None:
    job_store = with_parts(driver.restarted(), queue=SlowQueue)
    counter = Counter(tmp_path, publisher, job_store)
    upload = counter.open()
    upload.add(PETS)
    accepting = threading.Thread(target=upload.accept)
    accepting.start()
    assert job_store.queue.committed.wait(PATIENCE)
    closing = threading.Thread(target=upload.close)
    closing.start()
    # In vain: closing has to wait for what is being accepted.
    closing.join(0.2)
    job_store.queue.may_return.set()
    for thread in (accepting, closing):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    job = driver.claim()
    counter.datasets.open(job.job_id).close()
    assert counter.accepted == 1


def test_the_same_request_in_any_order_gets_the_first_job_and_stores_no_second_dataset(
    counter: Counter,
) -> None:
    jobs = []
    for order in (PETS, PETS[::-1]):
        upload = counter.open("r")
        upload.add(order)
        jobs.append(upload.accept().job_id)
        upload.close()
    assert jobs[0] == jobs[1]
    assert counter.files() == [f"{jobs[0]}.zip"]
    assert counter.accepted == 1


@pytest.mark.parametrize(
    ("spec", "sent"),
    [({"seed": 1}, PETS), ({}, PETS[:3]), ({}, [*PETS, *examples(b"cat:1")]), ({"backbone": "fake"}, None)],
)
def test_a_request_id_stands_for_its_spec_and_its_examples(
    counter: Counter, spec: dict[str, object], sent: Sequence[Example] | None
) -> None:
    first = counter.open("r")
    first.add(PETS)
    accepted = first.accept()
    first.close()
    upload = counter.open("r", **spec)
    upload.add(sent or PETS)
    if sent is None:
        # The default backbone by name is the default backbone.
        assert upload.accept().job_id == accepted.job_id
    else:
        with pytest.raises(RequestIdReused):
            upload.accept()
    upload.close()
    assert counter.files() == [f"{accepted.job_id}.zip"]


def test_a_job_that_is_refused_leaves_nothing(tmp_path: Path, publisher: Publisher) -> None:
    counter = Counter(tmp_path, publisher, JobDriver(publisher, limits=QueueLimits(queued=1)).job_store)
    first, second = counter.open(), counter.open()
    for upload in (first, second):
        upload.add(PETS)
    kept = first.accept()
    with pytest.raises(JobQueueFull):
        second.accept()
    for upload in (first, second):
        upload.close()
    assert counter.files() == [f"{kept.job_id}.zip"]


def test_a_dataset_that_cannot_be_trained_on_is_refused_and_leaves_nothing(counter: Counter) -> None:
    upload = counter.open()
    upload.add(PETS[:1])
    with pytest.raises(TooFewClasses):
        upload.accept()
    upload.close()
    assert counter.files() == []


# Opening


def test_a_full_queue_is_reported_before_the_examples_are_sent(tmp_path: Path, publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=1))
    counter = Counter(tmp_path, driver.publisher, driver.job_store)
    driver.submit()
    with pytest.raises(JobQueueFull):
        counter.open()
    counter.open("r").close()
    counter.open(validate_only=True).close()


def test_limits_and_request_ids_are_each_tenants_own(tmp_path: Path, publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=9, queued_per_tenant=1))
    counter = Counter(tmp_path, driver.publisher, driver.job_store)
    ids = {}
    for tenant in ("", "red", "blue"):
        upload = counter.open("r", tenant=tenant)
        upload.add(pets(2))
        ids[tenant] = upload.accept().job_id
        with pytest.raises(JobQueueFull, match="queue of the tenant is full: 1 of at most 1"):
            counter.open(tenant=tenant)
    assert len(set(ids.values())) == 3
    again = counter.open("r", tenant="red")
    again.add(pets(2))
    assert again.accept().job_id == ids["red"]
    again.close()


@pytest.mark.parametrize(
    ("spec", "kind", "field"),
    [
        ({"model": "../x"}, InvalidField, "spec.model"),
        ({"held_out_fraction": 2.0}, InvalidField, "spec.held_out_fraction"),
        ({"backbone": "huge"}, BackboneNotFound, None),
        ({"recipe": Ridge(views=("last", "nose"))}, InvalidField, "spec.recipe.ridge.view"),
        ({"expire_time": 1.0}, InvalidField, "spec.expire_time"),
        ({"expire_time": 1e12}, InvalidField, "spec.expire_time"),
    ],
)
def test_a_spec_that_cannot_be_is_reported_before_the_examples_are_sent(
    counter: Counter, spec: dict[str, object], kind: type[HeadstartError], field: str | None
) -> None:
    with pytest.raises(kind) as caught:
        counter.open(**spec)
    assert caught.value.field == field


def test_a_repeated_request_gets_its_job_after_its_expire_time(
    counter: Counter, driver: JobDriver, clock: ManualClock
) -> None:
    index = driver.publisher.registry.index
    expires = index.now() + 60.0
    jobs = []
    for _ in range(2):
        with closing(counter.open("r", expire_time=expires)) as upload:
            upload.add(PETS)
            jobs.append(upload.accept().job_id)
        clock.advance(120.0)
        index.sync()
    assert index.now() > expires
    assert jobs[0] == jobs[1]
    with pytest.raises(InvalidField, match=r"expire_time is .* seconds from now"):
        counter.open("other", expire_time=expires)


class QueueWithoutNul(JobQueue):
    """Fails to look for a text with NUL, as PostgreSQL does."""

    def replayed(self, request_id: str, request_hash: str | None = None, tenant: str = "") -> Job | None:
        assert "\0" not in request_id
        return super().replayed(request_id, request_hash, tenant)


def test_a_recipe_whose_packages_are_missing_is_refused_before_the_examples_are_sent(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "training_missing", lambda purpose: f"{purpose} needs the full image.")
    with pytest.raises(InvalidField, match="full image"):
        counter.open(recipe=Partial())


def test_a_request_id_with_nul_is_refused_before_it_is_looked_for(
    tmp_path: Path, publisher: Publisher, driver: JobDriver
) -> None:
    job_store = with_parts(driver.restarted(), queue=QueueWithoutNul)
    with pytest.raises(InvalidField) as caught:
        Counter(tmp_path, publisher, job_store).open("a\0b")
    assert caught.value.field == "spec.request_id"


def test_a_request_id_has_a_bound_in_bytes(counter: Counter) -> None:
    counter.open("ä" * 64).close()
    with pytest.raises(InvalidField) as caught:
        counter.open("ä" * 64 + "x")
    assert caught.value.message == "Expected a request id of at most 128 bytes. Received: 129."


def test_a_server_that_stops_opens_no_upload_and_lets_those_under_way_end(counter: Counter) -> None:
    upload = counter.open()
    upload.add(PETS)
    counter.submissions.close()
    with pytest.raises(Draining):
        counter.open()
    assert upload.accept().state is JobState.QUEUED
    upload.close()


# Adding


def test_a_wrong_kind_of_input_is_refused_with_its_place_in_the_whole_stream(counter: Counter) -> None:
    upload = counter.open()
    upload.add(PETS)
    with pytest.raises(WrongModality) as caught:
        upload.add([*PETS[:1], Example(content="a text", target=Target.of_label("cat"))])
    assert caught.value.field == "examples[5].input"
    upload.close()
    words = counter.open(backbone="words")
    with pytest.raises(WrongModality) as caught:
        words.add(PETS)
    assert caught.value.field == "examples[0].input"
    words.close()


def test_a_share_to_hold_out_and_marked_examples_are_refused_together(counter: Counter) -> None:
    upload = counter.open(held_out_fraction=0.2)
    upload.add(PETS)
    with pytest.raises(InvalidField) as caught:
        upload.add([Example(content=b"cat:3", target=Target.of_label("cat"), held_out=True)])
    assert caught.value.field == "examples[4].held_out"
    assert caught.value.message == (
        "Expected held_out_fraction or examples marked held_out, not both. Received: held_out_fraction 0.2 "
        "and example 4 marked."
    )
    upload.close()


# Validating


def validated(counter: Counter, sent: Sequence[Example], **spec: object) -> Validation:
    upload = counter.open(validate_only=True, **spec)
    upload.add(sent)
    found = upload.validate()
    upload.close()
    assert counter.files() == []
    assert counter.accepted == 0
    return found


def test_more_activations_than_a_job_may_keep_are_reported_before_there_is_a_job(counter: Counter) -> None:
    sent = examples(*[f"{word}:{place}".encode() for place in range(3) for word in ("cat", "dog")])
    again = [replace(example, id="") for example in sent]
    assert validated(counter, [*sent, *again], recipe=Partial()).valid
    more = [*sent, *examples(b"cat:9")]
    found = validated(counter, more, recipe=Partial())
    assert not found.valid
    assert "--max-dataset-size" in found.message
    assert validated(counter, more).valid


def test_what_is_in_order_is_valid_and_no_job_comes_of_it(counter: Counter, driver: JobDriver) -> None:
    found = validated(counter, PETS)
    assert replace(found, previewed=None) == Validation(
        valid=True,
        example_count=4,
        class_counts={"cat": 2, "dog": 2},
        faults=(),
        fault_count=0,
        warnings=(),
        message="",
    )
    assert driver.job_store.reader.count()[JobState.QUEUED] == 0


FAULTY = [
    *PETS,
    *examples(b"broken:1", label="cat"),
    *examples(b"dog:9", b"dog:9", label="dog"),
    *examples(b"dog:9", label="cat"),
]


def test_faults_and_contradictions_are_listed_in_order(counter: Counter) -> None:
    found = validated(counter, FAULTY)
    assert [(fault.index, fault.reason) for fault in found.faults] == [
        (4, "UNDECODABLE_INPUT"),
        (5, "CONTRADICTING_LABELS"),
        (6, "CONTRADICTING_LABELS"),
        (7, "CONTRADICTING_LABELS"),
    ]
    assert found.fault_count == 4
    assert not found.valid
    assert found.message == "4 of 8 examples cannot be used, and max_excluded_fraction allows 0."


def test_faults_that_may_be_dropped_leave_it_valid(counter: Counter) -> None:
    assert validated(counter, FAULTY, max_excluded_fraction=0.5).valid
    refused = validated(counter, FAULTY, max_excluded_fraction=0.49)
    assert not refused.valid
    assert refused.message == "4 of 8 examples cannot be used, and max_excluded_fraction allows 3."


@pytest.mark.parametrize("percent", [7, 14, 28, 29, 55, 57, 58])
def test_a_share_that_is_no_binary_number_allows_what_it_says(counter: Counter, percent: int) -> None:
    sent = [*examples(*[b"broken:%d" % place for place in range(percent)], label="cat")]
    sent += examples(*[b"%s:%d" % ([b"cat", b"dog"][place % 2], place) for place in range(100 - percent)])
    assert validated(counter, sent, max_excluded_fraction=percent / 100).valid


def test_what_is_left_must_still_be_trainable(counter: Counter) -> None:
    sent = [*examples(b"cat:1", b"cat:2"), *examples(b"broken", label="dog")]
    found = validated(counter, sent, max_excluded_fraction=1.0)
    assert not found.valid
    assert found.message == (
        "Expected examples of at least two classes to train on. Received: 2 examples, all of class 'cat'."
    )


def test_a_class_that_is_left_with_held_out_examples_only_is_reported(counter: Counter) -> None:
    sent = [
        *PETS,
        *examples(b"broken", label="emu"),
        Example(content=b"emu:1", target=Target.of_label("emu"), held_out=True),
    ]
    found = validated(counter, sent, max_excluded_fraction=1.0)
    assert not found.valid
    assert found.message == (
        "Every held-out class needs examples to train on. Received: class 'emu' with held-out examples only."
    )


def test_many_faults_are_counted_and_the_first_hundred_listed(counter: Counter) -> None:
    sent = [*PETS, *examples(*[b"broken:%d" % place for place in range(130)], label="cat")]
    found = validated(counter, sent)
    assert found.fault_count == 130
    assert [fault.index for fault in found.faults] == list(range(4, 104))
    assert found.faults[0].id == sent[4].id != ""


def test_classes_of_a_single_example_are_remarked_on(counter: Counter) -> None:
    found = validated(counter, [*PETS, *examples(b"emu:1", b"fox:1")])
    assert found.valid
    assert found.warnings == (
        "2 of 4 classes have a single example, such as 'emu': their accuracy cannot be estimated.",
    )


def test_what_can_never_be_trained_on_is_an_error_of_the_call(counter: Counter) -> None:
    upload = counter.open(validate_only=True)
    upload.add(PETS[:1])
    with pytest.raises(TooFewClasses):
        upload.validate()
    upload.close()
    assert counter.files() == []


# What is found before a job


def shown(content: bytes, label: str, **fields: Any) -> Example:
    return Example(content=content, target=Target.of_label(label), **fields)


def pets(count: int) -> list[Example]:
    return [
        shown(b"%s:%d" % (name.encode(), place), name) for place in range(count) for name in ("cat", "dog")
    ]


def findings_of(counter: Counter, sent: Sequence[Example], **spec: object) -> DatasetFindings:
    previewed = validated(counter, sent, **spec).previewed
    assert previewed is not None
    return previewed.findings


def test_what_is_valid_comes_with_findings_and_an_evaluation(counter: Counter) -> None:
    previewed = validated(counter, pets(20)).previewed
    assert previewed is not None
    assert previewed.evaluation.metrics.source is MetricsSource.OUT_OF_FOLD
    assert previewed.evaluation.metrics.example_count == 40
    assert previewed.findings.imbalance == 1.0
    assert previewed.findings.estimated_seconds > 0


def test_what_is_not_valid_comes_without(counter: Counter) -> None:
    assert validated(counter, FAULTY).previewed is None


def test_findings_name_examples_by_their_place_in_the_stream(counter: Counter) -> None:
    sent = [shown(b"broken", "cat"), *pets(20), shown(b"dog:99", "cat", id="odd one")]
    found = findings_of(counter, sent, max_excluded_fraction=0.5)
    assert [(one.example.index, one.example.id) for one in found.label_issues] == [(41, "odd one")]
    assert found.label_issues[0].suggested_label.text == "dog"
    assert [recommendation.kind for recommendation in found.recommendations][:2] == [
        RecommendationKind.FAULTS,
        RecommendationKind.LABEL_ISSUES,
    ]


def test_a_copy_that_is_held_out_is_found(counter: Counter) -> None:
    sent = [*pets(10), shown(b"cat:3", "cat", held_out=True), shown(b"dog:70", "dog", held_out=True)]
    found = findings_of(counter, sent)
    (group,) = found.duplicates
    assert (group.exact, group.across_held_out, group.contradicting) == (True, True, False)
    assert [example.index for example in group.examples] == [6, 20]
    assert RecommendationKind.LEAKAGE in [recommendation.kind for recommendation in found.recommendations]


def test_a_held_out_fraction_is_measured_on_as_a_job_would(counter: Counter) -> None:
    previewed = validated(counter, pets(20), held_out_fraction=0.25).previewed
    assert previewed is not None
    assert previewed.evaluation.metrics.source is MetricsSource.HELD_OUT
    assert previewed.evaluation.metrics.example_count == 10


def test_examples_that_were_looked_at_need_no_other_pass_for_the_job(counter: Counter) -> None:
    validated(counter, pets(5))
    validated(counter, pets(5))
    assert sum(counter.backbone.batches) == 10


def test_a_caller_that_leaves_ends_the_look_at_its_examples(counter: Counter) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        began.set()
        assert go_on.wait(PATIENCE)

    counter.backbone.before_run = wait
    upload = counter.open(validate_only=True)
    upload.add(pets(20))
    refusals: list[BaseException] = []

    def look() -> None:
        try:
            upload.validate()
        except Cancelled as error:
            refusals.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    assert began.wait(PATIENCE)
    closing = threading.Thread(target=upload.close)
    closing.start()
    looking.join(PATIENCE)
    go_on.set()
    closing.join(PATIENCE)
    assert len(refusals) == 1
    assert counter.files() == []


def test_a_server_that_stops_ends_the_look_at_examples(counter: Counter) -> None:
    counter.backbone.before_run = lambda _: counter.submissions.close()
    with pytest.raises(Draining):
        validated(counter, pets(40))


# Backbones that are not named


def test_the_first_example_decides_on_a_backbone_that_is_not_named(counter: Counter) -> None:
    texts = [
        Example(content=f"a text about {label}", target=Target.of_label(label), id=label)
        for label in ("cat", "dog")
    ]
    for content, expected in ((texts, "words"), (PETS, "fake")):
        upload = counter.open()
        upload.add(content)
        job = upload.accept()
        assert job.spec.backbone == expected
        upload.close()
    # All others have to be of the first one's kind.
    upload = counter.open()
    upload.add(texts)
    with pytest.raises(WrongModality, match="Backbone 'words'") as caught:
        upload.add(PETS)
    assert caught.value.field == "examples[2].input"
    upload.close()


def test_a_recipe_that_the_first_example_s_backbone_cannot_carry_out_is_reported_with_it(
    counter: Counter,
) -> None:
    upload = counter.open(recipe=Partial(blocks=2))
    counter.pool.metadata("words").tails.clear()
    with pytest.raises(InvalidField, match="'words' can be cut before: it cannot be cut"):
        upload.add([Example(content="a text", target=Target.of_label("cat"))])
    upload.close()


def test_examples_are_accepted_while_the_backbone_is_still_being_prepared(counter: Counter) -> None:
    may_load = threading.Event()
    counter.source.unprepared.add("words")
    counter.source.before_load = lambda _: may_load.wait(PATIENCE)
    texts = [Example(content=f"a {label}", target=Target.of_label(label)) for label in ("cat", "dog")]
    try:
        # Whether the backbone has the view is not known yet.
        for spec in ({"backbone": "words", "recipe": Ridge(views=("nowhere",))}, {}):
            upload = counter.open(**spec)
            upload.add(texts)
            assert upload.accept().spec.backbone == "words"
            upload.close()
    finally:
        may_load.set()


def test_a_repeated_request_goes_to_the_first_one_s_backbone(counter: Counter) -> None:
    texts = [Example(content=f"a {label}", target=Target.of_label(label)) for label in ("cat", "dog")]
    jobs = []
    for _ in range(2):
        upload = counter.open("again")
        upload.add(texts)
        jobs.append(upload.accept())
        upload.close()
    assert jobs[0] == jobs[1]
    assert counter.accepted == 1


# Examples at a URI

URI = "s3://allowed/pets.csv"


def gathered(counter: Counter, content: Sequence[Example] = PETS, uri: str = URI, **spec: Any) -> Job:
    counter.elsewhere.sets[uri] = list(content)
    upload = counter.open(dataset_uri=uri, **spec)
    upload.gather()
    job = upload.accept()
    upload.close()
    return job


def test_examples_at_a_uri_are_stored_like_those_that_come(counter: Counter) -> None:
    many = examples(*(b"%s:%d" % (name, place) for place in range(20) for name in (b"cat", b"dog")))
    job = gathered(counter, many)
    sent = counter.open()
    sent.add(many)
    other = sent.accept()
    assert (job.example_count, job.dataset_digest) == (40, other.dataset_digest)
    assert job.spec.dataset_uri == URI
    dataset = counter.datasets.open(job.job_id)
    assert [dataset.read(place) for place in range(40)] == [example.content for example in many]
    dataset.close()


def test_a_repeated_call_is_known_by_its_uri_and_reads_nothing(counter: Counter) -> None:
    first = gathered(counter, request_id="r")
    assert gathered(counter, PETS[:1], request_id="r").job_id == first.job_id
    assert counter.elsewhere.reads == 1
    with pytest.raises(RequestIdReused):
        gathered(counter, request_id="r", uri="s3://allowed/others.csv")
    with pytest.raises(RequestIdReused):
        gathered(counter, request_id="r", seed=2)


def test_a_uri_that_is_not_allowed_is_refused_before_anything_is_stored(counter: Counter) -> None:
    with pytest.raises(InvalidField, match="another URI"):
        counter.open(dataset_uri="s3://other/pets.csv")
    assert counter.files() == []


def test_examples_come_from_the_stream_or_from_a_uri(counter: Counter) -> None:
    upload = counter.open(dataset_uri=URI)
    with pytest.raises(InvalidStream, match="Send only one of them"):
        upload.add(PETS)
    upload.close()
    assert counter.files() == []


def test_nothing_more_is_read_for_a_caller_who_left_or_a_server_that_stops(counter: Counter) -> None:
    counter.elsewhere.sets[URI] = PETS * 10
    upload = counter.open(dataset_uri=URI)
    counter.elsewhere.before = upload.close
    with pytest.raises(Cancelled):
        upload.gather()
    upload = counter.open(dataset_uri=URI)
    counter.elsewhere.before = counter.submissions.close
    with pytest.raises(Draining):
        upload.gather()
    upload.close()
    assert counter.files() == []
