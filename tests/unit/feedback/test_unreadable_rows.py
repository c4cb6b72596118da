"""Rows that this release cannot read: their model says so, and other models go on."""

from typing import Any

import grpc
import pytest
from sqlalchemy import update

from feedback_bench import EAGER, FeedbackBench
from headstart_server.api.grpc.status import status_of
from headstart_server.database.feedback_tables import feedback as feedback_table
from headstart_server.database.tables import models
from headstart_server.errors import WrittenByNewerRelease
from headstart_server.jobs.job import JobState
from headstart_server.models.feedback_rows import FeedbackState
from headstart_server.models.version import Selector
from postgres import on_both_databases
from workbench import pets

pytestmark = on_both_databases


def write(feedback: FeedbackBench, model: str, **values: object) -> None:
    """Change the row of a model as a server of a newer release does."""
    with feedback.bench.driver.publisher.database.write() as connection:
        connection.execute(update(models).where(models.c.name == model).values(**values))


def newer_policy() -> dict[str, Any]:
    return {**EAGER.to_json(), "unknown_classes": "review"}


@pytest.fixture
def feedback(feedback: FeedbackBench) -> FeedbackBench:
    """The models `cars` and `pets` with feedback, which both retrain."""
    feedback.bench.published(pets(4), model="cars", alias="stable")
    feedback.set_policy(model="cars")
    feedback.label("cat", 50, "cat")
    feedback.label("cat", 50, "cat", model="cars")
    return feedback


@pytest.mark.parametrize(
    "values", [{"retrain": newer_policy()}, {"retrain": 5}, {"capture": {"random_fraction": "auto"}}]
)
def test_a_model_with_an_unreadable_policy_is_named_to_its_caller(
    feedback: FeedbackBench, values: dict[str, Any]
) -> None:
    write(feedback, "pets", **values)
    reader = feedback.bench.registry.reader
    for read in (lambda: reader.model("pets"), lambda: reader.models(after="", limit=10)):
        with pytest.raises(WrittenByNewerRelease, match=r"Model 'pets'.* Upgrade the server") as caught:
            read()
        assert status_of(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert reader.model("cars").retrain == EAGER


def test_models_predict_and_are_seen_to_change_although_a_capture_policy_is_unreadable(
    feedback: FeedbackBench,
) -> None:
    index = feedback.bench.driver.publisher.reopened().index
    write(feedback, "pets", capture={"random_fraction": "auto"})
    for model in ("cars", "pets"):
        index.refresh(model)
    assert index.resolve(Selector(model="cars", alias="stable")) == 1
    assert index.resolve(Selector(model="pets", alias="stable")) == 1


def test_other_models_retrain_although_a_policy_is_unreadable(feedback: FeedbackBench) -> None:
    write(feedback, "pets", retrain=newer_policy())
    (job,) = feedback.retraining.run()
    assert job.spec.model == "cars"
    with pytest.raises(WrittenByNewerRelease, match="odel 'pets'"):
        feedback.label("cat", 51, "cat")


def test_a_retrain_ends_although_its_policy_became_unreadable(feedback: FeedbackBench) -> None:
    feedback.set_policy(None, "pets")
    (job,) = feedback.retraining.run()
    write(feedback, "cars", retrain=newer_policy())
    feedback.fail(job)
    assert feedback.bench.driver.job_store.reader.get(job.job_id).state is JobState.FAILED
    assert list(feedback.states("cars").values()) == [FeedbackState.PENDING]
    # Not repeated immediately: what the policy says about failures is unknown.
    write(feedback, "cars", retrain=EAGER.to_json())
    assert feedback.retraining.run() == []


@pytest.mark.parametrize("values", [{"target": {"unheard-of": 1}}, {"answer": "maybe"}])
def test_unreadable_feedback_stops_only_its_model_and_does_not_count_as_a_failure(
    feedback: FeedbackBench, values: dict[str, Any]
) -> None:
    with feedback.bench.driver.publisher.database.write() as connection:
        here = update(feedback_table).where(feedback_table.c.model == "pets")
        connection.execute(here.values(**values))
    assert [job.spec.model for job in feedback.retraining.run()] == ["cars"]
    assert feedback.store.retrain_state("pets")[1].failures == 0
    with pytest.raises(WrittenByNewerRelease, match="Feedback '"):
        feedback.store.list("pets", before=None, limit=10)


def test_a_state_of_feedback_that_a_newer_release_wrote_is_named(feedback: FeedbackBench) -> None:
    with feedback.bench.driver.publisher.database.write() as connection:
        connection.execute(update(feedback_table).values(state="archived"))
    with pytest.raises(WrittenByNewerRelease, match="Feedback of model 'pets'"):
        feedback.store.counts("pets")
