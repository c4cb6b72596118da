"""The job store: an accepted job reaches one end, and only its attempt writes for it."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes import PATIENCE, JobDriver, ManualClock, Publisher
from headstart_server.auth.permissions import Scope
from headstart_server.auth.tenants import tenant_of
from headstart_server.errors import JobNotFound, JobQueueFull, ModelNotFound, QuotaExceeded, RequestIdReused
from headstart_server.jobs.job import Findings, Job, JobError, JobState, JobStep, Progress
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.jobs.stored import QueueLimits
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.models import alias_rows
from headstart_server.models.version import Selector
from postgres import on_both_databases

pytestmark = on_both_databases

ERROR = JobError(reason="TOO_FEW_CLASSES", message="one class", metadata={"a": "b"})


# Accepting


def test_an_accepted_job_is_queued_and_there_after_a_restart(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.submit("a", alias="stable", seed=2**64 - 1, tags={"team": "x"})
    assert job.state is JobState.QUEUED
    assert (job.attempt, job.created, job.started, job.finished) == (0, clock(), None, None)
    assert (job.example_count, job.class_count, job.dataset_digest) == (9, 2, "d" * 64)
    assert (job.progress, job.error, job.version, job.findings) == (None, None, 0, Findings())
    assert driver.restarted().reader.get("a") == job
    assert job.spec == driver.submission(alias="stable", seed=2**64 - 1, tags={"team": "x"}).spec


def test_a_request_sent_again_gets_the_first_job(driver: JobDriver) -> None:
    first = driver.submit("a", request_id="r", request_hash="h")
    driver.claim()
    again = driver.submit("b", request_id="r", request_hash="h")
    assert (again.job_id, again.state) == (first.job_id, JobState.RUNNING)
    with pytest.raises(JobNotFound):
        driver.job_store.reader.get("b")


def test_a_request_sent_again_gets_its_job_even_when_the_queue_is_full(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=1))
    driver.submit("a", request_id="r")
    assert driver.submit("b", request_id="r").job_id == "a"


def test_a_request_id_with_other_content_is_refused(driver: JobDriver) -> None:
    driver.submit("a", request_id="r", request_hash="one")
    with pytest.raises(RequestIdReused) as caught:
        driver.submit("b", request_id="r", request_hash="other")
    assert caught.value.field == "spec.request_id"
    assert caught.value.metadata == {"job_id": "a"}
    assert caught.value.message == (
        "Request ID 'r' was used before for job a with another spec or other examples. "
        "Use a new request ID for a new fine-tune."
    )


def test_jobs_without_a_request_id_are_never_taken_for_each_other(driver: JobDriver) -> None:
    assert [driver.submit().job_id, driver.submit().job_id] == ["job-1", "job-2"]


def test_of_many_who_send_one_request_at_once_one_makes_the_job(driver: JobDriver) -> None:
    ready = threading.Barrier(6)
    found: list[str] = []

    def submit(place: int) -> None:
        submission = driver.submission(f"job-{place}", request_id="r")
        ready.wait(PATIENCE)
        found.append(driver.job_store.queue.submit(submission).job_id)

    threads = [threading.Thread(target=submit, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert driver.job_store.reader.count()[JobState.QUEUED] == 1


def test_a_model_has_no_more_versions_than_it_may_with_those_to_come(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(versions_per_model=2))
    driver.succeed(driver.running(request_id="r"))
    failed = driver.submit("second")
    with pytest.raises(QuotaExceeded) as caught:
        driver.submit()
    assert caught.value.metadata == {"subject": "model pets", "limit": "2", "versions": "1", "jobs": "1"}
    assert caught.value.retry_after is None
    # Accepted jobs are not checked again, and other models have their own limit.
    assert driver.submit(request_id="r").job_id != failed.job_id
    driver.submit(model="cars")
    driver.job_store.queue.cancel(failed.job_id)
    driver.submit()
    with pytest.raises(QuotaExceeded):
        driver.submit()


def test_an_alias_that_a_job_will_make_counts_as_one_of_its_model(
    publisher: Publisher, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_rows, "MAX_ALIASES", 2)
    driver.succeed(driver.running(alias="one"))
    second = driver.submit(alias="two")
    with pytest.raises(QuotaExceeded, match="'pets' has the maximum number of aliases, 2"):
        driver.submit(alias="three")
    # Aliases that are there or will be, no alias, and other models take nothing.
    for spec in ({"alias": "one"}, {"alias": "two"}, {}, {"alias": "three", "model": "cars"}):
        driver.submit(**spec)
    driver.job_store.queue.cancel(second.job_id)
    with pytest.raises(QuotaExceeded):
        driver.submit(alias="three")


def test_a_job_whose_alias_has_no_place_any_more_publishes_nothing(
    publisher: Publisher, driver: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_rows, "MAX_ALIASES", 2)
    driver.succeed(driver.running(alias="one"))
    job = driver.running(alias="two")
    publisher.registry.set_alias("pets", "other", 1)
    with pytest.raises(QuotaExceeded):
        driver.succeed(job)
    assert publisher.registry.index.numbers("pets") == [1]
    assert {alias.name for alias in publisher.registry.reader.model("pets").aliases} == {"one", "other"}
    publisher.registry.delete_alias("pets", "other")
    assert driver.succeed(job) == 2


def test_a_full_queue_refuses_and_takes_again_when_a_job_is_claimed(publisher: Publisher) -> None:
    driver = JobDriver(publisher, limits=QueueLimits(queued=2))
    driver.submit()
    driver.job_store.quotas.check_room()
    driver.submit()
    for ask in (driver.submit, driver.job_store.quotas.check_room):
        with pytest.raises(JobQueueFull) as caught:
            ask()
        assert caught.value.metadata == {"limit": "2", "queued": "2", "queue_position": "2"}
        # A worker is free: the first of them should be taken at any moment.
        assert caught.value.retry_after == 1.0
        assert caught.value.message == "The job queue is full: 2 of at most 2 are queued. Try again in 1 s."
    driver.claim()
    driver.job_store.quotas.check_room()
    driver.submit()


# Claiming


def test_jobs_are_claimed_in_the_order_they_came(driver: JobDriver, clock: ManualClock) -> None:
    for job_id in ("c", "a", "b"):
        driver.submit(job_id)
        clock.advance(1)
    assert [driver.claim().job_id for _ in range(3)] == ["c", "a", "b"]
    assert driver.job_store.queue.claim() is None


def test_a_claimed_job_is_running_and_knows_when_it_started(driver: JobDriver, clock: ManualClock) -> None:
    driver.submit("a")
    clock.advance(7)
    job = driver.claim()
    assert (job.state, job.attempt, job.started) == (JobState.RUNNING, 1, clock())
    driver.job_store.runs.release(job)
    clock.advance(7)
    again = driver.claim()
    assert (again.attempt, again.started) == (2, job.started)


def test_many_who_claim_at_once_get_different_jobs(driver: JobDriver) -> None:
    for _ in range(8):
        driver.submit()
    ready = threading.Barrier(4)
    claimed: list[str] = []

    def claim() -> None:
        ready.wait(PATIENCE)
        claimed.extend(driver.claim().job_id for _ in range(2))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(claimed)) == len(claimed) == 8


def test_the_position_in_the_queue_is_the_number_of_jobs_before(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.submit("a")
    # Equal times are ordered by the ID, as they are for `claim`.
    driver.submit("c")
    driver.submit("b")
    clock.advance(1)
    driver.submit("d")
    positions = {job_id: driver.job_store.reader.get(job_id).queue_position for job_id in "abcd"}
    assert positions == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert [driver.claim().job_id, driver.claim().job_id] == ["a", "b"]
    assert {job_id: driver.job_store.reader.get(job_id).queue_position for job_id in "abcd"} == {
        "a": 0,
        "b": 0,
        "c": 0,
        "d": 1,
    }


# Ending


def test_progress_is_kept_with_the_job_and_in_its_events(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.running("a")
    clock.advance(2)
    progress = Progress(step=JobStep.EVALUATE, fraction=0.9, done=3, total=9, loss=0.5, accuracy=0.75)
    fault = ExampleFault(index=3, id="x", reason="UNDECODABLE_INPUT", message="no image")
    findings = Findings(excluded=(fault,), excluded_count=1, step_seconds={"fit": 0.25})
    driver.job_store.runs.report(job, progress, findings)
    stored = driver.restarted().reader.get("a")
    assert (stored.progress, stored.findings) == (progress, findings)
    newest = driver.events("a")[-1]
    assert (newest.number, newest.time, newest.state) == (3, clock(), JobState.RUNNING)
    assert newest.progress == progress


def test_success_publishes_the_version_and_moves_the_alias(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.running("a", alias="stable", ttl=60.0)
    clock.advance(5)
    assert driver.succeed(job) == 1
    ended = driver.job_store.reader.get("a")
    assert (ended.state, ended.version, ended.finished) == (JobState.SUCCEEDED, 1, clock())
    assert ended.progress == Progress(step=JobStep.PUBLISH, fraction=1.0)
    registry = driver.publisher.registry
    assert registry.index.resolve(Selector(model="pets", alias="stable")) == 1
    version = registry.reader.version("pets", 1)
    assert (version.artifact, version.expires) == ("a.1", clock() + 60)
    assert registry.files.load("pets", 1)


def test_failure_keeps_its_reason_its_findings_and_the_last_progress(
    driver: JobDriver, clock: ManualClock
) -> None:
    job = driver.running("a")
    driver.report(job, 0.4)
    clock.advance(1)
    driver.job_store.runs.fail(job, ERROR, Findings(excluded_count=3))
    ended = driver.job_store.reader.get("a")
    assert (ended.state, ended.error, ended.finished) == (JobState.FAILED, ERROR, clock())
    assert (ended.findings.excluded_count, ended.version) == (3, 0)
    assert ended.progress is not None
    assert ended.progress.fraction == 0.4


def test_a_job_given_back_is_queued_and_keeps_its_place(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.running("a")
    clock.advance(1)
    driver.submit("b")
    driver.job_store.runs.release(job)
    assert driver.job_store.reader.get("a").state is JobState.QUEUED
    assert driver.job_store.reader.get("b").queue_position == 1
    assert driver.claim().job_id == "a"


# Cancelling


def test_a_queued_job_is_cancelled_at_once(driver: JobDriver, clock: ManualClock) -> None:
    driver.submit("a")
    job = driver.job_store.queue.cancel("a")
    assert (job.state, job.finished, job.cancel) == (JobState.CANCELLED, clock(), True)
    assert driver.job_store.queue.claim() is None
    assert [event.state for event in driver.events("a")] == [JobState.QUEUED, JobState.CANCELLED]


def test_a_running_job_is_canceled_at_its_next_check(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.running("a")
    canceled = driver.job_store.queue.cancel("a")
    assert (canceled.state, canceled.cancel) == (JobState.RUNNING, True)
    with pytest.raises(JobCancelledError):
        driver.report(job)
    driver.job_store.runs.finish_cancelled(job)
    ended = driver.job_store.reader.get("a")
    assert (ended.state, ended.finished) == (JobState.CANCELLED, clock())


def test_an_accepted_cancel_never_ends_as_a_success_or_a_failure(driver: JobDriver) -> None:
    job = driver.running("a")
    driver.job_store.queue.cancel("a")
    with pytest.raises(JobCancelledError):
        driver.succeed(job)
    with pytest.raises(JobCancelledError):
        driver.job_store.runs.fail(job, ERROR, Findings())
    with pytest.raises(ModelNotFound):
        driver.publisher.registry.reader.model("pets")
    driver.job_store.runs.finish_cancelled(job)
    assert driver.job_store.reader.get("a").state is JobState.CANCELLED


def test_a_cancelled_job_that_is_given_back_is_not_run_again(driver: JobDriver, clock: ManualClock) -> None:
    job = driver.running("a")
    driver.job_store.queue.cancel("a")
    driver.job_store.runs.release(job)
    ended = driver.job_store.reader.get("a")
    assert (ended.state, ended.finished) == (JobState.CANCELLED, clock())
    assert driver.job_store.queue.claim() is None


def test_a_cancelled_job_whose_process_died_is_not_run_again(driver: JobDriver, clock: ManualClock) -> None:
    driver.running("a")
    driver.job_store.queue.cancel("a")
    driver.crash()
    assert driver.job_store.queue.claim() is None
    job = driver.job_store.reader.get("a")
    assert (job.state, job.finished) == (JobState.CANCELLED, clock())


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_stays_as_it_is(driver: JobDriver, state: JobState, clock: ManualClock) -> None:
    job = driver.running("a")
    if state is JobState.SUCCEEDED:
        driver.succeed(job)
    elif state is JobState.FAILED:
        driver.job_store.runs.fail(job, ERROR, Findings())
    else:
        driver.job_store.runs.finish_cancelled(job)
    before, events = driver.job_store.reader.get("a"), driver.events("a")
    clock.advance(1)
    assert driver.job_store.queue.cancel("a") == before
    driver.crash()
    assert driver.job_store.queue.claim() is None
    assert driver.events("a") == events
    assert before.state is state


# Fencing


WRITES: dict[str, Callable[[JobDriver, Job], object]] = {
    "report": lambda driver, job: driver.report(job),
    "succeed": lambda driver, job: driver.succeed(job),
    "fail": lambda driver, job: driver.job_store.runs.fail(job, ERROR, Findings()),
}
HAND_OVERS: dict[str, Callable[[JobDriver, Job], object]] = {
    "finish_cancelled": lambda driver, job: driver.job_store.runs.finish_cancelled(job),
    "release": lambda driver, job: driver.job_store.runs.release(job),
}


def lost_to_another_attempt(driver: JobDriver) -> Job:
    job = driver.running("a")
    driver.crash()
    assert driver.claim().attempt == 2
    return job


def lost_to_the_queue(driver: JobDriver) -> Job:
    job = driver.running("a")
    driver.job_store.runs.release(job)
    return job


def lost_to_an_end(driver: JobDriver) -> Job:
    job = driver.running("a")
    driver.job_store.runs.finish_cancelled(job)
    return job


@pytest.mark.parametrize("lose", [lost_to_another_attempt, lost_to_the_queue, lost_to_an_end])
@pytest.mark.parametrize("write", [*WRITES, *HAND_OVERS])
def test_a_run_that_lost_its_job_can_change_nothing(
    driver: JobDriver, lose: Callable[[JobDriver], Job], write: str
) -> None:
    job = lose(driver)
    before, events = driver.job_store.reader.get("a"), driver.events("a")
    if write in WRITES:
        with pytest.raises(JobLostError):
            WRITES[write](driver, job)
    else:
        HAND_OVERS[write](driver, job)
    assert driver.job_store.reader.get("a") == before
    assert driver.events("a") == events
    with pytest.raises(ModelNotFound):
        driver.publisher.registry.reader.model("pets")


def test_an_attempt_that_is_not_the_newest_is_refused_even_while_the_job_runs(driver: JobDriver) -> None:
    job = driver.running("a")
    with pytest.raises(JobLostError):
        driver.report(replace(job, attempt=job.attempt + 1))
    driver.report(job)


def test_two_attempts_publish_one_version(driver: JobDriver) -> None:
    first = driver.running("a")
    driver.crash()
    second = driver.claim()
    assert driver.succeed(second) == 1
    with pytest.raises(JobLostError):
        driver.succeed(first)
    assert driver.publisher.registry.reader.model("pets").version_count == 1
    assert driver.publisher.registry.reader.version("pets", 1).artifact == "a.2"


# Asking


def test_events_are_numbered_without_gaps_and_read_after_a_number(driver: JobDriver) -> None:
    job = driver.running("a")
    driver.report(job, 0.1)
    driver.job_store.runs.release(job)
    job = driver.claim()
    driver.report(job, 0.2)
    driver.succeed(job)
    states = [(event.number, event.state) for event in driver.events("a")]
    running, queued = JobState.RUNNING, JobState.QUEUED
    assert states == [
        (1, queued),
        (2, running),
        (3, running),
        (4, queued),
        (5, running),
        (6, running),
        (7, JobState.SUCCEEDED),
    ]
    assert [event.number for event in driver.job_store.reader.events("a", 5)] == [6, 7]
    assert driver.job_store.reader.events("a", 7) == []
    assert driver.job_store.reader.get("a").last_event == 7


def test_an_unknown_job_is_an_error(driver: JobDriver) -> None:
    for ask in (
        driver.job_store.reader.get,
        driver.job_store.queue.cancel,
        lambda job_id: driver.job_store.reader.events(job_id, 0),
    ):
        with pytest.raises(JobNotFound) as caught:
            ask("x" * 1000)
        assert caught.value.message == f"There is no job '{'x' * 80}'. List the jobs to find its ID."


def test_jobs_are_listed_newest_first_in_pages_even_at_equal_times(
    driver: JobDriver, clock: ManualClock
) -> None:
    for job_id in ("c", "a", "d", "b"):
        driver.submit(job_id)
    clock.advance(1)
    driver.submit("e")
    pages, before = [], None
    while page := driver.job_store.reader.list(model="", states=[], before=before, limit=2):
        pages.append([job.job_id for job in page])
        before = (page[-1].created, page[-1].job_id)
    assert pages == [["e", "d"], ["c", "b"], ["a"]]


def test_a_list_holds_the_requested_jobs(driver: JobDriver) -> None:
    driver.job_store.runs.fail(driver.running("a"), ERROR, Findings())
    driver.running("b")
    driver.submit("c")
    driver.submit("d", model="cars")

    def listed(model: str, *states: JobState) -> list[str]:
        return [
            job.job_id
            for job in driver.job_store.reader.list(model=model, states=states, before=None, limit=9)
        ]

    assert listed("") == ["d", "c", "b", "a"]
    assert listed("pets") == ["c", "b", "a"]
    assert listed("pets", JobState.FAILED, JobState.RUNNING) == ["b", "a"]
    assert listed("cars", JobState.RUNNING) == []


def test_a_list_holds_the_jobs_of_a_scope(driver: JobDriver) -> None:
    for place, model in enumerate(("pets", "cars", "red/pets", "red/cars")):
        driver.submit(str(place), model=model, tenant=tenant_of(model))

    def listed(scope: Scope | None, model: str = "") -> list[str]:
        found = driver.job_store.reader.list(model=model, scope=scope, states=[], before=None, limit=9)
        return sorted(job.job_id for job in found)

    assert listed(None) == ["0", "1", "2", "3"]
    assert listed(Scope()) == ["0", "1"]
    assert listed(Scope(models=("pets",))) == ["0"]
    assert listed(Scope(tenant="red", models=("c*",))) == ["3"]
    assert listed(Scope(tenant="red"), "pets") == []
    assert listed(Scope(tenant="red"), "red/pets") == ["2"]


def test_what_is_under_way_is_known_by_model_and_by_job(driver: JobDriver) -> None:
    driver.succeed(driver.running("a", model="done"))
    driver.running("b", model="runs")
    driver.submit("c", model="waits")
    assert driver.job_store.reader.unfinished() == {"b", "c"}
    under_way = {
        model: driver.job_store.reader.is_under_way(model) for model in ("done", "runs", "waits", "none")
    }
    assert under_way == {"done": False, "runs": True, "waits": True, "none": False}
    assert driver.job_store.reader.count() == {
        JobState.QUEUED: 1,
        JobState.RUNNING: 1,
        JobState.SUCCEEDED: 1,
        JobState.FAILED: 0,
        JobState.CANCELLED: 0,
    }


def test_jobs_that_ended_long_ago_are_forgotten_and_their_versions_stay(
    driver: JobDriver, clock: ManualClock
) -> None:
    driver.succeed(driver.running("a"))
    driver.submit("b")
    driver.job_store.queue.cancel("b")
    clock.advance(100)
    driver.job_store.runs.fail(driver.running("c"), ERROR, Findings())
    driver.running("d")
    driver.submit("e", request_id="r")
    assert driver.job_store.cleaner.forget(older_than=0) == 2
    assert [
        job.job_id for job in driver.job_store.reader.list(model="", states=[], before=None, limit=9)
    ] == [
        "e",
        "d",
        "c",
    ]
    for gone in ("a", "b"):
        with pytest.raises(JobNotFound):
            driver.job_store.reader.events(gone, 0)
    assert driver.publisher.registry.files.load("pets", 1)


def test_each_commit_wakes_the_followers_of_its_job(driver: JobDriver) -> None:
    seen: list[JobState] = []
    driver.submit("a")
    with driver.notifier.subscribe("a", lambda: seen.append(driver.job_store.reader.get("a").state)):
        job = driver.claim()
        driver.report(job)
        driver.job_store.runs.release(job)
        driver.succeed(driver.claim())
    assert seen == [
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.SUCCEEDED,
    ]


def test_a_cancel_and_a_take_over_wake_followers_too(driver: JobDriver) -> None:
    seen: list[JobState] = []
    driver.running("a")
    with driver.notifier.subscribe("a", lambda: seen.append(driver.job_store.reader.get("a").state)):
        driver.crash()
        driver.job_store.runs.fail(driver.claim(), ERROR, Findings())
        driver.job_store.queue.cancel("a")
    assert seen[:2] == [JobState.RUNNING, JobState.FAILED]


def test_a_take_over_is_counted_and_a_claim_from_the_queue_is_not(driver: JobDriver) -> None:
    taken: list[str] = []
    driver.running()
    job_store = driver.restarted(on_taken_over=lambda: taken.append("one"))
    driver.submit()
    assert job_store.queue.claim() is not None
    assert taken == []

    job_store.queue.expire_leases()
    assert job_store.queue.claim() is not None
    assert taken == ["one"]
