"""Feedback whose example is erased while it is recorded, read or learned never comes back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete

from feedback_bench import EAGER, FeedbackBench
from headstart_server.database.capture_tables import captured_inputs
from headstart_server.datasets.erasure_log import ErasureRequest
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.errors import PredictionNotCaptured, StorageUnavailable
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.feedback_rows import FeedbackState
from postgres import on_both_databases
from workbench import pet, pets

pytestmark = on_both_databases


class FakeCaptures:
    """Captured inputs that an eraser deletes; `before` is called first.

    Args:
        feedback: where the inputs were captured.
    """

    def __init__(self, feedback: FeedbackBench, before: Callable[[], object] = lambda: None) -> None:
        self._feedback = feedback
        self._before = before

    def models_with(self, prediction_id: str) -> list[str]:
        return [model for model, each in self._feedback.captured.found if each == prediction_id]

    def erase(self, model: str, prediction_id: str) -> bool:
        self._before()
        with self._feedback.bench.driver.publisher.database.write("captures.erase") as connection:
            connection.execute(delete(captured_inputs))
        return self._feedback.captured.found.pop((model, prediction_id), None) is not None


def erase_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object]) -> None:
    """Do something once, right before a method is called."""
    method = getattr(owner, name)

    def called(*arguments: Any, **fields: Any) -> Any:
        monkeypatch.setattr(owner, name, method)
        work()
        return method(*arguments, **fields)

    monkeypatch.setattr(owner, name, called)


def contents(feedback: FeedbackBench) -> bytes:
    return b"".join(path.read_bytes() for path in feedback.bench.folder.iterdir())


def test_an_input_that_is_erased_before_its_feedback_is_recorded_does_not_come_back(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback.capture("p1", "cat", 50)
    feedback.bench.eraser._captures = FakeCaptures(feedback)  # type: ignore[assignment]
    erase_before(monkeypatch, feedback.store, "add", lambda: feedback.bench.eraser.erase("p1"))
    with pytest.raises(PredictionNotCaptured, match="was erased"):
        feedback.answer("p1", "cat")
    assert feedback.states() == {}
    assert pet("cat", 50).content not in contents(feedback)


def test_feedback_that_comes_before_its_input_is_erased_is_erased_too(feedback: FeedbackBench) -> None:
    feedback.capture("p1", "cat", 50)
    captures = FakeCaptures(feedback, lambda: feedback.answer("p1", "cat"))
    feedback.bench.eraser._captures = captures  # type: ignore[assignment]
    feedback.bench.eraser.erase("p1")
    assert feedback.states() == {}
    assert pet("cat", 50).content not in contents(feedback)


@pytest.mark.parametrize("rebuild", [False, True])
def test_feedback_that_is_learned_while_it_is_searched_for_is_erased_from_the_copy(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch, rebuild: bool
) -> None:
    (name,) = [feedback.label("cat", 50, "cat")[0].example_id]
    erase_before(monkeypatch, feedback.bench.eraser, "_note", feedback.retrain)
    request = ErasureRequest(example_id=name, request_id="r" if rebuild else "")
    found, _ = feedback.bench.erasure_service().erase(request, rebuild=rebuild)
    assert list(found.versions) == [("pets", 2)]
    assert pet("cat", 50).content not in contents(feedback)


@pytest.mark.parametrize("rebuild", [False, True])
def test_learned_feedback_that_another_erasure_deletes_first_is_erased_from_the_copy(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch, rebuild: bool
) -> None:
    eraser = feedback.bench.eraser
    name = feedback.label("cat", 50, "cat")[0].example_id
    request = ErasureRequest(example_id=name, request_id="r" if rebuild else "")

    def learn_and_delete() -> None:
        feedback.retraining.run()
        # Another replica records the erasure, and is killed.
        eraser._note(eraser._finder.find_feedback(request))

    erase_before(monkeypatch, eraser, "_note", learn_and_delete)
    feedback.bench.erasure_service().erase(request, rebuild=rebuild)
    assert pet("cat", 50).content not in contents(feedback)


def test_an_interrupted_erasure_is_completed_by_the_next_call(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = feedback.label("cat", 50, "cat")[0].example_id
    (job,) = feedback.retraining.run()

    def fail() -> None:
        raise StorageUnavailable("The bucket does not answer.")

    erase_before(monkeypatch, feedback.bench.datasets, "rewrite", fail)
    with pytest.raises(StorageUnavailable):
        feedback.bench.eraser.erase(name)
    assert pet("cat", 50).content in contents(feedback)
    # The feedback is deleted, so only its copy in the archive of the job is found.
    assert list(feedback.bench.eraser.erase(name).job_ids) == [job.job_id]
    assert pet("cat", 50).content not in contents(feedback)


def test_feedback_that_is_erased_while_a_retrain_reads_it_is_no_failure(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (feedback.label("cat", place, "cat")[0].example_id for place in (50, 51))
    erase_before(monkeypatch, ArchiveReader, "read", lambda: feedback.bench.eraser.erase(first))
    assert feedback.retraining.run() == []
    assert feedback.store.retrain_state("pets")[1].failures == 0
    assert feedback.retrain() == 2
    assert feedback.added(2) == [second]


def test_a_parent_that_is_replaced_while_a_retrain_begins_is_no_failure(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback.label("cat", 50, "cat")
    erase = lambda: feedback.bench.erasure_service().erase(  # noqa: E731
        ErasureRequest(example_id="cat0", request_id="r"), rebuild=True
    )
    erase_before(monkeypatch, feedback.store, "pending", erase)
    erase_before(monkeypatch, feedback.bench.registry.reader, "version", erase)
    assert feedback.retraining.run() == []
    assert feedback.store.retrain_state("pets")[1].failures == 0
    assert feedback.retrain() == 3


def test_a_retrain_whose_baseline_is_replaced_before_it_is_accepted_chooses_again(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback.label("cat", 50, "cat")
    queue = feedback.bench.driver.job_store.queue
    request = ErasureRequest(example_id="cat0", request_id="r")
    service = feedback.bench.erasure_service()
    erase_before(monkeypatch, queue, "submit", lambda: service.erase(request, rebuild=True))
    assert feedback.retraining.run() == []
    assert feedback.store.retrain_state("pets")[1].failures == 0
    assert feedback.retrain() == 3
    assert feedback.store.retrain_state("pets")[1].last_baseline == 2


def test_feedback_that_was_not_promoted_stays_in_later_versions_after_an_erasure(
    feedback: FeedbackBench,
) -> None:
    held_out = [pet(word, place, held_out=True) for word in ("cat", "dog", "emu") for place in range(20, 26)]
    feedback.bench.published([*pets(4), *held_out], alias="stable")
    feedback.set_policy(replace(EAGER, promote_if=PromotionCriteria(max_drop=0.0, significance=1.0)))
    wrong = [feedback.label("cat", place, "dog")[0].example_id for place in range(50, 70)]
    assert feedback.retrain() == 3
    assert feedback.bench.registry.reader.alias_number("pets", "stable") == 2
    erased = ErasureRequest(example_id=wrong.pop(), request_id="r")
    feedback.bench.erasure_service().erase(erased, rebuild=True)
    successor = feedback.bench.registry.reader.version("pets", 4)
    assert successor.manifest.feedback_count == len(wrong)
    erased = ErasureRequest(example_id="cat0", request_id="s")
    feedback.bench.erasure_service().erase(erased, rebuild=True)
    (later,) = [feedback.label("cat", 71, "cat")[0].example_id]
    last = feedback.bench.registry.reader.version("pets", feedback.retrain())
    assert set(wrong) | {later} <= set(feedback.bench.ids(last))
    assert all(state is FeedbackState.LEARNED for state in feedback.states().values())


def test_a_retrain_continues_from_the_last_one_if_only_its_baseline_was_replaced_meanwhile(
    feedback: FeedbackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = [pet(word, place, held_out=True) for word in ("cat", "dog", "emu") for place in range(20, 26)]
    feedback.bench.published([*pets(4), *held_out], alias="stable")
    feedback.set_policy(replace(EAGER, promote_if=PromotionCriteria(max_drop=0.0, significance=1.0)))
    # The retrain has not the example, so its version is not replaced.
    feedback.bench.eraser.erase("cat0")
    wrong = {feedback.label("cat", place, "dog")[0].example_id for place in range(50, 70)}
    assert feedback.retrain() == 3
    reader = feedback.bench.registry.reader
    assert reader.alias_number("pets", "stable") == 2
    later = feedback.label("cat", 71, "cat")[0].example_id
    request = ErasureRequest(example_id="cat0", request_id="r")
    service = feedback.bench.erasure_service()
    erase_before(monkeypatch, reader, "alias_number", lambda: service.erase(request, rebuild=True))
    assert feedback.retraining.run() == []
    last = reader.version("pets", feedback.retrain())
    assert last.manifest.parent == 3
    assert wrong | {later} <= set(feedback.bench.ids(last))
