"""Features outlive the process: what one server computed, the next one does not compute again."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headstart.v1 import job_pb2
from integration.server.calls import TIMEOUT, Api, noise
from server_process import Samples, ServerProcess, eventually, running

# Four servers start one after another.
pytestmark = pytest.mark.timeout(600)

EXAMPLES = noise(60, seed=31)
#: Enough to be killed half way: a core computes less than half of them in the second before they are written.
MANY = noise(450, seed=32)


@dataclass(kw_only=True)
class Story:
    """What servers in a row on one data folder did.

    Attributes:
        heads: digest of the head that each of the first two servers fitted on the same examples.
        again: metrics of the second one after that, and after a Predict of an image it knows.
        stored: features of a job that the second one had written when it was killed in it.
        resumed: the job that it was killed in, once it had ended.
        after_kill: metrics of the third one then.
        files_without: names of files in the data folder of a server that keeps nothing on disk.
    """

    heads: list[str] = field(default_factory=list)
    again: Samples = field(default_factory=lambda: Samples([]))
    stored: int = 0
    resumed: job_pb2.Job = field(default_factory=job_pb2.Job)
    after_kill: Samples = field(default_factory=lambda: Samples([]))
    files_without: list[str] = field(default_factory=list)


@contextmanager
def serving(data: Path, *flags: str) -> Iterator[tuple[ServerProcess, Api]]:
    """Run a server on one core in floating point, so that a job takes long enough on every machine."""
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        os.sched_setaffinity(0, {min(cores)})
        try:
            server = stack.enter_context(running(data, "--precision", "float32", *flags))
        finally:
            os.sched_setaffinity(0, cores)
        server.wait_until_serving()
        yield server, stack.enter_context(Api.connect(server.target))


def head(server: ServerProcess, api: Api, model: str) -> str:
    """Fine-tune on the same examples; gives the digest of the head's file."""
    job = api.published(EXAMPLES, model=model)
    (file,) = (server.data / "versions").glob(f"{job.job_id}.*/head.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def killed_half_way(server: ServerProcess, api: Api) -> tuple[str, int]:
    """The job that a server was killed in, and its features that were in the file a moment before."""
    job = api.fine_tune(MANY, model="many")

    def stored() -> int | None:
        address = f"file:{server.data / 'features.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as file:
            (count,) = file.execute("SELECT count(*) FROM features").fetchone()
        return count - len(EXAMPLES) if count > len(EXAMPLES) else None

    count = eventually(stored, TIMEOUT, "features of a job in the file")
    server.kill()
    assert count < len(MANY)
    return job.job_id, count


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    data = tmp_path_factory.mktemp("features") / "data"
    story = Story()
    with serving(data) as (server, api):
        story.heads.append(head(server, api, "first"))
        server.terminate()
    with serving(data, "--cache-predictions") as (server, api):
        story.heads.append(head(server, api, "again"))
        api.predict("again", EXAMPLES[0].input.image)
        story.again = server.metrics()
        job_id, story.stored = killed_half_way(server, api)
    with serving(data) as (server, api):
        story.resumed = api.ended(job_id)
        story.after_kill = server.metrics()
    with running(data, "--feature-cache-disk", "off") as server:
        server.event("listening")
        story.files_without = [path.name for path in data.iterdir()]
    return story


def test_a_fine_tune_on_known_images_after_a_restart_runs_no_backbone_pass(story: Story):
    outcomes = {
        outcome: story.again.value("headstart_feature_cache_requests_total", outcome=outcome)
        for outcome in ("memory", "disk", "miss")
    }

    assert story.again.value("headstart_batch_size_count", lane="train") == 0
    # The Predict found its image in memory, where the fine-tune had brought it.
    assert outcomes == {"memory": 1, "disk": len(EXAMPLES), "miss": 0}


def test_features_from_the_disk_give_bitwise_the_same_head(story: Story):
    assert story.heads[0] == story.heads[1]


def test_a_predict_that_may_use_the_cache_runs_no_backbone_pass_either(story: Story):
    assert story.again.value("headstart_batch_size_count", lane="predict") == 0


def test_the_bytes_on_disk_and_dropped_writes_are_shown(story: Story):
    assert story.again.value("headstart_disk_bytes", component="feature_cache") > len(EXAMPLES) * 8000
    assert story.again.value("headstart_feature_cache_writes_dropped_total") == 0


def test_a_job_that_was_killed_goes_on_from_the_features_it_had(story: Story):
    rows = story.after_kill.value("headstart_batch_size_sum", lane="train")

    assert story.resumed.state == job_pb2.JOB_STATE_SUCCEEDED
    assert rows <= len(MANY) - story.stored
    assert (
        story.after_kill.value("headstart_feature_cache_requests_total", outcome="disk") == len(MANY) - rows
    )


def test_a_server_that_keeps_no_features_on_disk_deletes_those_of_an_earlier_start(story: Story):
    assert "headstart.sqlite3" in story.files_without
    assert not [name for name in story.files_without if name.startswith("features")]
