import itertools
import random
import time

import grpc
import pytest

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import job_pb2, model_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1.errors_pb2 import ErrorReason
from integration.server.calls import (
    TERMINAL,
    TIMEOUT,
    Api,
    digit,
    digits,
    duration,
    example,
    examples_message,
    noise,
    refused,
    stream,
)
from server_process import eventually

SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


def version_of(api: Api, job: job_pb2.Job) -> model_pb2.Version:
    versions = api.versions(job.spec.model)
    return next(version for version in versions if version.version == job.version)


def listed(api: Api, **fields) -> list[str]:
    """The ids of the jobs of all pages."""
    ids, token = [], ""
    while True:
        page = api.fine_tuning.ListJobs(tuning.ListJobsRequest(page_token=token, **fields))
        ids += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            return ids


def test_a_fine_tune_is_accepted_watched_awaited_and_then_answers(api: Api, model: str):
    accepted = api.fine_tune(digits((0, 1, 7), 8), model=model)
    events = list(api.watch(accepted.job_id))
    job = api.ended(accepted.job_id)
    images = [digit(label, place) for label in (0, 1, 7) for place in range(40, 45)]
    names = api.names(model, *images)

    assert accepted.state == job_pb2.JOB_STATE_QUEUED
    assert (accepted.example_count, accepted.class_count) == (24, 3)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[0].state == job_pb2.JOB_STATE_QUEUED
    assert [event.state in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    fractions = [event.progress.fraction for event in events if event.HasField("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert (job.state, job.version, job.last_event) == (SUCCEEDED, 1, events[-1].number)
    assert job.create_time.ToNanoseconds() <= job.start_time.ToNanoseconds() <= job.end_time.ToNanoseconds()
    assert set(job.step_durations) >= {"features", "fit", "evaluate"}
    right = sum(name == label for name, label in zip(names, "000001111177777", strict=True))
    assert right >= 9  # by chance 5


def test_a_status_without_wait_answers_at_once(api: Api, model: str):
    job_id = api.fine_tune(noise(200, seed=1), model=model).job_id

    assert api.status(job_id).state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)
    assert api.ended(job_id).state == SUCCEEDED


def test_a_status_that_waits_answers_after_its_wait_though_the_job_goes_on(api: Api, model: str):
    job_id = api.fine_tune(noise(400, seed=2), model=model).job_id
    started = time.monotonic()
    job = api.status(job_id, wait=0.2)
    waited = time.monotonic() - started

    # It would have waited until the job ended.
    assert job.state not in TERMINAL
    assert waited >= 0.2
    api.ended(job_id)


def test_a_watch_resumes_after_a_number(api: Api, model: str):
    job = api.published(digits((0, 1), 3), model=model)
    events = list(api.watch(job.job_id))

    assert list(api.watch(job.job_id, after=2)) == events[2:]
    assert list(api.watch(job.job_id, after=job.last_event)) == []


def test_a_watch_that_is_given_up_and_taken_up_again_misses_and_repeats_nothing(api: Api, model: str):
    job_id = api.fine_tune(noise(150, seed=3), model=model).job_id
    first = list(itertools.islice(api.watch(job_id), 3))
    rest = list(api.watch(job_id, after=first[-1].number))

    numbers = [event.number for event in first + rest]
    assert numbers == list(range(1, api.ended(job_id).last_event + 1))


def test_two_watches_of_one_job_see_the_same(api: Api, model: str):
    job_id = api.fine_tune(noise(60, seed=4), model=model).job_id
    watches = [api.watch(job_id) for _ in range(2)]

    assert list(watches[0]) == list(watches[1])


def test_a_request_id_that_comes_again_with_the_same_content_gives_the_first_job(api: Api, model: str):
    examples = digits((0, 1), 3)
    first = api.published(examples, model=model, request_id=model)
    # The order of the examples is no part of their identity.
    again = api.fine_tune(examples[::-1], model=model, request_id=model)

    assert again.job_id == first.job_id
    assert again.state == SUCCEEDED
    assert listed(api, model=model) == [first.job_id]


@pytest.mark.parametrize("change", ["examples", "spec"])
def test_a_request_id_that_comes_again_with_other_content_is_refused(api: Api, model: str, change: str):
    job = api.published(digits((0, 1), 3), model=model, request_id=model)
    examples, seed = (digits((0, 1), 4), 0) if change == "examples" else (digits((0, 1), 3), 1)
    refusal = refused(lambda: api.fine_tune(examples, model=model, request_id=model, seed=seed))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert refusal.metadata == {"job_id": job.job_id}
    assert "spec.request_id" in refusal.fields
    assert job.job_id in refusal.message


def test_two_calls_with_one_request_id_at_once_give_one_job(api: Api, model: str):
    examples = digits((0, 1), 3)
    calls = [
        api.fine_tuning.FineTune.future(stream(examples, model=model, request_id=model)) for _ in range(8)
    ]

    assert len({call.result(30).job.job_id for call in calls}) == 1
    assert len(listed(api, model=model)) == 1


def test_validating_reports_what_is_there_and_creates_nothing(api: Api, model: str):
    validation = api.validate([*digits((0, 1), 3), example(digit(7, 0), "lonely")], model=model)

    assert validation.valid
    assert validation.message == ""
    assert dict(validation.class_counts) == {"0": 3, "1": 3, "lonely": 1}
    assert (validation.example_count, validation.fault_count) == (7, 0)
    (warning,) = validation.warnings
    assert "'lonely'" in warning
    assert listed(api, model=model) == []
    refusal = refused(lambda: api.models.GetModel(keeping.GetModelRequest(model=model)))
    assert refusal.reason == "MODEL_NOT_FOUND"


def test_validating_names_each_example_that_cannot_be_used(api: Api, model: str):
    examples = [
        *digits((0, 1), 2),
        example(b"no image", "0", example_id="notes.txt"),
        example(digit(0, 0), "1", example_id="twice"),
    ]
    strict = api.validate(examples, model=model)
    lenient = api.validate(examples, model=model, max_excluded_fraction=0.5)

    assert not strict.valid
    assert "3 of 6 examples" in strict.message
    found = [
        (fault.index, fault.example_id, ErrorReason.Name(fault.reason).removeprefix("ERROR_REASON_"))
        for fault in strict.faults
    ]
    assert found == [
        (0, "", "CONTRADICTING_LABELS"),
        (4, "notes.txt", "UNDECODABLE_INPUT"),
        (5, "twice", "CONTRADICTING_LABELS"),
    ]
    assert strict.fault_count == 3
    assert lenient.valid
    assert lenient.fault_count == 3


def test_a_share_of_the_examples_is_held_out_class_by_class(api: Api, model: str):
    job = api.published(digits((0, 1), 8), model=model, held_out_fraction=0.25)
    version = version_of(api, job)

    assert version.metrics.source == model_pb2.METRICS_SOURCE_HELD_OUT
    assert version.metrics.example_count == 4
    assert version.lineage.example_count == 12
    assert version.metrics.accuracy_low <= version.metrics.accuracy <= version.metrics.accuracy_high
    assert sum(cell.count for cell in version.metrics.confusion) == 4


def test_marked_examples_are_held_out(api: Api, model: str):
    job = api.published([*digits((0, 1), 5), *digits((0, 1), 3, start=5, held_out=True)], model=model)
    version = version_of(api, job)

    assert version.metrics.source == model_pb2.METRICS_SOURCE_HELD_OUT
    assert (version.metrics.example_count, version.lineage.example_count) == (6, 10)


def test_with_nothing_held_out_accuracy_is_estimated_out_of_fold(api: Api, model: str):
    version = version_of(api, api.published(digits((0, 1), 5), model=model))

    assert version.metrics.source == model_pb2.METRICS_SOURCE_OUT_OF_FOLD
    assert (version.metrics.example_count, version.lineage.example_count) == (10, 10)
    assert version.metrics.log_loss >= 0


def test_a_version_keeps_what_it_was_made_with(api: Api, model: str):
    job = api.published(
        digits((0, 1), 4),
        model=model,
        display_name="Ziffern ✓",
        tags={"team": "post", "run": ""},
        alias="stable",
        seed=7,
        ttl=duration(3600),
        recipe=job_pb2.Recipe(ridge=job_pb2.RidgeRecipe(regularization=0.1, view="taps", folds=2)),
    )
    version = version_of(api, job)

    assert version.display_name == "Ziffern ✓"
    assert dict(version.tags) == {"team": "post", "run": ""} == dict(job.spec.tags)
    assert list(version.aliases) == ["stable"]
    assert list(version.class_names) == ["0", "1"]
    lived = version.expire_time.ToSeconds() - version.create_time.ToSeconds()
    assert abs(lived - 3600) <= 1
    lineage = version.lineage
    assert (lineage.job_id, lineage.seed, lineage.backbone) == (job.job_id, 7, "efficientnet-lite0")
    assert lineage.dataset_digest == job.dataset_digest
    assert len(lineage.backbone_digest) == 64
    assert lineage.software.startswith("headstart ")
    ridge = lineage.recipe.ridge
    assert (ridge.view, ridge.regularization, ridge.folds) == ("taps", 0.1, 2)
    assert ridge.temperature > 0
    assert version.size_bytes > 0


def test_auto_reports_what_it_chose_and_it_can_be_carried_out_again(api: Api, model: str):
    first = version_of(api, api.published(digits((0, 1, 2), 7), model=model))
    ridge = first.lineage.recipe.ridge
    assert ridge.regularization > 0
    assert ridge.temperature > 0
    assert ridge.HasField("balanced")
    assert ridge.scaling in {job_pb2.FEATURE_SCALING_ROOT, job_pb2.FEATURE_SCALING_STANDARD}
    assert first.lineage.stop_reason == model_pb2.STOP_REASON_CLOSED_FORM
    assert first.lineage.fit_duration.ToMilliseconds() >= 0
    again = api.published(digits((0, 1, 2), 7), model=model, recipe=first.lineage.recipe)
    assert version_of(api, again).lineage.recipe == first.lineage.recipe
    one, other = (api.predict(model, digit(0, 9), version=number).results[0] for number in (1, 2))
    assert one.predictions == other.predictions


def test_a_logistic_head_says_why_its_solver_ended(api: Api, model: str):
    recipe = job_pb2.Recipe(logistic=job_pb2.LogisticRecipe(views=["taps", "last"]))
    lineage = version_of(api, api.published(digits((0, 1), 5), model=model, recipe=recipe)).lineage
    assert lineage.stop_reason == model_pb2.STOP_REASON_CONVERGED
    assert lineage.fit_duration.ToMicroseconds() > 0
    assert lineage.recipe.logistic.views == ["taps", "last"]
    assert lineage.recipe.logistic.scaling == job_pb2.FEATURE_SCALING_ROOT
    assert lineage.recipe.logistic.regularization > 0
    assert api.predict(model, digit(1, 9)).results[0].predictions[0].classes[0].name == "1"


def test_a_version_is_not_found_once_its_ttl_has_passed(api: Api, model: str):
    api.published(digits((0, 1), 3), model=model)
    job = api.published(digits((0, 1), 4), model=model, ttl=duration(1), alias="brief")
    assert api.predict(model, digit(0, 9)).results[0].version == job.version

    def refusal():
        try:
            api.predict(model, digit(0, 9), version=job.version)
        except grpc.RpcError as error:
            return error.code()
        return None

    assert eventually(refusal, TIMEOUT, "the version's end") == grpc.StatusCode.NOT_FOUND
    by_number = refused(lambda: api.predict(model, digit(0, 9), version=job.version))
    assert (by_number.reason, by_number.metadata["version"]) == ("VERSION_NOT_FOUND", "2")
    assert refused(lambda: api.predict(model, digit(0, 9), alias="brief")).code == grpc.StatusCode.NOT_FOUND
    assert api.predict(model, digit(0, 9)).results[0].version == 1


def test_jobs_are_listed_by_page_the_newest_first(api: Api, model: str):
    ids = [api.published(digits((0, 1), 2, start=place), model=model).job_id for place in range(5)]
    cancelled = api.fine_tune(noise(400, seed=5), model=model)
    api.fine_tuning.Cancel(tuning.CancelRequest(job_id=cancelled.job_id))
    api.ended(cancelled.job_id)
    first = api.fine_tuning.ListJobs(tuning.ListJobsRequest(model=model, page_size=2))

    assert [job.job_id for job in first.jobs] == [cancelled.job_id, ids[4]]
    assert first.next_page_token
    assert listed(api, model=model, page_size=2) == [cancelled.job_id, *reversed(ids)]
    assert listed(api, model=model, page_size=2, states=[SUCCEEDED]) == list(reversed(ids))
    assert listed(api, model=model, states=[job_pb2.JOB_STATE_CANCELLED]) == [cancelled.job_id]
    assert set(ids) < set(listed(api, page_size=3))


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_soon(api: Api, model: str):
    jobs = [api.fine_tune(noise(800, seed=10 + place), model=model) for place in range(3)]
    queued = api.fine_tuning.Cancel(tuning.CancelRequest(job_id=jobs[2].job_id)).job
    for job in jobs[:2]:
        eventually(lambda job=job: api.status(job.job_id).progress.done > 0, TIMEOUT, "progress")
        api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    ended = [api.ended(job.job_id) for job in jobs]

    assert queued.state == job_pb2.JOB_STATE_CANCELLED
    assert [job.state for job in ended] == [job_pb2.JOB_STATE_CANCELLED] * 3
    # Amid their examples.
    assert all(job.progress.done < job.progress.total for job in ended[:2])
    refusal = refused(lambda: api.predict(model, digit(0, 0)))
    assert refusal.reason == "MODEL_NOT_FOUND"


def test_cancelling_an_ended_job_leaves_it_as_it_is(api: Api, model: str):
    job = api.published(digits((0, 1), 3), model=model)
    after = api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id)).job

    assert after == job
    assert api.predict(model, digit(0, 9)).results[0].version == 1


def test_a_model_whose_first_job_is_on_its_way_is_not_ready(api: Api, model: str):
    job = api.fine_tune(noise(200, seed=20), model=model)
    refusal = refused(lambda: api.predict(model, digit(0, 0)))
    api.ended(job.job_id)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_NOT_READY")


def test_jobs_of_one_model_that_end_together_all_give_their_version(api: Api, model: str):
    jobs = [
        api.fine_tuning.FineTune.future(stream(digits((0, 1), 2, start=place), model=model))
        for place in range(16)
    ]
    ended = [api.ended(job.result(30).job.job_id) for job in jobs]

    assert sorted(job.version for job in ended) == list(range(1, 17))
    assert api.predict(model, digit(0, 40)).results[0].version == 16
    for job in ended:
        assert api.predict(model, digit(0, 40), version=job.version).results[0].version == job.version


def test_the_same_examples_give_the_same_digest_whatever_their_order_and_batches(api: Api, model: str):
    examples = digits((0, 1, 7), 4)
    shuffled = random.Random(0).sample(examples, len(examples))
    jobs = [
        api.published(examples, model=model),
        api.published(shuffled, model=model, batch=1),
        api.published(digits((0, 1, 7), 5), model=model),
    ]

    assert jobs[0].dataset_digest == jobs[1].dataset_digest != jobs[2].dataset_digest


def test_empty_batches_count_for_nothing(api: Api, model: str):
    requests = [
        next(stream([], model=model)),
        examples_message([]),
        examples_message(digits((0, 1), 2)),
        examples_message([]),
    ]
    job = api.fine_tuning.FineTune(iter(requests)).job

    assert api.ended(job.job_id).example_count == 4
