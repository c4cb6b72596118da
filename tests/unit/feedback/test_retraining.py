"""Each acknowledged feedback is an added example of exactly one version, whatever becomes of retrains."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from fakes import FakeBackbone, JobDriver
from feedback_bench import EAGER, FeedbackBench
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.backbones.contract.vectors import TensorDecoder
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.errors import UndecodableInput, WrongModality, WrongTask
from headstart_server.feedback.feedback import Feedback, FeedbackOutcome, ReadyModel
from headstart_server.feedback.feedback_service import SentFeedback
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.jobs.job import JobTrigger
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.feedback_rows import Answer, ChosenFeedback, FeedbackChangedError, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy
from postgres import on_both_databases
from workbench import Workbench, pet, pets

PENDING, TRAINING, LEARNED, SUPERSEDED, RECORDED = FeedbackState

pytestmark = on_both_databases


def labeled(feedback: FeedbackBench, *places: int, label: str = "cat") -> list[str]:
    return [feedback.label("cat", place, label)[0].example_id for place in places]


def test_feedback_is_pending_then_in_a_job_then_learned_by_its_version(feedback: FeedbackBench) -> None:
    first, second = labeled(feedback, 50, 51)
    assert feedback.states() == {first: PENDING, second: PENDING}
    (job,) = feedback.retraining.run()
    assert (job.trigger, job.spec.priority, job.spec.parent_version) == (JobTrigger.RETRAIN, -10, 1)
    assert feedback.states() == {first: TRAINING, second: TRAINING}
    assert feedback.store.retrain_state("pets")[1].job_id == job.job_id
    assert feedback.run(job) == 2
    assert feedback.states() == {first: LEARNED, second: LEARNED}
    assert feedback.added(2) == sorted([first, second])
    version = feedback.bench.registry.reader.version("pets", 2)
    assert version.manifest.feedback_count == 2
    assert version.aliases == ("stable",)
    # The job's archive has the contents now.
    assert len(feedback.bench.files()) == 2
    assert feedback.bench.driver.job_store.quotas.recount_usage() == 0
    assert feedback.retraining.run() == []


def test_a_retrain_begins_at_each_of_its_conditions(feedback: FeedbackBench) -> None:
    feedback.set_policy(RetrainPolicy(alias="stable", min_feedback_count=3, max_delay=60.0))
    labeled(feedback, 50, 51)
    assert feedback.retraining.run() == []
    feedback.bench.driver.clock.advance(60)
    assert feedback.retrain() == 2
    labeled(feedback, 52, 53, 54)
    # Not sooner than `min_interval` after the last one.
    assert feedback.retraining.run() == []
    feedback.bench.driver.clock.advance(60)
    assert feedback.retraining.run() != []


def test_a_low_accuracy_of_the_random_sample_begins_a_retrain(feedback: FeedbackBench) -> None:
    feedback.set_policy(RetrainPolicy(alias="stable", min_accuracy=0.9, min_interval=0.0))
    for place in range(20):
        feedback.capture(f"p{place}", "cat", 50 + place, is_random=place < 19)
        feedback.answer(f"p{place}", Answer.REJECTED if place < 3 else Answer.CONFIRMED)
    assert feedback.retraining.run() == []
    feedback.capture("p20", "cat", 80, is_random=True)
    feedback.answer("p20", Answer.CONFIRMED)
    # 17 of 20 were correct.
    assert feedback.retrain() == 2
    # The accuracy of version 2 is unknown, and there is nothing to learn.
    assert feedback.retraining.run() == []


def test_an_unexpected_error_counts_as_a_failure_of_its_model_only(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeled(feedback, 50)

    def fails(model: str, alias: str) -> int:
        raise KeyError(alias)

    with monkeypatch.context() as patch:
        patch.setattr(feedback.bench.registry.reader, "alias_number", fails)
        assert feedback.retraining.run() == []
    _, state = feedback.store.retrain_state("pets")
    assert (state.failures, state.error["reason"]) == (1, "INTERNAL")


def test_only_one_retrain_of_a_model_is_under_way(feedback: FeedbackBench) -> None:
    labeled(feedback, 50)
    (job,) = feedback.retraining.run()
    (later,) = labeled(feedback, 51)
    assert feedback.retraining.run() == []
    chosen = ChosenFeedback(feedback_ids=[later], baseline=1)
    with pytest.raises(FeedbackChangedError):
        feedback.bench.driver.job_store.queue.submit(
            replace(feedback.bench.driver.submission(), feedback=chosen)
        )
    feedback.run(job)
    assert feedback.retrain() == 3
    assert feedback.added(3) == [later]


def change_after(monkeypatch: pytest.MonkeyPatch, store: FeedbackStore, change: Callable[[], object]) -> None:
    """Do something once, right after the models that may retrain were read."""
    ready = store.ready

    def called() -> Sequence[ReadyModel]:
        found = ready()
        monkeypatch.setattr(store, "ready", ready)
        change()
        return found

    monkeypatch.setattr(store, "ready", called)


def test_feedback_that_another_replica_has_learned_meanwhile_begins_no_retrain(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn() -> None:
        assert feedback.retrain() == 2
        labeled(feedback, 53)

    feedback.set_policy(RetrainPolicy(alias="stable", min_feedback_count=3, min_interval=0.0))
    labeled(feedback, 50, 51, 52)
    change_after(monkeypatch, feedback.store, learn)
    # One is too few, and the three are learned.
    assert feedback.retraining.run() == []
    assert feedback.retraining.run() == []


def test_a_server_that_stops_reads_no_further_feedback_for_a_retrain(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback.bench.published(pets(4), model="red/cars", alias="stable")
    feedback.set_policy(model="red/cars")
    names = labeled(feedback, 50, 51, 52)
    feedback.label("cat", 50, "cat", model="red/cars")
    read, reads = ArchiveReader.read, []

    def stop_after(reader: ArchiveReader, example: StoredExample) -> Content:
        reads.append(example.id)
        feedback.bench.submissions.close()
        return read(reader, example)

    monkeypatch.setattr(ArchiveReader, "read", stop_after)
    assert feedback.retraining.run() == []
    assert reads == names[:1]
    assert set(feedback.states().values()) == {PENDING}
    assert feedback.store.retrain_state("pets")[1].failures == 0


def test_feedback_that_is_erased_meanwhile_begins_no_retrain(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = labeled(feedback, 50)
    change_after(monkeypatch, feedback.store, lambda: feedback.bench.eraser.erase(name))
    assert feedback.retraining.run() == []
    assert feedback.store.retrain_state("pets")[1].failures == 0


def test_a_failed_retrain_gives_its_feedback_back_and_waits(feedback: FeedbackBench) -> None:
    (name,) = labeled(feedback, 50)
    feedback.fail(feedback.retraining.run()[0])
    assert feedback.states() == {name: PENDING}
    state = feedback.store.retrain_state("pets")[1]
    assert (state.failures, state.job_id, state.error["reason"]) == (1, "", "INTERNAL")
    assert feedback.retraining.run() == []
    feedback.bench.driver.clock.advance(10)
    assert feedback.retrain() == 2
    assert feedback.added(2) == [name]
    assert feedback.store.retrain_state("pets")[1].failures == 0


def test_a_cancelled_retrain_gives_its_feedback_back(feedback: FeedbackBench) -> None:
    (name,) = labeled(feedback, 50)
    (job,) = feedback.retraining.run()
    feedback.bench.driver.job_store.queue.cancel(job.job_id)
    assert feedback.states() == {name: PENDING}
    assert feedback.store.retrain_state("pets")[1].error["reason"] == "CANCELLED"


def test_a_policy_stops_after_failures_until_it_is_changed(feedback: FeedbackBench) -> None:
    feedback.set_policy(replace(EAGER, max_failures=3))
    labeled(feedback, 50)
    for _ in range(3):
        feedback.fail(feedback.retraining.run()[0])
        feedback.bench.driver.clock.advance(1000)
    assert feedback.retraining.run() == []
    feedback.bench.driver.clock.advance(1e6)
    assert feedback.retraining.run() == []
    feedback.set_policy(EAGER)
    assert feedback.retrain() == 2


def test_a_retrain_that_cannot_be_accepted_counts_as_failed(feedback: FeedbackBench) -> None:
    feedback.bench.registry.delete_version("pets", 1, force=True)
    feedback.bench.published(pets(4), discard_examples=True)
    labeled(feedback, 50)
    assert feedback.retraining.run() == []
    state = feedback.store.retrain_state("pets")[1]
    assert (state.failures, state.error["reason"]) == (1, "EXAMPLES_NOT_KEPT")


def test_feedback_during_a_retrain_is_a_new_correction(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    feedback.answer("p1", "dog")
    (job,) = feedback.retraining.run()
    feedback.answer("p1", "cat")
    feedback.run(job)
    assert feedback.retrain() == 3
    assert feedback.added(2) == feedback.added(3) == ["p1"]
    (example,) = [
        each
        for each in feedback.bench.examples(feedback.bench.registry.reader.version("pets", 3)).examples
        if each.id == "p1"
    ]
    assert example.target.label == "cat"


def test_feedback_that_comes_back_does_not_contradict_later_feedback(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    feedback.answer("p1", "dog")
    (job,) = feedback.retraining.run()
    feedback.answer("p1", "cat")
    feedback.fail(job)
    listed = feedback.store.list("pets", before=None, limit=9)
    assert [(each.state, each.target and each.target.label) for each in listed] == [
        (PENDING, "cat"),
        (SUPERSEDED, "dog"),
    ]


def test_a_correction_of_a_training_example_takes_its_place(feedback: FeedbackBench) -> None:
    # The same content as an example of version 1, which was not labeled by its ID.
    (name,) = labeled(feedback, 0, label="dog")
    assert feedback.retrain() == 2
    ids = feedback.bench.ids(feedback.bench.registry.reader.version("pets", 2))
    assert name in ids
    assert "cat0" not in ids
    assert len(ids) == 12


def test_a_correction_of_a_held_out_example_is_held_out(bench: Workbench) -> None:
    feedback = FeedbackBench(bench)
    held_out = [pet(word, 20, held_out=True) for word in ("cat", "dog", "emu")]
    bench.published([*pets(4), *held_out], alias="stable")
    feedback.set_policy()
    (name,) = labeled(feedback, 20, label="dog")
    feedback.retrain()
    (example,) = [
        one for one in bench.examples(bench.registry.reader.version("pets", 3)).examples if one.id == name
    ]
    assert example.held_out


def test_feedback_that_was_not_promoted_stays_in_later_versions(feedback: FeedbackBench) -> None:
    held_out = [pet(word, place, held_out=True) for word in ("cat", "dog", "emu") for place in range(20, 26)]
    feedback.bench.published([*pets(4), *held_out], alias="stable")
    feedback.set_policy(replace(EAGER, promote_if=PromotionCriteria(max_drop=0.0, significance=1.0)))
    wrong = labeled(feedback, *range(50, 70), label="dog")
    assert feedback.retrain() == 3
    version = feedback.bench.registry.reader.version("pets", 3)
    assert version.promotion is not None
    assert not version.promotion.is_promoted
    assert feedback.bench.registry.reader.alias_number("pets", "stable") == 2
    (later,) = labeled(feedback, 71)
    assert feedback.retrain() == 4
    assert feedback.added(3) == sorted(wrong)
    assert feedback.added(4) == [later]
    fourth = feedback.bench.registry.reader.version("pets", 4)
    assert fourth.manifest.parent == 3
    assert set(wrong) <= set(feedback.bench.ids(fourth))


def test_a_moved_alias_is_the_next_parent(feedback: FeedbackBench) -> None:
    labeled(feedback, 50)
    assert feedback.retrain() == 2
    feedback.bench.published(pets(5), alias="stable")
    (name,) = labeled(feedback, 51)
    assert feedback.retrain() == 4
    assert feedback.bench.registry.reader.version("pets", 4).manifest.parent == 3
    assert feedback.added(4) == [name]


def test_a_deleted_last_version_is_not_the_parent(feedback: FeedbackBench) -> None:
    labeled(feedback, 50)
    assert feedback.retrain() == 2
    feedback.bench.registry.set_alias("pets", "stable", 1)
    feedback.bench.registry.delete_version("pets", 2, force=True)
    labeled(feedback, 51)
    assert feedback.retrain() == 3
    assert feedback.bench.registry.reader.version("pets", 3).manifest.parent == 1


def test_a_model_without_the_alias_gets_it(feedback: FeedbackBench) -> None:
    feedback.set_policy(replace(EAGER, alias="new"))
    labeled(feedback, 50)
    assert feedback.retrain() == 2
    assert feedback.bench.registry.reader.alias_number("pets", "new") == 2


def test_a_retrain_that_crashes_keeps_its_feedback(feedback: FeedbackBench) -> None:
    (name,) = labeled(feedback, 50)
    (job,) = feedback.retraining.run()
    feedback.bench.driver.claim()
    feedback.bench.driver.crash()
    assert feedback.states() == {name: TRAINING}
    assert feedback.run(job) == 2
    assert feedback.added(2) == [name]


def test_two_models_are_retrained_next_to_each_other(feedback: FeedbackBench) -> None:
    feedback.bench.published(pets(4), model="red/cars", alias="stable")
    feedback.set_policy(model="red/cars")
    labeled(feedback, 50)
    feedback.label("cat", 50, "cat", model="red/cars")
    assert [job.spec.model for job in feedback.retraining.run()] == ["pets", "red/cars"]


def test_deleting_a_model_during_its_retrain_ends_the_fence(feedback: FeedbackBench) -> None:
    labeled(feedback, 50)
    (job,) = feedback.retraining.run()
    feedback.bench.registry.delete_model("pets", force=True)
    feedback.run(job)
    feedback.set_policy()
    (name,) = labeled(feedback, 51)
    assert feedback.retrain() == 3
    assert feedback.states() == {name: LEARNED}


# Feedback that was sent while the alias named a version of another kind


def table(size: int) -> FakeBackbone:
    """A backbone that takes only rows of so many numbers."""
    backbone = FakeBackbone(f"table{size}", modality=Modality.TENSOR, digest=f"{size}" * 64)
    decoder, decode = TensorDecoder(size), backbone.decode

    def checked(content: Content) -> np.ndarray[Any, np.dtype[np.float32]]:
        decoder.decode(content)
        return decode(content)

    backbone.decode = checked  # type: ignore[method-assign]
    return backbone


def row(size: int, place: int, label: str = "low") -> Example:
    content = np.full(size, place, np.float32)
    return Example(content=content, target=Target.of_label(label), id=f"{label}{place}")


def table_of(size: int) -> list[Example]:
    return [row(size, place, ("low", "high")[place % 2]) for place in range(12)]


@pytest.fixture
def moved(tmp_path: Path, driver: JobDriver) -> Iterator[FeedbackBench]:
    """A model whose version 2 takes longer rows of numbers than version 1, which has the alias."""
    bench = Workbench(tmp_path, driver, table(4), table(5))
    bench.published(table_of(4), backbone="table4", alias="stable")
    bench.published(table_of(5), backbone="table5")
    feedback = FeedbackBench(bench)
    feedback.set_policy()
    yield feedback
    bench.close()


def label_row(feedback: FeedbackBench, example: Example) -> tuple[Feedback, FeedbackOutcome]:
    sent = SentFeedback(model="pets", content=example.content, answer=Answer.LABEL, target=example.target)
    return feedback.service.send(sent)


def test_feedback_that_no_longer_fits_is_left_out_and_the_other_one_is_learned(moved: FeedbackBench) -> None:
    short, _ = label_row(moved, row(4, 50))
    moved.bench.registry.set_alias("pets", "stable", 2)
    good, _ = label_row(moved, row(5, 51))
    with capture_logs() as logged:
        assert moved.retraining.run() == []
    assert moved.states() == {short.example_id: RECORDED, good.example_id: PENDING}
    (event,) = [each for each in logged if each["event"] == "feedback_left_out"]
    assert (event["model"], event["feedback"]) == ("pets", 1)
    assert "of shape [4]" in event["error"]
    assert moved.store.retrain_state("pets")[1].failures == 0
    assert moved.retrain() == 3
    assert moved.added(3) == [good.example_id]
    assert moved.states() == {short.example_id: RECORDED, good.example_id: LEARNED}
    # Its content is no longer needed.
    moved.bench.archives.sweep()
    assert short.feedback_id not in moved.bench.files()
    assert moved.bench.driver.job_store.quotas.recount_usage() == 0


def test_feedback_that_was_left_out_can_be_sent_again(moved: FeedbackBench) -> None:
    short, _ = label_row(moved, row(4, 50))
    moved.bench.registry.set_alias("pets", "stable", 2)
    assert moved.retraining.run() == []
    moved.bench.registry.set_alias("pets", "stable", 1)
    again, outcome = label_row(moved, row(4, 50))
    assert outcome is FeedbackOutcome.REPLACED
    assert moved.retrain() == 3
    assert moved.states() == {short.example_id: SUPERSEDED, again.example_id: LEARNED}


def test_feedback_about_a_captured_input_must_fit_the_version_to_retrain(moved: FeedbackBench) -> None:
    for name in ("p1", "p2", "p3"):
        moved.capture(name, "cat", 50, predicted="low")
        found = moved.captured.found["pets", name]
        moved.captured.found["pets", name] = replace(found, content=row(4, 50).content)
    assert moved.answer("p1", "high")[0].state is PENDING
    moved.bench.registry.set_alias("pets", "stable", 2)
    for answer in ("low", Answer.CONFIRMED):
        with pytest.raises(UndecodableInput, match=r"of 5 floats.*of shape \[4\]") as caught:
            moved.answer("p2", answer)
        assert caught.value.field == "prediction_id"
    # No version learns it.
    assert moved.answer("p3", Answer.REJECTED)[0].state is RECORDED


def test_feedback_of_another_task_or_modality_is_left_out(moved: FeedbackBench) -> None:
    short, _ = label_row(moved, row(4, 50))
    numbers = [replace(each, target=Target.of_value(place)) for place, each in enumerate(table_of(4))]
    moved.bench.published(numbers, model="other", backbone="table4", alias="stable")
    version = moved.bench.registry.reader.version("other", 1)
    example = row(4, 50)
    with pytest.raises(WrongTask):
        moved.retraining._check_fits(short.stored, example.content, version)
    moved.bench.published(pets(4), model="images", alias="stable")
    images = moved.bench.registry.reader.version("images", 1)
    with pytest.raises(WrongModality):
        moved.retraining._check_fits(short.stored, "a text", images)
