"""Feedback is recorded once, durably, and only if a model can learn it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from feedback_bench import EAGER, FeedbackBench
from headstart_server.database import database
from headstart_server.errors import (
    ExampleNotFound,
    InputTooLarge,
    InvalidField,
    InvalidLabel,
    ModelNotFound,
    PredictionNotCaptured,
    RequestIdReused,
    TenantQuotaExceeded,
    UndecodableInput,
    UnknownClass,
    VersionNotFound,
    WrongModality,
    WrongTask,
)
from headstart_server.feedback.feedback import FeedbackOutcome
from headstart_server.feedback.feedback_service import SentFeedback
from headstart_server.jobs.job_counts import DataCounts
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.target import Target
from headstart_server.models.feedback_rows import Answer, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy, UnknownClasses
from postgres import on_both_databases
from workbench import Workbench, pet, pets

ACCEPTED, REPEATED, REPLACED = FeedbackOutcome
PENDING, TRAINING, LEARNED, SUPERSEDED, RECORDED = FeedbackState

pytestmark = on_both_databases


@pytest.fixture
def feedback(bench: Workbench) -> FeedbackBench:
    return FeedbackBench(bench)


def test_a_label_of_a_prediction_is_pending_and_its_content_is_stored(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50, predicted="dog")
    found, outcome = feedback.answer("p1", "cat", principal="ann")
    assert (outcome, found.state, found.example_id, found.principal) == (ACCEPTED, PENDING, "p1", "ann")
    assert found.target == Target.of_label("cat")
    assert found.prediction.predicted == Target.of_label("dog")
    assert found.feedback_id in feedback.bench.files()
    reader = feedback.bench.datasets.reader()
    assert reader.read(found.stored) == pet("cat", 50).content
    reader.close()


def test_a_confirmation_is_an_example_of_the_predicted_label(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    found, _ = feedback.answer("p1", Answer.CONFIRMED)
    assert (found.state, found.target) == (PENDING, Target.of_label("cat"))


def test_a_rejection_counts_for_the_accuracy_and_stores_no_content(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50, predicted="dog")
    found, outcome = feedback.answer("p1", Answer.REJECTED)
    assert (outcome, found.state, found.target, found.nbytes) == (ACCEPTED, RECORDED, None, 0)
    assert found.feedback_id not in feedback.bench.files()


def test_an_input_without_prediction_gets_an_id(feedback: FeedbackBench) -> None:
    found, outcome = feedback.label("cat", 50, "cat", number=1)
    assert (outcome, found.state, found.prediction.version) == (ACCEPTED, PENDING, 1)
    assert found.example_id == found.feedback_id


def test_a_repeated_request_returns_the_first_feedback(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    first, _ = feedback.answer("p1", "dog", request_id="r")
    feedback.captured.found.clear()
    assert feedback.answer("p1", "dog", request_id="r") == (first, REPEATED)
    with pytest.raises(RequestIdReused, match="'r' was used before"):
        feedback.answer("p1", "cat", request_id="r")
    assert feedback.states() == {"p1": PENDING}
    assert len(feedback.bench.files()) == 2


def test_the_same_answer_again_is_a_repetition_without_a_request_id(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    first, _ = feedback.answer("p1", "dog")
    assert feedback.answer("p1", "dog") == (first, REPEATED)
    assert len(feedback.bench.files()) == 2


def test_another_answer_replaces_the_first_one(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50, predicted="dog")
    first, _ = feedback.answer("p1", Answer.CONFIRMED)
    second, outcome = feedback.answer("p1", "cat")
    assert outcome is REPLACED
    listed = {each.feedback_id: each.state for each in feedback.store.list("pets", before=None, limit=9)}
    assert listed == {first.feedback_id: SUPERSEDED, second.feedback_id: PENDING}
    assert first.feedback_id not in feedback.bench.files()
    third, outcome = feedback.answer("p1", Answer.REJECTED)
    assert (outcome, third.state) == (REPLACED, RECORDED)
    assert feedback.answer("p1", "cat")[1] is REPLACED
    assert not {first.feedback_id, second.feedback_id} & feedback.bench.files()


def test_later_feedback_about_the_same_content_replaces_earlier(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    feedback.capture("p2", "cat", 50)
    feedback.answer("p1", "dog")
    assert feedback.answer("p2", "cat")[1] is REPLACED
    assert feedback.states() == {"p1": SUPERSEDED, "p2": PENDING}


def test_feedback_counts_as_examples_of_the_tenant(bench: Workbench) -> None:
    usage = bench.driver.job_store.quotas
    before = usage.usage_of("").stored.example_bytes
    feedback = FeedbackBench(bench, TenantLimits(stored_bytes=usage.usage_of("").stored.nbytes + 600))
    found, _ = feedback.label("cat", 50, "cat")
    assert usage.usage_of("").stored.example_bytes == before + found.nbytes
    counted = DataCounts(bench.driver.publisher.database).refresh()
    assert (counted.feedback, counted.feedback_bytes) == ({"pending": 1, "training": 0}, found.nbytes)
    with pytest.raises(TenantQuotaExceeded):
        feedback.label("cat", 51, "cat")
    assert len(bench.files()) == 2
    assert usage.recount_usage() == 0


def test_a_search_for_orphans_keeps_the_content_of_feedback(feedback: FeedbackBench) -> None:
    found, _ = feedback.label("cat", 50, "cat")
    feedback.bench.datasets.write_single("feedback-orphan", pet("cat", 51))
    feedback.bench.archives.recover()
    assert found.feedback_id in feedback.bench.files()
    assert "feedback-orphan" not in feedback.bench.files()


def test_erasing_an_example_deletes_its_feedback_and_its_content(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    feedback.answer("p1", "dog")
    feedback.capture("p2", "cat", 51)
    feedback.answer("p2", Answer.REJECTED)
    (kept, _) = feedback.label("dog", 60, "dog")
    content = pet("cat", 50).content
    assert content in on_disk(feedback.bench)
    assert feedback.bench.eraser.erase("p1", "pets").contents == 1
    assert content not in on_disk(feedback.bench)
    feedback.bench.eraser.erase("p2")
    assert feedback.states() == {kept.example_id: PENDING}
    with pytest.raises(ExampleNotFound):
        feedback.bench.eraser.erase("p1")
    assert feedback.bench.driver.job_store.quotas.recount_usage() == 0


def test_feedback_is_erased_during_its_retrain(feedback: FeedbackBench) -> None:
    feedback.set_policy()
    feedback.capture("p1", "cat", 50)
    feedback.answer("p1", "dog")
    (kept, _) = feedback.label("dog", 60, "dog")
    (job,) = feedback.retraining.run()
    assert feedback.bench.eraser.erase("p1").job_ids == [job.job_id]
    number = feedback.run(job)
    assert pet("cat", 50).content not in on_disk(feedback.bench)
    assert "p1" not in feedback.bench.ids(feedback.bench.registry.reader.version("pets", number))
    assert feedback.states() == {kept.example_id: LEARNED}


def on_disk(bench: Workbench) -> bytes:
    return b"".join(path.read_bytes() for path in bench.folder.iterdir() if path.is_file())


def test_deleting_a_model_deletes_its_feedback(feedback: FeedbackBench) -> None:
    feedback.set_policy()
    feedback.label("cat", 50, "cat")
    feedback.bench.registry.delete_model("pets", force=True)
    assert feedback.bench.files() == set()
    feedback.bench.published(pets(4))
    assert feedback.states() == {}
    assert feedback.bench.registry.reader.model("pets").retrain is None
    assert feedback.bench.driver.job_store.quotas.recount_usage() == 0


def test_feedback_that_arrives_while_its_model_is_deleted_is_not_stored(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[object] = []

    def send() -> None:
        try:
            outcomes.append(feedback.label("cat", 50, "cat"))
        except ModelNotFound as error:
            outcomes.append(error)

    other = threading.Thread(target=send)

    @contextmanager
    def failpoint(name: str) -> Iterator[None]:
        if name == "models.delete":
            other.start()
            # Without a lock between the two, the other one ends meanwhile.
            other.join(0.5)
        yield

    monkeypatch.setattr(database, "failpoint", failpoint)
    feedback.bench.registry.delete_model("pets", force=True)
    other.join()
    assert [type(outcome) for outcome in outcomes] == [ModelNotFound]
    feedback.bench.archives.recover()
    assert feedback.bench.files() == set()
    feedback.bench.published(pets(4))
    assert feedback.states() == {}


def test_the_expired_or_unknown_prediction_is_named(feedback: FeedbackBench) -> None:
    with pytest.raises(PredictionNotCaptured, match=r"'p9' is stored.*Send the input"):
        feedback.answer("p9", "cat")
    feedback.capture("p1", "cat", 50, model="red/pets")
    with pytest.raises(PredictionNotCaptured):
        feedback.answer("p1", "cat")


def test_unknown_classes_are_allowed_or_rejected_by_the_policy(feedback: FeedbackBench) -> None:
    assert feedback.label("fox", 1, "fox")[1] is ACCEPTED
    feedback.set_policy(RetrainPolicy(alias="stable", max_delay=1.0, unknown_classes=UnknownClasses.REJECT))
    with pytest.raises(UnknownClass, match="does not know the class 'fox'"):
        feedback.label("fox", 2, "fox")
    assert feedback.label("fox", 2, "dog")[1] is ACCEPTED


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "cars"}, ModelNotFound),
        ({"target": Target.of_value(3.0)}, WrongTask),
        ({"target": Target.of_labels(["cat"])}, WrongTask),
        ({"target": Target.of_label("")}, InvalidLabel),
        ({"target": Target.of_label("x" * 257)}, InvalidLabel),
        ({"content": "a text"}, WrongModality),
        ({"content": b"broken"}, UndecodableInput),
        ({"content": b"cat:" + b"1" * (33 << 20)}, InputTooLarge),
        ({"content": None}, InvalidField),
        ({"number": 9}, VersionNotFound),
        ({"answer": Answer.CONFIRMED, "target": None}, InvalidField),
        ({"answer": Answer.REJECTED, "target": None}, InvalidField),
    ],
)
def test_feedback_that_no_model_can_learn_is_rejected(
    feedback: FeedbackBench, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        feedback.label("cat", 50, "cat", **fields)
    assert feedback.states() == {}
    assert len(feedback.bench.files()) == 1


def test_the_accuracy_counts_each_prediction_once_by_its_last_answer(feedback: FeedbackBench) -> None:
    for place in range(4):
        feedback.capture(f"p{place}", "cat", 50 + place, predicted="cat", is_random=place < 2)
    feedback.answer("p0", Answer.REJECTED)
    feedback.answer("p0", "cat")
    feedback.answer("p1", "dog")
    feedback.answer("p2", Answer.CONFIRMED)
    feedback.answer("p3", Answer.REJECTED)
    feedback.label("dog", 70, "dog")
    counts = feedback.store.counts("pets")
    assert counts.by_state == {PENDING: 4, RECORDED: 1, SUPERSEDED: 1}
    (answers,) = counts.answers
    assert (answers.answers, answers.correct) == (4, 2)
    assert (answers.sampled, answers.sampled_correct) == (2, 1)
    assert (answers.version, answers.class_name) == (1, "cat")
    feedback.bench.driver.clock.advance(100)
    assert feedback.store.counts("pets", window=50).answers == []


def test_lists_are_by_state_the_newest_first(feedback: FeedbackBench) -> None:
    for place in range(5):
        feedback.label("cat", 50 + place, "cat")
    feedback.capture("p1", "cat", 60)
    feedback.answer("p1", Answer.REJECTED)
    first = feedback.store.list("pets", states=[PENDING], before=None, limit=3)
    rest = feedback.store.list("pets", states=[PENDING], before=first[-1].number, limit=9)
    assert [each.number for each in (*first, *rest)] == [5, 4, 3, 2, 1]
    with pytest.raises(ModelNotFound):
        feedback.store.list("cars", before=None, limit=3)


def test_tensors_and_policies_are_stored_as_sent(feedback: FeedbackBench) -> None:
    feedback.set_policy(EAGER)
    assert feedback.store.retrain_state("pets")[0] == EAGER
    content = np.zeros((2, 2, 3), np.uint8)
    sent = SentFeedback(model="pets", content=content, answer=Answer.LABEL, target=Target.of_label("cat"))
    assert (
        sent.digest
        == SentFeedback(
            model="pets", content=content.copy(), answer=Answer.LABEL, target=Target.of_label("cat")
        ).digest
    )
