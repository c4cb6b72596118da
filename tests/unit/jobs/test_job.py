"""The states of a job."""

from headstart_server.jobs.job import TRANSITIONS, JobState


def test_what_is_terminal_has_no_way_out() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {state for state in JobState if state.is_terminal} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
    }
