"""The ledger: an accepted job reaches one end, and nobody writes for a job that is not theirs."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes import PATIENCE, Desk, ManualClock, Shelf
from headstart_server.auth.permissions import Scope
from headstart_server.auth.tenants import tenant_of
from headstart_server.errors import JobNotFound, JobQueueFull, ModelNotFound, QuotaExceeded, RequestIdReused
from headstart_server.jobs.job import Findings, Job, JobError, JobState, JobStep, Progress
from headstart_server.jobs.ledger import JobCancelledError, JobLostError, Ledger
from headstart_server.jobs.limits import QueueLimits
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.models import alias_rows
from headstart_server.models.version import Selector
from postgres import on_both_databases

pytestmark = on_both_databases

ERROR = JobError(reason="TOO_FEW_CLASSES", message="one class", metadata={"a": "b"})


# Accepting


def test_an_accepted_job_is_queued_and_there_after_a_restart(desk: Desk, clock: ManualClock) -> None:
    job = desk.submit("a", alias="stable", seed=2**64 - 1, tags={"team": "x"})
    assert job.state is JobState.QUEUED
    assert (job.attempt, job.created, job.started, job.finished) == (0, clock(), None, None)
    assert (job.example_count, job.class_count, job.dataset_digest) == (9, 2, "d" * 64)
    assert (job.progress, job.error, job.version, job.findings) == (None, None, 0, Findings())
    assert desk.restarted().get("a") == job
    assert job.spec == desk.submission(alias="stable", seed=2**64 - 1, tags={"team": "x"}).spec


def test_a_request_sent_again_gets_the_first_job(desk: Desk) -> None:
    first = desk.submit("a", request_id="r", request_hash="h")
    desk.claim()
    again = desk.submit("b", request_id="r", request_hash="h")
    assert (again.job_id, again.state) == (first.job_id, JobState.RUNNING)
    with pytest.raises(JobNotFound):
        desk.ledger.get("b")


def test_a_request_sent_again_gets_its_job_even_when_the_queue_is_full(shelf: Shelf) -> None:
    desk = Desk(shelf, limits=QueueLimits(queued=1))
    desk.submit("a", request_id="r")
    assert desk.submit("b", request_id="r").job_id == "a"


def test_a_request_id_with_other_content_is_refused(desk: Desk) -> None:
    desk.submit("a", request_id="r", request_hash="one")
    with pytest.raises(RequestIdReused) as caught:
        desk.submit("b", request_id="r", request_hash="other")
    assert caught.value.field == "spec.request_id"
    assert caught.value.metadata == {"job_id": "a"}
    assert caught.value.message == (
        "Request ID 'r' was used before for job a with another spec or other examples. "
        "Use a new request ID for a new fine-tune."
    )


def test_jobs_without_a_request_id_are_never_taken_for_each_other(desk: Desk) -> None:
    assert [desk.submit().job_id, desk.submit().job_id] == ["job-1", "job-2"]


def test_of_many_who_send_one_request_at_once_one_makes_the_job(desk: Desk) -> None:
    ready = threading.Barrier(6)
    found: list[str] = []

    def submit(place: int) -> None:
        submission = desk.submission(f"job-{place}", request_id="r")
        ready.wait(PATIENCE)
        found.append(desk.ledger.submit(submission).job_id)

    threads = [threading.Thread(target=submit, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert desk.ledger.count()[JobState.QUEUED] == 1


def test_a_model_has_no_more_versions_than_it_may_with_those_to_come(shelf: Shelf) -> None:
    desk = Desk(shelf, limits=QueueLimits(versions_per_model=2))
    desk.succeed(desk.running(request_id="r"))
    failed = desk.submit("second")
    with pytest.raises(QuotaExceeded) as caught:
        desk.submit()
    assert caught.value.metadata == {"subject": "model pets", "limit": "2", "versions": "1", "jobs": "1"}
    assert caught.value.retry_after is None
    # What was accepted before is not asked again, and other models have room of their own.
    assert desk.submit(request_id="r").job_id != failed.job_id
    desk.submit(model="cars")
    desk.ledger.cancel(failed.job_id)
    desk.submit()
    with pytest.raises(QuotaExceeded):
        desk.submit()


def test_an_alias_that_a_job_will_make_counts_as_one_of_its_model(
    shelf: Shelf, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_rows, "MAX_ALIASES", 2)
    desk.succeed(desk.running(alias="one"))
    second = desk.submit(alias="two")
    with pytest.raises(QuotaExceeded, match="at most 2 aliases of model 'pets'"):
        desk.submit(alias="three")
    # Aliases that are there or will be, no alias, and other models take nothing.
    for spec in ({"alias": "one"}, {"alias": "two"}, {}, {"alias": "three", "model": "cars"}):
        desk.submit(**spec)
    desk.ledger.cancel(second.job_id)
    with pytest.raises(QuotaExceeded):
        desk.submit(alias="three")


def test_a_job_whose_alias_has_no_place_any_more_publishes_nothing(
    shelf: Shelf, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_rows, "MAX_ALIASES", 2)
    desk.succeed(desk.running(alias="one"))
    job = desk.running(alias="two")
    shelf.registry.set_alias("pets", "other", 1)
    with pytest.raises(QuotaExceeded):
        desk.succeed(job)
    assert shelf.registry.numbers("pets") == [1]
    assert {alias.name for alias in shelf.registry.model("pets").aliases} == {"one", "other"}
    shelf.registry.delete_alias("pets", "other")
    assert desk.succeed(job) == 2


def test_a_full_queue_refuses_and_takes_again_when_a_job_is_claimed(shelf: Shelf) -> None:
    desk = Desk(shelf, limits=QueueLimits(queued=2))
    desk.submit()
    desk.ledger.check_room()
    desk.submit()
    for ask in (desk.submit, desk.ledger.check_room):
        with pytest.raises(JobQueueFull) as caught:
            ask()
        assert caught.value.metadata == {"limit": "2", "queued": "2", "queue_position": "2"}
        # A worker is free: the first of them should be taken at any moment.
        assert caught.value.retry_after == 1.0
        assert caught.value.message == "The job queue is full: 2 of at most 2 are queued. Try again in 1 s."
    desk.claim()
    desk.ledger.check_room()
    desk.submit()


# Claiming


def test_jobs_are_claimed_in_the_order_they_came(desk: Desk, clock: ManualClock) -> None:
    for job_id in ("c", "a", "b"):
        desk.submit(job_id)
        clock.advance(1)
    assert [desk.claim().job_id for _ in range(3)] == ["c", "a", "b"]
    assert desk.ledger.claim() is None


def test_a_claimed_job_is_running_and_knows_when_it_started(desk: Desk, clock: ManualClock) -> None:
    desk.submit("a")
    clock.advance(7)
    job = desk.claim()
    assert (job.state, job.attempt, job.started) == (JobState.RUNNING, 1, clock())
    desk.ledger.give_back(job)
    clock.advance(7)
    again = desk.claim()
    assert (again.attempt, again.started) == (2, job.started)


def test_many_who_claim_at_once_get_different_jobs(desk: Desk) -> None:
    for _ in range(8):
        desk.submit()
    ready = threading.Barrier(4)
    claimed: list[str] = []

    def claim() -> None:
        ready.wait(PATIENCE)
        claimed.extend(desk.claim().job_id for _ in range(2))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(claimed)) == len(claimed) == 8


def test_the_position_in_the_queue_is_the_number_of_jobs_before(desk: Desk, clock: ManualClock) -> None:
    desk.submit("a")
    # Equal times are told apart by the id, as they are for `claim`.
    desk.submit("c")
    desk.submit("b")
    clock.advance(1)
    desk.submit("d")
    positions = {job_id: desk.ledger.get(job_id).queue_position for job_id in "abcd"}
    assert positions == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert [desk.claim().job_id, desk.claim().job_id] == ["a", "b"]
    assert {job_id: desk.ledger.get(job_id).queue_position for job_id in "abcd"} == {
        "a": 0,
        "b": 0,
        "c": 0,
        "d": 1,
    }


# Ending


def test_progress_is_kept_with_the_job_and_in_its_events(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a")
    clock.advance(2)
    progress = Progress(step=JobStep.EVALUATE, fraction=0.9, done=3, total=9, loss=0.5, accuracy=0.75)
    fault = ExampleFault(index=3, id="x", reason="UNDECODABLE_INPUT", message="no picture")
    findings = Findings(excluded=(fault,), excluded_count=1, step_seconds={"fit": 0.25})
    desk.ledger.report(job, progress, findings)
    stored = desk.restarted().get("a")
    assert (stored.progress, stored.findings) == (progress, findings)
    newest = desk.events("a")[-1]
    assert (newest.number, newest.time, newest.state) == (3, clock(), JobState.RUNNING)
    assert newest.progress == progress


def test_success_publishes_the_version_and_moves_the_alias(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a", alias="stable", ttl=60.0)
    clock.advance(5)
    assert desk.succeed(job) == 1
    ended = desk.ledger.get("a")
    assert (ended.state, ended.version, ended.finished) == (JobState.SUCCEEDED, 1, clock())
    assert ended.progress == Progress(step=JobStep.PUBLISH, fraction=1.0)
    registry = desk.shelf.registry
    assert registry.resolve(Selector(model="pets", alias="stable")) == 1
    version = registry.version("pets", 1)
    assert (version.artifact, version.expires) == ("a.1", clock() + 60)
    assert registry.load("pets", 1)


def test_failure_keeps_its_reason_its_findings_and_the_last_progress(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a")
    desk.report(job, 0.4)
    clock.advance(1)
    desk.ledger.fail(job, ERROR, Findings(excluded_count=3))
    ended = desk.ledger.get("a")
    assert (ended.state, ended.error, ended.finished) == (JobState.FAILED, ERROR, clock())
    assert (ended.findings.excluded_count, ended.version) == (3, 0)
    assert ended.progress is not None
    assert ended.progress.fraction == 0.4


def test_a_job_given_back_is_queued_and_keeps_its_place(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a")
    clock.advance(1)
    desk.submit("b")
    desk.ledger.give_back(job)
    assert desk.ledger.get("a").state is JobState.QUEUED
    assert desk.ledger.get("b").queue_position == 1
    assert desk.claim().job_id == "a"


# Cancelling


def test_a_queued_job_is_cancelled_at_once(desk: Desk, clock: ManualClock) -> None:
    desk.submit("a")
    job = desk.ledger.cancel("a")
    assert (job.state, job.finished, job.cancel) == (JobState.CANCELLED, clock(), True)
    assert desk.ledger.claim() is None
    assert [event.state for event in desk.events("a")] == [JobState.QUEUED, JobState.CANCELLED]


def test_a_running_job_is_asked_and_ends_at_its_next_look(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a")
    asked = desk.ledger.cancel("a")
    assert (asked.state, asked.cancel) == (JobState.RUNNING, True)
    with pytest.raises(JobCancelledError):
        desk.report(job)
    desk.ledger.end_cancelled(job)
    ended = desk.ledger.get("a")
    assert (ended.state, ended.finished) == (JobState.CANCELLED, clock())


def test_an_accepted_cancel_never_ends_as_a_success_or_a_failure(desk: Desk) -> None:
    job = desk.running("a")
    desk.ledger.cancel("a")
    with pytest.raises(JobCancelledError):
        desk.succeed(job)
    with pytest.raises(JobCancelledError):
        desk.ledger.fail(job, ERROR, Findings())
    with pytest.raises(ModelNotFound):
        desk.shelf.registry.model("pets")
    desk.ledger.end_cancelled(job)
    assert desk.ledger.get("a").state is JobState.CANCELLED


def test_a_cancelled_job_that_is_given_back_is_not_run_again(desk: Desk, clock: ManualClock) -> None:
    job = desk.running("a")
    desk.ledger.cancel("a")
    desk.ledger.give_back(job)
    ended = desk.ledger.get("a")
    assert (ended.state, ended.finished) == (JobState.CANCELLED, clock())
    assert desk.ledger.claim() is None


def test_a_cancelled_job_whose_process_died_is_not_run_again(desk: Desk, clock: ManualClock) -> None:
    desk.running("a")
    desk.ledger.cancel("a")
    desk.crash()
    assert desk.ledger.claim() is None
    job = desk.ledger.get("a")
    assert (job.state, job.finished) == (JobState.CANCELLED, clock())


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_stays_as_it_is(desk: Desk, state: JobState, clock: ManualClock) -> None:
    job = desk.running("a")
    if state is JobState.SUCCEEDED:
        desk.succeed(job)
    elif state is JobState.FAILED:
        desk.ledger.fail(job, ERROR, Findings())
    else:
        desk.ledger.end_cancelled(job)
    before, events = desk.ledger.get("a"), desk.events("a")
    clock.advance(1)
    assert desk.ledger.cancel("a") == before
    desk.crash()
    assert desk.ledger.claim() is None
    assert desk.events("a") == events
    assert before.state is state


# Fencing


WRITES: dict[str, Callable[[Desk, Job], object]] = {
    "report": lambda desk, job: desk.report(job),
    "succeed": lambda desk, job: desk.succeed(job),
    "fail": lambda desk, job: desk.ledger.fail(job, ERROR, Findings()),
}
HAND_OVERS: dict[str, Callable[[Desk, Job], object]] = {
    "end_cancelled": lambda desk, job: desk.ledger.end_cancelled(job),
    "give_back": lambda desk, job: desk.ledger.give_back(job),
}


def lost_to_another_attempt(desk: Desk) -> Job:
    job = desk.running("a")
    desk.crash()
    assert desk.claim().attempt == 2
    return job


def lost_to_the_queue(desk: Desk) -> Job:
    job = desk.running("a")
    desk.ledger.give_back(job)
    return job


def lost_to_an_end(desk: Desk) -> Job:
    job = desk.running("a")
    desk.ledger.end_cancelled(job)
    return job


@pytest.mark.parametrize("lose", [lost_to_another_attempt, lost_to_the_queue, lost_to_an_end])
@pytest.mark.parametrize("write", [*WRITES, *HAND_OVERS])
def test_a_run_that_lost_its_job_can_change_nothing(
    desk: Desk, lose: Callable[[Desk], Job], write: str
) -> None:
    job = lose(desk)
    before, events = desk.ledger.get("a"), desk.events("a")
    if write in WRITES:
        with pytest.raises(JobLostError):
            WRITES[write](desk, job)
    else:
        HAND_OVERS[write](desk, job)
    assert desk.ledger.get("a") == before
    assert desk.events("a") == events
    with pytest.raises(ModelNotFound):
        desk.shelf.registry.model("pets")


def test_an_attempt_that_is_not_the_newest_is_refused_even_while_the_job_runs(desk: Desk) -> None:
    job = desk.running("a")
    with pytest.raises(JobLostError):
        desk.report(replace(job, attempt=job.attempt + 1))
    desk.report(job)


def test_two_attempts_publish_one_version(desk: Desk) -> None:
    first = desk.running("a")
    desk.crash()
    second = desk.claim()
    assert desk.succeed(second) == 1
    with pytest.raises(JobLostError):
        desk.succeed(first)
    assert desk.shelf.registry.model("pets").version_count == 1
    assert desk.shelf.registry.version("pets", 1).artifact == "a.2"


# Asking


def test_events_are_numbered_without_gaps_and_read_after_a_number(desk: Desk) -> None:
    job = desk.running("a")
    desk.report(job, 0.1)
    desk.ledger.give_back(job)
    job = desk.claim()
    desk.report(job, 0.2)
    desk.succeed(job)
    states = [(event.number, event.state) for event in desk.events("a")]
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
    assert [event.number for event in desk.ledger.events("a", 5)] == [6, 7]
    assert desk.ledger.events("a", 7) == []
    assert desk.ledger.get("a").last_event == 7


def test_an_unknown_job_is_told(desk: Desk) -> None:
    for ask in (desk.ledger.get, desk.ledger.cancel, lambda job_id: desk.ledger.events(job_id, 0)):
        with pytest.raises(JobNotFound) as caught:
            ask("x" * 1000)
        assert caught.value.message == f"There is no job '{'x' * 80}'. List the jobs to find its ID."


def test_jobs_are_listed_newest_first_in_pages_even_at_equal_times(desk: Desk, clock: ManualClock) -> None:
    for job_id in ("c", "a", "d", "b"):
        desk.submit(job_id)
    clock.advance(1)
    desk.submit("e")
    pages, before = [], None
    while page := desk.ledger.list(model="", states=[], before=before, limit=2):
        pages.append([job.job_id for job in page])
        before = (page[-1].created, page[-1].job_id)
    assert pages == [["e", "d"], ["c", "b"], ["a"]]


def test_a_list_holds_what_was_asked_for(desk: Desk) -> None:
    desk.ledger.fail(desk.running("a"), ERROR, Findings())
    desk.running("b")
    desk.submit("c")
    desk.submit("d", model="cars")

    def listed(model: str, *states: JobState) -> list[str]:
        return [job.job_id for job in desk.ledger.list(model=model, states=states, before=None, limit=9)]

    assert listed("") == ["d", "c", "b", "a"]
    assert listed("pets") == ["c", "b", "a"]
    assert listed("pets", JobState.FAILED, JobState.RUNNING) == ["b", "a"]
    assert listed("cars", JobState.RUNNING) == []


def test_a_list_holds_the_jobs_of_a_scope(desk: Desk) -> None:
    for place, model in enumerate(("pets", "cars", "red/pets", "red/cars")):
        desk.submit(str(place), model=model, tenant=tenant_of(model))

    def listed(scope: Scope | None, model: str = "") -> list[str]:
        found = desk.ledger.list(model=model, scope=scope, states=[], before=None, limit=9)
        return sorted(job.job_id for job in found)

    assert listed(None) == ["0", "1", "2", "3"]
    assert listed(Scope()) == ["0", "1"]
    assert listed(Scope(models=("pets",))) == ["0"]
    assert listed(Scope(tenant="red", models=("c*",))) == ["3"]
    assert listed(Scope(tenant="red"), "pets") == []
    assert listed(Scope(tenant="red"), "red/pets") == ["2"]


def test_what_is_under_way_is_known_by_model_and_by_job(desk: Desk) -> None:
    desk.succeed(desk.running("a", model="done"))
    desk.running("b", model="runs")
    desk.submit("c", model="waits")
    assert desk.ledger.unfinished() == {"b", "c"}
    under_way = {model: desk.ledger.is_under_way(model) for model in ("done", "runs", "waits", "none")}
    assert under_way == {"done": False, "runs": True, "waits": True, "none": False}
    assert desk.ledger.count() == {
        JobState.QUEUED: 1,
        JobState.RUNNING: 1,
        JobState.SUCCEEDED: 1,
        JobState.FAILED: 0,
        JobState.CANCELLED: 0,
    }


def test_jobs_that_ended_long_ago_are_forgotten_and_their_versions_stay(
    desk: Desk, clock: ManualClock
) -> None:
    desk.succeed(desk.running("a"))
    desk.submit("b")
    desk.ledger.cancel("b")
    clock.advance(100)
    desk.ledger.fail(desk.running("c"), ERROR, Findings())
    desk.running("d")
    desk.submit("e", request_id="r")
    assert desk.ledger.forget(older_than=0) == 2
    assert [job.job_id for job in desk.ledger.list(model="", states=[], before=None, limit=9)] == [
        "e",
        "d",
        "c",
    ]
    for gone in ("a", "b"):
        with pytest.raises(JobNotFound):
            desk.ledger.events(gone, 0)
    assert desk.shelf.registry.load("pets", 1)


def test_each_commit_wakes_the_followers_of_its_job(desk: Desk) -> None:
    seen: list[JobState] = []
    desk.submit("a")
    with desk.changes.follow("a", lambda: seen.append(desk.ledger.get("a").state)):
        job = desk.claim()
        desk.report(job)
        desk.ledger.give_back(job)
        desk.succeed(desk.claim())
    assert seen == [
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.SUCCEEDED,
    ]


def test_a_cancel_and_a_take_over_wake_followers_too(desk: Desk) -> None:
    seen: list[JobState] = []
    desk.running("a")
    with desk.changes.follow("a", lambda: seen.append(desk.ledger.get("a").state)):
        desk.crash()
        desk.ledger.fail(desk.claim(), ERROR, Findings())
        desk.ledger.cancel("a")
    assert seen[:2] == [JobState.RUNNING, JobState.FAILED]


def test_a_take_over_is_counted_and_a_claim_from_the_queue_is_not(desk: Desk) -> None:
    taken: list[str] = []
    desk.running()
    ledger = Ledger(
        desk.shelf.database,
        desk.shelf.registry,
        desk.changes,
        owner="host/other",
        on_taken_over=lambda: taken.append("one"),
    )
    desk.submit()
    assert ledger.claim() is not None
    assert taken == []

    ledger.expire_leases()
    assert ledger.claim() is not None
    assert taken == ["one"]
