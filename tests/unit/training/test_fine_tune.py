"""A fine-tune from stored examples to a published version, with a backbone that needs no network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import (
    FakeBackbone,
    FakeSource,
    JobDriver,
    ManualClock,
    Publisher,
    Recorder,
    trained_tail,
    with_parts,
)
from headstart_server.backbones.contract.tail_training import TailRequest, TailResult
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, Lane, LaneQueue
from headstart_server.errors import (
    ArtifactDamaged,
    DatabaseUnavailable,
    DatasetTooLarge,
    InvalidField,
    TooFewClasses,
    TrainerDied,
    UnusableExamplesError,
)
from headstart_server.evaluation.promotion_check import PromotionCheck
from headstart_server.jobs.job import Job, JobState, JobStep
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.running import ExampleErasedError, JobCancelledError, JobLostError
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.submitting import Submission
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Partial, Ridge
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.models.store import TAIL_FILE
from headstart_server.models.version import Manifest, Selector, TailFacts
from headstart_server.observability.energy import EnergyMeter
from headstart_server.training.feature_step import FeatureStep
from headstart_server.training.fine_tune import FineTuneRun, FineTuneSteps
from headstart_server.training.fit_step import STAGE_SECONDS, FitStep
from headstart_server.training.progress import REPORT_SECONDS, ProgressTools
from headstart_server.training.publish_step import PublishStep


class Rig:
    """All that a run works with; its backbone runs in a separate thread, as in the server."""

    def __init__(
        self,
        folder: Path,
        driver: JobDriver,
        job_store: JobStore | None = None,
        *,
        max_activation_bytes: int = 1 << 20,
    ) -> None:
        self.driver = driver
        self.clock = ManualClock(0.0)
        self.seen = Recorder()
        self.backbone = FakeBackbone()
        self.queue = LaneQueue(BatchSizes(4, 3))
        self.batcher = Batcher(self.backbone.run, self.queue, self.seen, clock=self.clock)
        self.batcher.start()
        self.cache = FeatureCache(1 << 20)
        self.datasets = DatasetStore(folder / "datasets", DatasetLimits())
        pool = BackbonePool(FakeSource(self.backbone), self._embedder, "fake")
        runs = (job_store or driver.job_store).runs
        self.steps = FineTuneSteps(
            reporting=ProgressTools(runs=runs, observer=self.seen, clock=self.clock),
            features=FeatureStep(
                self.datasets, pool, window=5, scratch=folder, max_activation_bytes=max_activation_bytes
            ),
            fitting=FitStep(driver.publisher.store),
            publishing=PublishStep(
                runs,
                driver.publisher.store,
                PromotionCheck(driver.publisher.registry, pool, self.datasets.reader, window=5),
                software="headstart test",
                now=driver.clock,
            ),
            energy=EnergyMeter(()),
        )

    def _embedder(self, backbone: FakeBackbone) -> Embedder:
        return Embedder(backbone, self.batcher, self.cache, max_pending=10)

    def job(self, examples: Sequence[Example], job_id: str = "job", **spec: object) -> Job:
        """A claimed job for these examples."""
        writer = self.datasets.writer(job_id)
        writer.add(examples)
        summary = writer.finish()
        fields = {"model": "pets", "backbone": "fake", **spec}
        self.driver.job_store.queue.submit(
            Submission(
                job_id=job_id,
                spec=FineTuneSpec(**fields),
                summary=summary,
                request_id=None,
                request_hash=job_id,
            )
        )
        return self.driver.claim()

    def run(self, job: Job, checkpoint: Callable[[], None] = lambda: None) -> FineTuneRun:
        return FineTuneRun(job, self.steps, checkpoint)

    def fine_tune(self, examples: Sequence[Example], job_id: str = "job", **spec: object) -> Manifest:
        """Fine-tune, and give the manifest of the version."""
        job = self.job(examples, job_id, **spec)
        number = self.run(job).execute()
        return self.driver.publisher.registry.reader.version(job.spec.model, number).manifest

    def answer(self, content: bytes, number: int = 1) -> str:
        head = self.driver.publisher.registry.files.load("pets", number).head
        views = self.backbone.run(self.backbone.decode(content)[None])
        return head.class_names[int(head.outputs(views).argmax())]


@pytest.fixture
def rig(tmp_path: Path, driver: JobDriver) -> Iterator[Rig]:
    rig = Rig(tmp_path, driver)
    yield rig
    rig.batcher.close()


def pets(each: int = 6, *, held_out: int = 0) -> list[Example]:
    """Examples of three classes; the last few of each class are held out."""
    return [
        Example(
            content=f"{label}:{place}".encode(),
            target=Target.of_label(label),
            id=f"{label}{place}",
            held_out=place >= each - held_out,
        )
        for place in range(each)
        for label in ("cat", "dog", "emu")
    ]


def unnamed(examples: Sequence[Example]) -> list[Example]:
    """The same examples without IDs, which may come again in one upload."""
    return [replace(example, id="") for example in examples]


BROKEN = [
    Example(content=b"broken:%d" % place, target=Target.of_label("cat"), id=f"b{place}") for place in range(2)
]


def test_labelled_examples_become_a_version_that_knows_new_ones(rig: Rig, driver: JobDriver) -> None:
    manifest = rig.fine_tune(pets(), alias="stable", seed=5, display_name="Our pets", tags={"team": "x"})
    assert [rig.answer(content) for content in (b"cat:new", b"dog:new", b"emu:new")] == ["cat", "dog", "emu"]
    assert (manifest.model, manifest.job_id, manifest.backbone) == ("pets", "job", "fake")
    assert manifest.backbone_digest == rig.backbone.digest
    assert manifest.dataset_digest == driver.job_store.reader.get("job").dataset_digest
    assert (manifest.seed, manifest.example_count) == (5, 18)
    assert manifest.class_names == ("cat", "dog", "emu")
    assert (manifest.display_name, manifest.tags) == ("Our pets", {"team": "x"})
    assert (manifest.created, manifest.software) == (driver.clock(), "headstart test")
    assert manifest.recipe.regularization is not None
    assert driver.publisher.registry.index.resolve(Selector(model="pets", alias="stable")) == 1
    job = driver.job_store.reader.get("job")
    assert (job.state, job.version) == (JobState.SUCCEEDED, 1)
    assert rig.seen.published == [("pets", 1)]
    assert rig.seen.steps == ["features", "fit", "evaluate", "publish"]
    assert {"features", "fit", "evaluate", "decode", "backbone"} <= set(job.findings.step_seconds)


def test_the_next_fine_tune_moves_the_alias_and_a_ttl_ends_a_version(rig: Rig, driver: JobDriver) -> None:
    rig.fine_tune(pets(), "one", alias="stable", ttl=60.0)
    rig.fine_tune(pets(), "two", alias="stable")
    registry = driver.publisher.registry
    assert registry.index.resolve(Selector(model="pets", alias="stable")) == 2
    assert registry.reader.version("pets", 1).expires == driver.clock() + 60
    assert registry.reader.version("pets", 2).expires is None


def test_the_same_examples_in_any_order_give_the_same_head_to_the_bit(
    tmp_path: Path, publisher: Publisher
) -> None:
    digests = []
    examples = [*pets(), *unnamed(pets()[:4])]
    for place, order in enumerate((examples, examples[::-1], examples[7:] + examples[:7])):
        # Each with a cold cache, so that batches differ as well.
        rig = Rig(tmp_path, JobDriver(publisher))
        digests.append(rig.fine_tune(order, f"job-{place}", seed=3, held_out_fraction=0.2).head_digest)
        rig.batcher.close()
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_another_seed_deals_otherwise(rig: Rig) -> None:
    manifests = [rig.fine_tune(pets(), f"job-{seed}", seed=seed, held_out_fraction=0.3) for seed in (1, 2)]
    assert manifests[0].head_digest != manifests[1].head_digest


def test_each_different_content_passes_the_backbone_once_ever(rig: Rig) -> None:
    examples = [*pets(), *unnamed(pets())]
    manifest = rig.fine_tune(examples, "one")
    assert manifest.example_count == len(examples)
    assert sum(rig.backbone.batches) == len(examples) // 2
    assert set(rig.backbone.decoded.values()) == {1}
    rig.fine_tune(examples, "two", seed=1)
    assert sum(rig.backbone.batches) == len(examples) // 2
    assert all(lane is Lane.TRAIN and rows <= 3 for lane, rows in rig.seen.batches)


def test_an_example_whose_features_are_no_numbers_is_a_faulty_one(rig: Rig) -> None:
    examples = [*pets(), Example(content=b"endless", target=Target.of_label("cat"), id="nan")]
    with pytest.raises(UnusableExamplesError) as caught:
        rig.fine_tune(examples)
    assert caught.value.reason == "UNDECODABLE_INPUT"
    assert "The features of the input contain NaN or infinity." in caught.value.message
    assert caught.value.metadata == {"unusable_examples": "1", "examples": str(len(examples))}
    manifest = rig.fine_tune(examples, "second", max_excluded_fraction=0.1)
    assert manifest.example_count == len(examples) - 1


def test_auto_takes_all_views_and_its_recipe_can_be_carried_out_again(rig: Rig, driver: JobDriver) -> None:
    chosen = rig.fine_tune(pets(12), "first").recipe
    again = rig.fine_tune(pets(12), "second", recipe=chosen)
    one, other = (driver.publisher.registry.files.load("pets", number).head for number in (1, 2))
    assert again.recipe == chosen
    assert other.weights.tobytes() == one.weights.tobytes()
    assert other.temperature == one.temperature


def test_a_recipe_is_carried_out_on_the_view_it_names(rig: Rig, driver: JobDriver) -> None:
    rig.fine_tune(pets(), recipe=Ridge(views=("taps",), regularization=0.5, folds=3))
    version = driver.publisher.registry.files.load("pets", 1)
    assert version.head.views == ("taps",)
    assert version.head.weights.shape == (3, 3)
    recipe = driver.publisher.registry.reader.version("pets", 1).manifest.recipe
    assert (recipe.views, recipe.regularization, recipe.folds) == (("taps",), 0.5, 3)


# Metrics


def test_without_held_out_examples_metrics_are_out_of_fold(rig: Rig) -> None:
    metrics = rig.fine_tune(pets()).metrics
    assert (metrics.source, metrics.example_count) == (MetricsSource.OUT_OF_FOLD, 18)


def test_marked_examples_are_measured_on_and_not_trained_on(rig: Rig) -> None:
    without = rig.fine_tune([example for example in pets(6, held_out=2) if not example.held_out], "one")
    manifest = rig.fine_tune(pets(6, held_out=2), "two")
    assert (manifest.metrics.source, manifest.metrics.example_count) == (MetricsSource.HELD_OUT, 6)
    assert manifest.example_count == 12
    assert manifest.head_digest == without.head_digest
    assert manifest.metrics.accuracy == 1.0


def test_a_share_is_held_out_class_by_class(rig: Rig) -> None:
    manifest = rig.fine_tune(pets(10), held_out_fraction=0.2)
    assert (manifest.metrics.source, manifest.metrics.example_count) == (MetricsSource.HELD_OUT, 6)
    assert manifest.example_count == 24
    assert {actual: count for actual, _, count in manifest.metrics.confusion} == {0: 2, 1: 2, 2: 2}


def test_one_example_of_each_class_is_enough_and_claims_no_accuracy(rig: Rig) -> None:
    manifest = rig.fine_tune(pets(1))
    assert manifest.metrics.source is MetricsSource.NONE
    assert manifest.metrics.accuracy is None
    assert rig.answer(b"dog:0") == "dog"


# Faults


def test_faulty_examples_within_the_share_are_dropped_and_listed(rig: Rig, driver: JobDriver) -> None:
    manifest = rig.fine_tune([*pets()[:9], *BROKEN, *pets()[9:]], max_excluded_fraction=0.1)
    assert manifest.example_count == 18
    findings = driver.job_store.reader.get("job").findings
    assert findings.excluded_count == 2
    assert [(fault.index, fault.id, fault.reason) for fault in findings.excluded] == [
        (9, "b0", "UNDECODABLE_INPUT"),
        (10, "b1", "UNDECODABLE_INPUT"),
    ]
    assert findings.excluded[0].message == "Expected an image. Received: b'broken:0'."


def test_dropped_examples_leave_no_trace_in_the_head(rig: Rig) -> None:
    clean = rig.fine_tune(pets(), "one")
    dropped = rig.fine_tune([*BROKEN, *pets()], "two", max_excluded_fraction=0.1)
    assert dropped.head_digest == clean.head_digest
    assert dropped.dataset_digest != clean.dataset_digest


def test_more_faulty_examples_than_allowed_fail_with_the_first_of_them(rig: Rig, driver: JobDriver) -> None:
    run = rig.run(rig.job([*pets()[:3], *BROKEN, *pets()[3:]], max_excluded_fraction=0.05))
    with pytest.raises(UnusableExamplesError) as caught:
        run.execute()
    assert caught.value.reason == "UNDECODABLE_INPUT"
    assert caught.value.message == (
        "2 of 20 examples cannot be used, and max_excluded_fraction allows 1. The first is example 3 ('b0'): "
        "Expected an image. Received: b'broken:0'."
    )
    assert run.findings.excluded_count == 2
    assert [fault.index for fault in run.findings.excluded] == [3, 4]
    assert list(driver.publisher.store.artifacts()) == []


def test_the_same_content_may_have_several_numbers(rig: Rig) -> None:
    sent = [Example(content=b"cat:x", target=Target.of_value(value)) for value in (1.0, 1.5, 1.25)]
    sent += [Example(content=b"dog:%d" % n, target=Target.of_value(3.0 + n)) for n in range(9)]
    assert rig.fine_tune(sent).example_count == 12


def test_contradicting_labels_fail_or_are_dropped_on_every_side_and_never_decoded(rig: Rig) -> None:
    sent = [
        *pets(),
        Example(content=b"cat:x", target=Target.of_label("cat")),
        Example(content=b"cat:x", target=Target.of_label("dog")),
    ]
    with pytest.raises(UnusableExamplesError) as caught:
        rig.run(rig.job(sent, "one")).execute()
    assert caught.value.reason == "CONTRADICTING_LABELS"
    assert caught.value.message == (
        "2 of 20 examples cannot be used, and max_excluded_fraction allows 0. The first is example 18: "
        "The same content has the label 'cat' here and 'dog' at example 19. Correct or remove one of them."
    )
    assert rig.fine_tune(sent, "two", max_excluded_fraction=0.1).example_count == 18
    assert rig.backbone.decoded[b"cat:x"] == 0


def test_every_copy_of_a_faulty_content_is_dropped(rig: Rig, driver: JobDriver) -> None:
    copies = [Example(content=b"broken", target=Target.of_label("cat"), id=str(place)) for place in range(3)]
    rig.fine_tune([*copies, *pets()], max_excluded_fraction=0.2)
    assert [fault.id for fault in driver.job_store.reader.get("job").findings.excluded] == ["0", "1", "2"]
    assert rig.backbone.decoded[b"broken"] == 1


def test_many_faults_are_counted_and_the_first_hundred_listed(rig: Rig) -> None:
    broken = [Example(content=b"broken:%d" % place, target=Target.of_label("cat")) for place in range(120)]
    run = rig.run(rig.job([*pets(), *broken]))
    with pytest.raises(UnusableExamplesError, match="120 of 138"):
        run.execute()
    assert len(run.findings.excluded) == 100
    assert run.findings.excluded_count == 120


def test_a_class_that_loses_all_its_examples_may_leave_too_few(rig: Rig) -> None:
    sent = [
        *[example for example in pets(4, held_out=1) if example.target.label == "cat"],
        Example(content=b"broken", target=Target.of_label("dog")),
    ]
    with pytest.raises(TooFewClasses) as caught:
        rig.run(rig.job(sent, max_excluded_fraction=1.0)).execute()
    assert caught.value.message == (
        "Expected examples of at least two classes to train on. Received: 3 examples, all of class 'cat'."
    )


def test_a_class_that_is_left_with_held_out_examples_only_fails(rig: Rig) -> None:
    sent = [
        *pets(),
        Example(content=b"broken", target=Target.of_label("fox")),
        Example(content=b"fox:1", target=Target.of_label("fox"), held_out=True),
    ]
    with pytest.raises(InvalidField, match="Received: class 'fox' with held-out examples only"):
        rig.run(rig.job(sent, max_excluded_fraction=1.0)).execute()


def test_a_dataset_that_is_gone_is_reported(rig: Rig) -> None:
    job = rig.job(pets())
    rig.datasets.remove("job")
    with pytest.raises(ArtifactDamaged):
        rig.run(job).execute()


def test_a_fault_of_the_runtime_ends_the_run(rig: Rig) -> None:
    def fail(rows: object) -> None:
        raise RuntimeError("no memory")

    rig.backbone.before_run = fail
    with pytest.raises(RuntimeError, match="no memory"):
        rig.run(rig.job(pets())).execute()


# ProgressReporter


def test_progress_goes_through_the_steps_and_only_rises(rig: Rig, driver: JobDriver) -> None:
    rig.backbone.before_run = lambda rows: rig.clock.advance(REPORT_SECONDS)
    rig.fine_tune(pets(10))
    reported = [event.progress for event in driver.events("job") if event.progress is not None]
    assert list(dict.fromkeys(progress.step for progress in reported)) == [
        JobStep.FEATURES,
        JobStep.FIT,
        JobStep.EVALUATE,
        JobStep.PUBLISH,
    ]
    fractions = [progress.fraction for progress in reported]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == 1.0
    features = [progress for progress in reported if progress.step is JobStep.FEATURES]
    assert len(features) >= 5
    assert all(progress.total == 30 for progress in features)
    assert [progress.done for progress in features] == sorted({progress.done for progress in features})
    assert reported[-1].accuracy is not None
    assert reported[-1].loss is not None
    assert reported[-2].accuracy == reported[-1].accuracy


def test_features_are_reported_no_more_often_than_twice_a_second(rig: Rig, driver: JobDriver) -> None:
    rig.fine_tune(pets(10))
    reported = [event.progress for event in driver.events("job") if event.progress is not None]
    # The first and the last, between which the clock stands still.
    assert [progress.done for progress in reported if progress.step is JobStep.FEATURES] == [1, 30]


def test_the_checkpoint_stops_it_between_examples_and_empties_the_queue(rig: Rig, driver: JobDriver) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise JobCancelledError("job")

    with pytest.raises(JobCancelledError):
        rig.run(rig.job(pets(20)), checkpoint).execute()
    assert sum(rig.backbone.decoded.values()) <= 3 + rig.steps.features.window
    assert list(driver.publisher.store.artifacts()) == []


def test_a_cancel_found_in_the_ledger_stops_it_without_a_version(rig: Rig, driver: JobDriver) -> None:
    job = rig.job(pets())
    driver.job_store.queue.cancel("job")
    with pytest.raises(JobCancelledError):
        rig.run(job).execute()
    assert list(driver.publisher.store.artifacts()) == []


# Publishing


def test_a_run_that_lost_its_job_publishes_nothing_and_removes_its_files(rig: Rig, driver: JobDriver) -> None:
    first = rig.job(pets())
    driver.crash()
    second = driver.claim()
    rig.run(second).execute()
    with pytest.raises(JobLostError):
        rig.run(first).execute()
    assert driver.publisher.registry.reader.model("pets").version_count == 1
    assert list(driver.publisher.store.artifacts()) == ["job.2"]


def test_a_fault_after_the_commit_does_not_take_the_files_of_the_version(
    tmp_path: Path, publisher: Publisher, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refresh(model: str) -> None:
        assert publisher.registry.reader.versions(model, limit=1)
        raise OSError("the database is away")

    rig = Rig(tmp_path, driver, driver.restarted())
    monkeypatch.setattr(publisher.registry.index, "refresh", refresh)
    with pytest.raises(OSError, match="away"):
        rig.run(rig.job(pets())).execute()
    rig.batcher.close()
    assert driver.job_store.reader.get("job").state is JobState.SUCCEEDED
    assert np.isfinite(publisher.reopened().files.load("pets", 1).head.weights).all()


# Other kinds of task.


def retargeted(targets: Mapping[str, Target], each: int = 8, **fields: object) -> list[Example]:
    """The pets, showing something else than their label."""
    return [replace(example, target=targets[example.target.label], **fields) for example in pets(each)]


TRAITS = {
    "cat": Target.of_labels(["furry", "small"]),
    "dog": Target.of_labels(["furry"]),
    "emu": Target.of_labels([]),
}
LEGS = {"cat": Target.of_value(4.0), "dog": Target.of_value(4.5), "emu": Target.of_value(2.0)}


@pytest.mark.parametrize("held_out_fraction", [0.0, 0.3])
def test_examples_of_several_labels_become_a_version_that_predicts_each(
    rig: Rig, driver: JobDriver, held_out_fraction: float
) -> None:
    manifest = rig.fine_tune(retargeted(TRAITS), held_out_fraction=held_out_fraction, task=Task.MULTI_LABEL)
    assert manifest.task is Task.MULTI_LABEL
    assert manifest.class_names == ("furry", "small")
    assert manifest.metrics.micro_f1 > 0.9
    head = driver.publisher.registry.files.load("pets", 1).head
    reported = []
    for content in (b"cat:new", b"dog:new", b"emu:new"):
        outputs = head.outputs(rig.backbone.run(rig.backbone.decode(content)[None]))[0]
        reported.append((outputs >= head.thresholds).tolist())
    assert reported == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("held_out_fraction", [0.0, 0.3])
def test_examples_with_numbers_become_a_version_that_predicts_the_number(
    rig: Rig, driver: JobDriver, held_out_fraction: float
) -> None:
    manifest = rig.fine_tune(retargeted(LEGS), held_out_fraction=held_out_fraction)
    assert manifest.task is Task.REGRESSION
    assert manifest.class_names == ()
    assert manifest.metrics.r_squared > 0.8
    head = driver.publisher.registry.files.load("pets", 1).head
    values = [
        float(head.outputs(rig.backbone.run(rig.backbone.decode(content)[None]))[0, 0])
        for content in (b"cat:new", b"emu:new")
    ]
    assert values == pytest.approx([4.0, 2.0], abs=0.7)
    assert head.interval is not None


def test_weights_and_soft_labels_reach_the_head(rig: Rig) -> None:
    plain = rig.fine_tune(pets(), "plain")
    soft = {
        name: Target.of_shares({name: 0.8, other: 0.2})
        for name, other in (("cat", "dog"), ("dog", "emu"), ("emu", "cat"))
    }
    digests = {plain.head_digest, rig.fine_tune(retargeted(soft, 6), "soft").head_digest}
    digests.add(
        rig.fine_tune(
            [replace(one, weight=1.0 + place % 4) for place, one in enumerate(pets())], "w"
        ).head_digest
    )
    assert len(digests) == 3


# Trained blocks


def tangled(each: int = 8, *, held_out: int = 0) -> list[Example]:
    """Examples that the backbone hardly distinguishes."""
    return [
        replace(example, content=b"pet:" + bytes(example.content).replace(b":", b""))
        for example in pets(each, held_out=held_out)
    ]


def test_a_version_with_trained_blocks_is_published_with_them(rig: Rig) -> None:
    manifest = rig.fine_tune(tangled(), recipe=Partial())
    assert manifest.tail == TailFacts(blocks=1, cut="cut1")
    assert TAIL_FILE in manifest.files
    assert manifest.note.startswith("Trained blocks")
    assert manifest.metrics.source is MetricsSource.OUT_OF_FOLD
    version = rig.driver.publisher.registry.files.load("pets", 1)
    assert version.tail is not None
    assert version.tail.cut == "cut1"
    (request,) = rig.backbone.trained
    assert len(request.rows) == manifest.example_count


def test_each_example_is_trained_on_by_its_own_activations(rig: Rig) -> None:
    seen: list[np.ndarray] = []

    def train(request: TailRequest) -> TailResult:
        seen.append(np.load(request.activations)[request.rows].mean(axis=(1, 2)))
        seen.append(request.targets)
        return trained_tail(request)

    rig.backbone.train = train
    # One content is there twice, and one cannot be decoded.
    examples = [*pets(6), *unnamed(pets(6)[:1]), *BROKEN]
    rig.fine_tune(examples, recipe=Partial(), max_excluded_fraction=0.5)
    activations, targets = seen
    expected = {tuple(np.round(rig.backbone.decode(one.content), 2)): one for one in pets(6)}
    for row, target in zip(activations, targets, strict=True):
        example = min(expected, key=lambda known: float(np.abs(np.array(known) - row).sum()))
        names = sorted({one.target.label for one in pets(6)})
        assert expected[example].target.label == names[int(target.argmax())]


def test_held_out_examples_are_judged_through_the_versions_trained_blocks(rig: Rig) -> None:
    manifest = rig.fine_tune(tangled(8, held_out=2), recipe=Partial())
    assert manifest.tail is not None
    assert manifest.metrics.source is MetricsSource.HELD_OUT
    # The tail moves the features by 1 and the head takes that off: without the tail they would be wrong.
    version = rig.driver.publisher.registry.files.load("pets", 1)
    kept_out = [example for example in tangled(8, held_out=2) if example.held_out]
    rows = np.stack([rig.backbone.decode(example.content) for example in kept_out])
    views = {"last": rows + 1, "taps": rows[:, :3] * 2}
    right = [
        version.head.class_names[place] == example.target.label
        for place, example in zip(version.head.outputs(views).argmax(axis=1), kept_out, strict=True)
    ]
    assert manifest.metrics.accuracy == np.mean(right)


def test_where_training_does_not_help_the_version_is_plain_and_says_so(rig: Rig) -> None:
    rig.backbone.train = lambda request: replace(trained_tail(request), epoch=0)
    job = rig.job(pets(6), recipe=Partial())
    number = rig.run(job).execute()
    manifest = rig.driver.publisher.registry.reader.version("pets", number).manifest
    assert manifest.tail is None
    assert TAIL_FILE not in manifest.files
    assert manifest.note.startswith("No trained blocks: ")
    recommendations = [event.progress.message for event in rig.driver.events(job.job_id) if event.progress]
    assert manifest.note in recommendations


def test_nothing_of_a_training_is_left_behind(rig: Rig, tmp_path: Path) -> None:
    def fail(request: TailRequest) -> TailResult:
        assert request.activations.exists()
        raise TrainerDied("Expected a result. Received: signal 9.")

    rig.backbone.train = fail
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrainerDied):
        rig.run(rig.job(pets(6), recipe=Partial())).execute()
    assert sorted(path for path in tmp_path.iterdir() if path.name != "datasets") == [
        path for path in before if path.name != "datasets"
    ]


def test_more_activations_than_there_may_be_are_refused_before_the_backbone_runs(
    tmp_path: Path, driver: JobDriver
) -> None:
    rig = Rig(tmp_path, driver, max_activation_bytes=100)
    with pytest.raises(DatasetTooLarge, match="Expected at most 1 different examples"):
        rig.run(rig.job(pets(6), recipe=Partial())).execute()
    assert rig.backbone.batches == []
    rig.batcher.close()


# Going on where an earlier attempt stopped


class SlowFit:
    """Makes fits take long on the rig's clock, and counts them."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.fits = 0

        def slowly(*args: object, **options: object) -> FittedHead:
            self.fits += 1
            rig.clock.advance(seconds)
            return fit(*args, **options)

        monkeypatch.setattr("headstart_server.training.fit_step.fit", slowly)


def claimed_after_fit(rig: Rig, examples: Sequence[Example], **spec: object) -> Job:
    """A job whose first attempt died after it had stored a fit; it is claimed again."""
    first = rig.job(examples, "job", **spec)

    def die_at_evaluation() -> None:
        # The checkpoint after the head was put aside.
        if rig.driver.job_store.reader.get("job").staged:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rig.run(first, die_at_evaluation).execute()
    rig.driver.crash()
    return rig.driver.claim()


@pytest.mark.parametrize("examples", [pets(6, held_out=2), retargeted(TRAITS), retargeted(LEGS)])
def test_a_head_that_took_long_is_not_fitted_again(
    rig: Rig, driver: JobDriver, monkeypatch: pytest.MonkeyPatch, examples: list[Example]
) -> None:
    slow = SlowFit(rig, monkeypatch, STAGE_SECONDS)
    reference = rig.fine_tune(examples, "whole")
    second = claimed_after_fit(rig, examples, alias="stable")
    assert slow.fits == 2
    rig.run(second).execute()
    manifest = driver.publisher.registry.reader.version("pets", 2).manifest
    assert slow.fits == 2
    assert manifest.head_digest == reference.head_digest
    assert manifest.metrics == reference.metrics
    assert manifest.recipe == reference.recipe
    assert manifest.fit_seconds == STAGE_SECONDS
    first, again = (
        driver.publisher.registry.files.evaluation(driver.publisher.registry.reader.version("pets", number))
        for number in (1, 2)
    )
    assert again[0] == first[0]
    assert driver.publisher.registry.reader.version("pets", 2).artifact == "job.2"
    assert sorted(driver.publisher.store.artifacts()) == ["job.2", "whole.1"]


def test_a_stored_fit_of_an_example_that_was_erased_since_is_not_used(
    rig: Rig, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowFit(rig, monkeypatch, STAGE_SECONDS)
    # Without this example one fewer is held out, so as many are trained on.
    examples, erased = pets(13), ("job", 0)
    without = rig.fine_tune(examples[1:], "without", held_out_fraction=0.2)
    job = claimed_after_fit(rig, examples, held_out_fraction=0.2)
    assert slow.fits == 2
    rig.datasets.erased = lambda archives: {erased}
    manifest = driver.publisher.registry.reader.version("pets", rig.run(job).execute()).manifest
    assert manifest.example_count == without.example_count
    assert slow.fits == 3
    assert manifest.head_digest == without.head_digest
    assert manifest.metrics == without.metrics
    assert sorted(driver.publisher.store.artifacts()) == ["job.2", "without.1"]


@pytest.mark.parametrize("name", ["digest", "runtime"])
def test_a_fit_on_the_features_of_another_backbone_is_not_used(
    rig: Rig, driver: JobDriver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    slow = SlowFit(rig, monkeypatch, STAGE_SECONDS)
    job = claimed_after_fit(rig, pets())
    setattr(rig.backbone, name, "f" * 64)
    manifest = driver.publisher.registry.reader.version("pets", rig.run(job).execute()).manifest
    assert "f" * 64 in (manifest.backbone_digest, manifest.runtime)
    assert slow.fits == 2


class ErasingRuns(JobRuns):
    """An example of each job is erased before its version is published."""

    def succeed(self, *args: object, **options: object) -> int:
        raise ExampleErasedError


def test_the_stored_fit_of_an_example_that_is_erased_meanwhile_is_removed(
    tmp_path: Path, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, driver, with_parts(driver.restarted(), runs=ErasingRuns))
    SlowFit(rig, monkeypatch, STAGE_SECONDS)
    with pytest.raises(ExampleErasedError):
        rig.run(rig.job(pets())).execute()
    rig.batcher.close()
    assert driver.job_store.reader.get("job").staged == "job.1.fit"
    assert list(driver.publisher.store.artifacts()) == []


def test_a_head_that_is_damaged_where_it_lies_is_fitted_again(
    rig: Rig, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowFit(rig, monkeypatch, STAGE_SECONDS)
    job = rig.job(pets())
    rig.run(replace(job, staged="job.0.fit")).execute()
    assert slow.fits == 1
    assert driver.publisher.registry.files.load("pets", 1)


def test_a_head_that_is_soon_fitted_is_not_put_aside(
    rig: Rig, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowFit(rig, monkeypatch, STAGE_SECONDS / 2)
    rig.fine_tune(pets())
    assert list(driver.publisher.store.artifacts()) == ["job.1"]


class UnavailableRuns(JobRuns):
    """Its database is away for reports and the first successes; the last of these is written anyway."""

    successes_without_answer = 2

    def report(self, *args: object, **options: object) -> None:
        raise DatabaseUnavailable("gone")

    def succeed(self, *args: object, **options: object) -> int:
        if self.successes_without_answer:
            self.successes_without_answer -= 1
            if not self.successes_without_answer:
                super().succeed(*args, **options)
            raise DatabaseUnavailable("gone")
        return super().succeed(*args, **options)


def test_work_goes_on_without_the_database_and_the_version_is_published_once(
    tmp_path: Path, publisher: Publisher, driver: JobDriver
) -> None:
    job_store = with_parts(driver.restarted(), runs=UnavailableRuns)
    rig = Rig(tmp_path, driver, job_store)
    slept: list[float] = []
    rig.steps = replace(rig.steps, reporting=replace(rig.steps.reporting, sleep=slept.append))
    assert rig.run(rig.job(pets())).execute() == 1
    rig.batcher.close()
    assert len(slept) == 2
    assert publisher.registry.reader.model("pets").version_count == 1
    assert driver.job_store.reader.get("job").state is JobState.SUCCEEDED


class RunsWithoutReply(JobRuns):
    """The reply to each commit of a success is lost."""

    def succeed(self, *args: object, **options: object) -> int:
        super().succeed(*args, **options)
        raise DatabaseUnavailable("gone")


def test_a_version_keeps_its_files_if_its_job_is_deleted_before_the_commit_is_repeated(
    tmp_path: Path, publisher: Publisher, driver: JobDriver
) -> None:
    job_store = with_parts(driver.restarted(), runs=RunsWithoutReply)
    rig = Rig(tmp_path, driver, job_store)

    def sleep(seconds: float) -> None:
        # A caller of another replica sees the success.
        driver.job_store.queue.delete("job")
        job_store.runs.__class__ = JobRuns

    rig.steps = replace(rig.steps, reporting=replace(rig.steps.reporting, sleep=sleep))
    assert rig.run(rig.job(pets())).execute() == 1
    rig.batcher.close()
    assert np.isfinite(publisher.reopened().files.load("pets", 1).head.weights).all()
