"""Choosing between real backbones and moving a version to another, behind the port.

The rule and what happens when a job dies between candidates are tested without networks; here it is two real
ones, their times on this machine, the features of one job serving the next, and the whole way of a rebase.
"""

import hashlib
from pathlib import Path

import grpc
import pytest

from headstart import Client
from headstart.v1 import backbone_selection_pb2, comparison_pb2, job_pb2, model_pb2, version_selector_pb2
from headstart.v1 import fine_tuning_service_pb2 as tuning
from integration.server.calls import TIMEOUT, Api, digit, digits, noise, refused
from server_process import ServerProcess, running

NAMES = ("efficientnet-lite0", "efficientnet-lite1")
TRIED = backbone_selection_pb2.CANDIDATE_OUTCOME_TRIED
LABELS = (0, 1, 7)


def head(server: ServerProcess, job: job_pb2.Job) -> str:
    (file,) = (server.data / "versions").glob(f"{job.job_id}.*/head.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def rebase(api: Api, model: str, *, version: int | None = None, **fields: object) -> job_pb2.Job:
    """Return the job of a rebase of a version, by default the newest, once it has ended."""
    source = version_selector_pb2.VersionSelector(model=model, version=version)
    job = api.fine_tuning.Rebase(tuning.RebaseRequest(source=source, **fields), timeout=TIMEOUT).job
    return api.ended(job.job_id)


@pytest.fixture(scope="module")
def chosen(api: Api) -> job_pb2.Job:
    """The job of a model `chosen`, whose backbone was chosen from two."""
    return api.published(
        digits(LABELS, 8),
        model="chosen",
        alias="stable",
        backbone="auto",
        backbone_candidates=reversed(NAMES),
    )


@pytest.fixture(scope="module")
def version(api: Api, chosen: job_pb2.Job) -> model_pb2.Version:
    return api.version("chosen", chosen.version)


def test_both_are_measured_and_the_cheapest_within_a_standard_error_is_taken(
    chosen: job_pb2.Job, version: model_pb2.Version
):
    choice = version.backbone_selection
    assert tuple(each.backbone for each in choice.candidates) == NAMES
    assert {each.outcome for each in choice.candidates} == {TRIED}
    assert choice.example_count == 24
    for each in choice.candidates:
        assert each.accuracy > 0.8
        assert each.latency_duration.ToMicroseconds() > 500
        assert each.spent_duration.ToTimedelta().total_seconds() > 0
    assert [round(each.size_bytes / 1e6) for each in choice.candidates] == [13, 17]
    good = [each for each in choice.candidates if each.gap <= each.gap_standard_error + 1e-9]
    cheapest = min(good, key=lambda each: each.latency_duration.ToNanoseconds())
    assert choice.backbone == version.lineage.backbone == cheapest.backbone
    assert chosen.spec.backbone == "auto"
    assert tuple(chosen.spec.backbone_candidates) == NAMES
    assert "select_backbone" in chosen.step_durations


def test_the_events_tell_each_candidate(api: Api, chosen: job_pb2.Job):
    steps = [event.progress for event in api.watch(chosen.job_id)]
    choosing = [each for each in steps if each.step == job_pb2.JOB_STEP_SELECT_BACKBONE]
    assert {each.total for each in choosing} == {2}
    assert all(any(each.message.startswith(f"{name}: ") for each in choosing) for name in NAMES)
    fractions = [each.fraction for each in steps]
    assert fractions == sorted(fractions)


def test_a_fine_tune_on_either_afterwards_runs_no_pass_and_has_the_same_head(
    api: Api, server: ServerProcess, chosen: job_pb2.Job, version: model_pb2.Version
):
    heads = {}
    for name in NAMES:
        job = api.published(digits(LABELS, 8), model=f"named-{name}", backbone=name)
        assert job.step_durations["backbone"].ToNanoseconds() == 0
        heads[name] = head(server, job)
    assert head(server, chosen) == heads[version.lineage.backbone]


def test_report_and_client_tell_the_choice(server: ServerProcess, version: model_pb2.Version):
    with Client(server.target) as client:
        (made, *_) = client.get_model("chosen").versions[::-1]
        text = client.report("chosen", version=1, format="text").content.decode()
        page = client.report("chosen", version=1).content.decode()
    assert made.backbone_selection is not None
    assert made.backbone_selection.backbone == version.lineage.backbone
    assert f"{version.lineage.backbone} was chosen from 2 backbones." in text
    assert "How its backbone was chosen" in page


def test_without_candidates_those_of_the_server_are_tried_within_the_time(api: Api, model: str):
    job = api.published(
        digits(LABELS, 4), model=model, backbone="auto", backbone_time_budget={"nanos": 1_000_000}
    )
    choice = api.version(model, 1).backbone_selection
    # One is tried whatever the time, and it is the one that is taken.
    assert [each.backbone for each in choice.candidates if each.outcome == TRIED] == [choice.backbone]
    assert choice.candidates[-1].outcome == backbone_selection_pb2.CANDIDATE_OUTCOME_NOT_TRIED
    assert choice.time_budget.nanos == 1_000_000
    assert len(job.spec.backbone_candidates) > 1


def test_examples_are_checked_for_auto_without_a_job(api: Api, model: str):
    found = api.validate(digits(LABELS, 4), model=model, backbone="auto", backbone_candidates=NAMES)
    assert found.valid
    assert found.evaluation.metrics.example_count == 12


def test_a_rebase_moves_the_alias_if_the_new_version_is_not_worse(
    api: Api, server: ServerProcess, model: str
):
    api.published(digits(LABELS, 8), model=model, alias="stable", backbone=NAMES[0], seed=5)
    job = rebase(api, model, alias="stable", backbone=NAMES[1], promote_if={"max_drop": 1})
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.promotion.decision == comparison_pb2.PROMOTION_DECISION_PROMOTED
    assert (job.promotion.baseline_version, job.promotion.comparison.example_count) == (1, 24)

    old, new = (api.version(model, number) for number in (1, 2))
    assert (old.lineage.backbone, new.lineage.backbone) == NAMES
    assert list(new.aliases) == ["stable"]
    assert (new.lineage.parent_version, new.lineage.seed) == (1, 5)
    assert new.lineage.dataset_digest == old.lineage.dataset_digest
    # What a fine-tune on the other backbone would have given.
    again = api.published(digits(LABELS, 8), model=f"{model}-again", backbone=NAMES[1], seed=5)
    assert head(server, job) == head(server, again)

    inputs = [digit(label, 30) for label in LABELS]
    old_answer = version_selector_pb2.VersionSelector(model=model, version=1)
    response = api.predict(model, *inputs, alias="stable", further=[old_answer])
    assert [each.version for each in response.results] == [2, 1]


def test_a_chosen_version_is_rebased_to_auto_without_a_pass(api: Api, chosen: job_pb2.Job):
    job = rebase(api, "chosen", alias="stable", backbone="auto", backbone_candidates=NAMES)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.version == chosen.version + 1
    assert job.step_durations["backbone"].ToNanoseconds() == 0
    version = api.version("chosen", job.version)
    assert version.backbone_selection.example_count == 24
    assert version.lineage.parent_version == chosen.version


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field"),
    [
        ({"backbone": NAMES[1]}, grpc.StatusCode.FAILED_PRECONDITION, "EXAMPLES_NOT_KEPT", ""),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "backbone"),
        ({"backbone": "none"}, grpc.StatusCode.NOT_FOUND, "BACKBONE_NOT_FOUND", ""),
        ({"backbone": NAMES[1], "version": 9}, grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND", ""),
    ],
)
def test_what_cannot_be_rebased_is_refused_before_there_is_a_job(
    api: Api, discarded: str, fields: dict[str, object], code: grpc.StatusCode, reason: str, field: str
):
    refusal = refused(lambda: rebase(api, discarded, **fields))
    assert (refusal.code, refusal.reason) == (code, reason)
    if field:
        assert field in refusal.fields
    jobs = api.fine_tuning.ListJobs(tuning.ListJobsRequest(model=discarded)).jobs
    assert len(jobs) == 1


@pytest.fixture(scope="module")
def discarded(api: Api) -> str:
    """A model whose version's examples are not kept."""
    return api.published(digits((0, 1), 2), model="discarded", discard_examples=True).spec.model


def test_with_a_parent_the_backbone_is_not_left_open(api: Api, chosen: job_pb2.Job):
    def go_on() -> None:
        api.fine_tune(digits((4,), 4), model="chosen", parent_version=chosen.version, backbone="auto")

    refusal = refused(go_on)
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "Rebase tries other backbones" in refusal.message


def test_killed_between_two_candidates_it_goes_on_with_the_second(tmp_path: Path):
    """Use a separate server, because it is killed as by the kernel."""
    data, flags = tmp_path / "data", ("--job-workers", "1")
    with running(data, *flags) as server, Api.connect(server.target) as api:
        server.wait_until_serving()
        job = api.fine_tune(noise(60, seed=3), model="m", backbone="auto", backbone_candidates=NAMES)
        for event in api.watch(job.job_id):
            if event.progress.message.startswith(f"{NAMES[1]} is being loaded"):
                break
        server.kill()
    with running(data, *flags) as server, Api.connect(server.target) as api:
        ended = api.ended(job.job_id)
        assert ended.state == job_pb2.JOB_STATE_SUCCEEDED, ended.error
        messages = [event.progress.message for event in api.watch(job.job_id)]
        assert sum(each == f"{NAMES[0]} is being loaded." for each in messages) == 1
        assert sum(each == f"{NAMES[1]} is being loaded." for each in messages) == 2
        choice = api.version("m", 1).backbone_selection
        assert [each.outcome for each in choice.candidates] == [TRIED, TRIED]
        assert choice.example_count == 60
