"""Examples that versions keep outlive the process, killed with a child in its queue, and the parent."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headstart.v1 import comparison_pb2, input_pb2, job_pb2
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import TIMEOUT, Api, digit, digits, example, noise
from server_process import ServerProcess, eventually, running

# Three servers start one after another.
pytestmark = pytest.mark.timeout(300)

LABELS = (0, 1, 7)
PARENT = digits(LABELS, 8)
ADDED = digits(LABELS, 2, start=8)
GATE = comparison_pb2.PromotionGate()


@dataclass(kw_only=True)
class Story:
    """What three servers in a row on one data folder did; the first was killed with a child in its queue.

    Attributes:
        child: the job that was queued behind another when its parent was deleted and the server killed.
        heads: digest of each head's file, by job.
        at_once: the job of the whole set sent at once.
        left: the jobs whose archives were there, after the second server had run all jobs.
        needed: the jobs of the versions that were there then.
        gated: the job that was queued with a gate when the second server was killed.
        stable: what the alias named in the end.
        emptied: the jobs whose archives were there after all models were deleted and the server restarted.
    """

    child: job_pb2.Job | None = None
    heads: dict[str, str] = field(default_factory=dict)
    at_once: job_pb2.Job | None = None
    left: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    gated: job_pb2.Job | None = None
    stable: int = 0
    emptied: set[str] = field(default_factory=set)


@contextmanager
def serving(data: Path, *flags: str) -> Iterator[tuple[ServerProcess, Api]]:
    with running(data, "--job-workers", "1", *flags) as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            yield server, api


def archives(server: ServerProcess) -> set[str]:
    return {path.stem for path in (server.data / "datasets").iterdir()}


def hold_up(api: Api, model: str) -> None:
    """Have the worker busy for some seconds."""
    job = api.fine_tune(noise(300, seed=sum(map(ord, model))), model=model)
    next(event for event in api.watch(job.job_id) if event.progress.done)


def delete(api: Api, model: str, version: int) -> None:
    api.models.DeleteVersion(keeping.DeleteVersionRequest(model=model, version=version, force=True))


def first_server(story: Story, server: ServerProcess, api: Api) -> None:
    parent = api.published(PARENT, model="kept")
    hold_up(api, "busy")
    story.child = api.fine_tune(ADDED, model="kept", parent_version=1)
    delete(api, "kept", 1)
    assert {parent.job_id, story.child.job_id} <= archives(server)
    server.kill()


def second_server(story: Story, server: ServerProcess, api: Api) -> None:
    story.child = api.ended(story.child.job_id)
    story.at_once = api.published([*ADDED, *PARENT], model="at-once")
    for job in (story.child, story.at_once):
        (file,) = (server.data / "versions").glob(f"{job.job_id}.*/head.safetensors")
        story.heads[job.job_id] = hashlib.sha256(file.read_bytes()).hexdigest()
    models = [model.model for model in api.models.ListModels(keeping.ListModelsRequest()).models]
    for model in models:
        for version in api.versions(model):
            story.needed.add(version.lineage.job_id)
    # The deleted parent has a version no more; its archive is the child's now.
    story.left = archives(server)
    api.models.SetAlias(keeping.SetAliasRequest(model="kept", alias="stable", version=2))
    hold_up(api, "busy-again")
    story.gated = api.fine_tune(muddled(), model="kept", alias="stable", promote_if=GATE)
    server.kill()


def muddled() -> list[input_pb2.Example]:
    return [
        example(digit(label, place), str(LABELS[place % 3])) for place in range(40, 52) for label in LABELS
    ]


def third_server(story: Story, server: ServerProcess, api: Api) -> None:
    story.gated = api.ended(story.gated.job_id)
    aliases = api.models.GetModel(keeping.GetModelRequest(model="kept")).model.aliases
    story.stable = aliases[0].version
    for model in api.models.ListModels(keeping.ListModelsRequest()).models:
        api.models.DeleteModel(keeping.DeleteModelRequest(model=model.model, force=True))
    eventually(lambda: not archives(server), TIMEOUT, "the archives to go with their models")
    story.emptied = archives(server)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    data = tmp_path_factory.mktemp("kept") / "data"
    story = Story()
    with serving(data) as (server, api):
        first_server(story, server, api)
    # Without the features on disk: they come from the archives again.
    with serving(data, "--feature-cache-disk", "off") as (server, api):
        second_server(story, server, api)
    with serving(data) as (server, api):
        third_server(story, server, api)
    return story


def test_a_child_whose_parent_was_deleted_succeeds_after_the_kill(story: Story):
    assert story.child.state == job_pb2.JOB_STATE_SUCCEEDED
    assert story.child.example_count == 30


def test_its_head_is_bitwise_that_of_the_whole_set_at_once(story: Story):
    assert story.heads[story.child.job_id] == story.heads[story.at_once.job_id]
    assert story.child.dataset_digest == story.at_once.dataset_digest


def test_the_archives_are_those_that_versions_need(story: Story):
    extra = story.left - story.needed
    assert story.needed <= story.left
    # The deleted parent's, which the child's examples lie in.
    assert len(extra) == 1


def test_a_job_with_a_gate_is_judged_after_the_kill_and_its_alias_stays(story: Story):
    assert story.gated.state == job_pb2.JOB_STATE_SUCCEEDED
    assert story.gated.promotion.decision == comparison_pb2.PROMOTION_DECISION_KEPT
    assert story.gated.promotion.baseline_version == 2
    assert story.stable == 2


def test_nothing_is_left_of_deleted_models(story: Story):
    assert story.emptied == set()
