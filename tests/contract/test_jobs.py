import pickle
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from contract.fake_server import UNAVAILABLE, FakeServer, Fault, event, job, version
from headstart import (
    Client,
    JobCancelled,
    JobFailed,
    JobState,
    JobStep,
    NotFound,
    ResourceExhausted,
    RetryPolicy,
    Ridge,
    Unavailable,
)
from headstart.calls.job_watcher import ANSWER_SECONDS
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import job_pb2

LOST = Fault(code=grpc.StatusCode.UNAVAILABLE, message="connection lost")
BUSY = Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="RATE_EXCEEDED", retry_after=0.001)
LATE = Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED, message="a proxy waited for too long")


def failed_job() -> job_pb2.Job:
    error = status_pb2.Status(code=3, message="Example 3 (dog.jpg): no image.")
    error.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="UNDECODABLE_INPUT", domain="headstart", metadata={"example": "3"})
    )
    return job("FAILED", error=error)


def test_a_status_has_times_durations_and_the_spec(client: Client, server: FakeServer):
    spec = job_pb2.FineTuneSpec(
        model="pets", seed=7, recipe=job_pb2.Recipe(ridge=job_pb2.RidgeRecipe(temperature=0.5))
    )
    spec.ttl.FromTimedelta(timedelta(days=1))
    message = job(
        "RUNNING",
        spec=spec,
        progress=job_pb2.Progress(step="JOB_STEP_FEATURES", fraction=0.25, done=5, total=20),
        step_durations={
            "publish": Duration(nanos=1_000_000),
            "features": Duration(seconds=1, nanos=500_000_000),
            "newer": Duration(nanos=2_000_000),
        },
        excluded_examples=[
            job_pb2.ExampleFault(index=2, reason="ERROR_REASON_UNDECODABLE_INPUT", message="no")
        ],
        excluded_count=1,
    )
    message.start_time.seconds = 1_700_000_001
    server.script("Status", tuning.StatusResponse(job=message))

    status = client.job("job-1").status()

    assert status.state is JobState.RUNNING
    assert not status.state.ended
    assert status.create_time == datetime.fromtimestamp(1_700_000_000, UTC)
    assert status.start_time - status.create_time == timedelta(seconds=1)
    assert status.end_time is None
    assert status.version is None
    assert status.error is None
    assert status.spec.recipe == Ridge(temperature=0.5)
    assert status.spec.ttl == timedelta(days=1)
    assert status.progress.step is JobStep.FEATURES
    assert status.progress.accuracy is None
    assert status.step_durations["features"] == timedelta(seconds=1.5)
    assert list(status.step_durations) == ["features", "publish", "newer"]
    assert status.excluded_examples[0].index == 2


def test_a_state_that_is_newer_than_the_client_reads_as_unspecified(client: Client, server: FakeServer):
    server.script("Status", tuning.StatusResponse(job=job_pb2.Job(job_id="j", state=99)))

    assert client.job("j").status().state is JobState.UNSPECIFIED


def test_the_server_is_requested_to_wait_and_the_deadline_is_longer(client: Client, server: FakeServer):
    client.job("job-1").status(wait=timedelta(seconds=5))

    assert server.requests["Status"][0].wait_duration.seconds == 5
    assert 24 < server.remaining["Status"][0] < 25.1  # the client's 20 s and the wait


def test_waiting_asks_again_until_the_job_has_ended_and_gives_its_version(client: Client, server: FakeServer):
    server.script("Status", *[tuning.StatusResponse(job=job("RUNNING"))] * 3)

    found = client.job("job-1").result()

    assert found.version == 3
    assert found.metrics.accuracy == 0.95
    assert found.lineage.recipe == Ridge(regularization=0.1, folds=5, view="last")
    assert found.confusion_matrix().tolist() == [[20, 0], [2, 18]]
    assert [request.wait_duration.seconds for request in server.requests["Status"]] == [30] * 4


def test_waiting_bears_with_an_outage_longer_than_grpc_s_own_retries(client: Client, server: FakeServer):
    server.script("Status", *[UNAVAILABLE] * 12)

    assert client.job("job-1").result().version == 3


@pytest.mark.parametrize("fault", [BUSY, LATE])
def test_waiting_goes_on_after_a_temporary_refusal_of_each_call(
    client: Client, server: FakeServer, fault: Fault
):
    server.script("Watch", [fault], [event(1), fault], [event(2, "SUCCEEDED")])
    server.script("Status", fault, tuning.StatusResponse(job=job("RUNNING")), fault)
    server.script("GetVersion", fault)
    numbers = []

    found = client.job("job-1").result(on_event=lambda each: numbers.append(each.number))

    assert found.version == 3
    assert numbers == [1, 2]
    assert len(server.requests["GetVersion"]) == 2


def test_a_refusal_that_is_not_temporary_ends_the_wait(client: Client, server: FakeServer):
    server.script("Status", Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUOTA_EXCEEDED"))

    with pytest.raises(ResourceExhausted):
        client.job("job-1").result()


def test_a_server_that_stays_busy_ends_the_wait_after_the_policy_s_outage(server: FakeServer):
    server.standing["Status"] = BUSY
    policy = RetryPolicy(initial_seconds=0.001, outage_seconds=0.02)

    with Client(server.target, retries=policy) as client, pytest.raises(ResourceExhausted):
        client.job("job-1").result()


def test_waiting_gives_up_after_the_policy_s_outage(server: FakeServer):
    server.standing["Status"] = UNAVAILABLE
    policy = RetryPolicy(attempts=1, initial_seconds=0.001, outage_seconds=0.02)

    with Client(server.target, retries=policy) as client, pytest.raises(Unavailable):
        client.job("job-1").result()


def test_waiting_survives_a_restart_of_the_server(client: Client, server: FakeServer):
    waiting = threading.Event()

    def hang(_request):
        waiting.set()
        threading.Event().wait(0.3)  # the server stops meanwhile
        return tuning.StatusResponse(job=job("RUNNING"))

    server.script("Status", hang)
    results = []
    thread = threading.Thread(target=lambda: results.append(client.job("job-1").result()))
    thread.start()
    assert waiting.wait(60)
    server.restart()
    thread.join(60)

    assert results[0].version == 3


def test_waiting_too_long_says_that_the_job_goes_on(client: Client, server: FakeServer):
    server.standing["Status"] = tuning.StatusResponse(job=job("RUNNING"))

    with pytest.raises(TimeoutError, match="Job job-1 is RUNNING and continues"):
        client.job("job-1").result(timeout=0.01)


def test_waiting_too_long_for_events_says_so_too(client: Client, server: FakeServer):
    def silent(_request):
        threading.Event().wait(0.2)
        return []

    server.standing["Watch"] = silent

    with pytest.raises(TimeoutError, match="continues"):
        client.job("job-1").result(timeout=0.05, on_event=print)


def test_calls_of_a_wait_end_soon_after_its_deadline(client: Client, server: FakeServer):
    server.script("Watch", [event(1)])
    server.script("Status", tuning.StatusResponse(job=job("RUNNING", last_event=1)))

    client.with_options(timeout=600).job("job-1").result(timeout=60, on_event=print)

    for method in ("Status", "GetVersion"):
        assert all(each <= 60 + ANSWER_SECONDS for each in server.remaining[method]), method
    assert len(server.requests["Status"]) == 2


def test_a_server_that_does_not_answer_ends_the_wait(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()

    def hang(_request):
        over.wait(60)
        return tuning.StatusResponse(job=job("RUNNING"))

    server.standing["Status"] = hang
    monkeypatch.setattr("headstart.job.ANSWER_SECONDS", 0.01)
    with Client(server.target, timeout=600) as client:
        try:
            with pytest.raises(TimeoutError, match="is not known to have ended and continues"):
                client.job("job-1").result(timeout=0.01)
        finally:
            over.set()


def test_a_failed_job_raises_its_own_error(client: Client, server: FakeServer):
    server.script("Status", tuning.StatusResponse(job=failed_job()))

    with pytest.raises(JobFailed) as caught:
        client.job("job-1").result()

    assert caught.value.reason == "UNDECODABLE_INPUT"
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message == "Example 3 (dog.jpg): no image."
    assert caught.value.metadata == {"example": "3"}
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_cancelled_job_raises_that(client: Client, server: FakeServer):
    server.script("Status", tuning.StatusResponse(job=job("CANCELLED")))

    with pytest.raises(JobCancelled, match="job-1 was cancelled"):
        client.job("job-1").result()


def test_an_unknown_job_is_not_found(client: Client, server: FakeServer):
    server.script("Status", Fault(code=grpc.StatusCode.NOT_FOUND, reason="JOB_NOT_FOUND"))

    with pytest.raises(NotFound):
        client.job("nope").result()


def test_the_version_of_a_job_is_read_by_its_number(client: Client, server: FakeServer):
    server.keep(version(9), version(3))

    assert client.job("job-1").result().version == 3
    assert server.requests["GetVersion"][0].target.version == 3


def test_a_version_that_is_deleted_already_is_not_found(client: Client, server: FakeServer):
    server.keep(version(9), version(2))

    with pytest.raises(NotFound, match="has no version 3"):
        client.job("job-1").result()


def test_events_come_in_order_and_end_with_the_last(client: Client):
    events = list(client.job("job-1").watch())

    assert [each.number for each in events] == [1, 2, 3]
    assert events[0].progress is None
    assert events[1].progress.step is JobStep.FIT
    assert events[1].event_time - events[0].event_time == timedelta(seconds=1)
    assert events[-1].state is JobState.SUCCEEDED


def test_monitoring_takes_up_after_the_last_event_when_the_connection_was_lost(
    client: Client, server: FakeServer
):
    server.script("Watch", [event(1), event(2), LOST], [LOST], [event(3, "SUCCEEDED")])

    assert [each.number for each in client.job("job-1").watch()] == [1, 2, 3]
    assert [request.after_event for request in server.requests["Watch"]] == [0, 2, 2]


def test_events_that_were_seen_are_not_given_twice(client: Client, server: FakeServer):
    server.script("Watch", [event(1), event(2), LOST], [event(1), event(2), event(3, "FAILED")])

    assert [each.number for each in client.job("job-1").watch()] == [1, 2, 3]


def test_a_stream_that_ends_early_in_order_is_taken_up_again(client: Client, server: FakeServer):
    server.script("Watch", [event(1)], [event(2, "SUCCEEDED")])
    server.script("Status", tuning.StatusResponse(job=job("RUNNING", last_event=1)))

    assert [each.number for each in client.job("job-1").watch()] == [1, 2]


def test_monitoring_an_ended_job_after_its_last_event_ends_at_once(client: Client, server: FakeServer):
    server.script("Watch", [])

    assert list(client.job("job-1").watch(after=3)) == []
    assert server.requests["Watch"][0].after_event == 3


def test_a_watcher_may_stop_early(client: Client):
    events = client.job("job-1").watch()

    assert next(events).number == 1
    events.close()


def test_waiting_with_events_reports_each(client: Client):
    numbers = []

    client.job("job-1").result(on_event=lambda each: numbers.append(each.number))

    assert numbers == [1, 2, 3]


def test_cancelling_gives_the_job_as_it_then_stands(client: Client, server: FakeServer):
    assert client.job("job-1").cancel().state is JobState.CANCELLED
    assert server.requests["Cancel"][0].job_id == "job-1"


def test_monitoring_all_jobs_survives_an_outage_and_a_stream_that_ends(client: Client, server: FakeServer):
    def watched(number: int, token: str = "") -> tuning.WatchJobsResponse:
        return tuning.WatchJobsResponse(event=event(number), resume_token=token)

    server.script(
        "WatchJobs",
        *[[watched(1, "t1"), LOST], [UNAVAILABLE], [BUSY], [LATE], [watched(2, "t2")], [watched(3)]],
    )
    with closing(client.watch_jobs()) as events:
        assert [next(events).number for _ in range(3)] == [1, 2, 3]
    assert [each.resume_token for each in server.requests["WatchJobs"]] == ["", *["t1"] * 4, "t2"]


def test_a_job_is_deleted(client: Client, server: FakeServer):
    client.delete_job("job-1")

    assert server.requests["DeleteJob"][0].job_id == "job-1"


def test_jobs_are_listed_page_by_page_as_they_are_wanted(client: Client, server: FakeServer):
    server.script(
        "ListJobs",
        tuning.ListJobsResponse(jobs=[job(job_id="c"), job(job_id="b")], next_page_token="p2"),
        tuning.ListJobsResponse(jobs=[job(job_id="a")]),
    )

    jobs = client.jobs(model="pets", states=["RUNNING", JobState.QUEUED])

    assert next(jobs).job_id == "c"
    assert len(server.requests["ListJobs"]) == 1
    assert [each.job_id for each in jobs] == ["b", "a"]
    first, second = server.requests["ListJobs"]
    assert first.model == "pets"
    assert list(first.states) == [job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_QUEUED]
    assert second.page_token == "p2"


def test_an_unknown_state_is_refused(client: Client):
    with pytest.raises(ValueError, match="DONE"):
        list(client.jobs(states=["DONE"]))


def test_a_single_state_needs_no_list(client, server):
    list(client.jobs(states="RUNNING"))

    assert list(server.requests["ListJobs"][0].states) == [job_pb2.JOB_STATE_RUNNING]


def test_listed_jobs_can_be_waited_for(client: Client, server: FakeServer, capsys):
    (listed,) = client.jobs()

    assert listed.last_status is not None
    assert repr(listed) == "Job('job-1', pets, QUEUED)"
    assert listed.result(progress=True).version == 3
    assert repr(listed) == "Job('job-1', pets@3, SUCCEEDED)"
    assert capsys.readouterr().err.splitlines()[-1].split() == ["100%", "succeeded"]


def test_a_job_that_was_not_described_yet_is_only_an_id(client: Client):
    job = client.job("job-1")
    assert (repr(job), job.last_status) == ("Job('job-1')", None)
    job.status()
    assert repr(job) == "Job('job-1', pets@3, SUCCEEDED)"
