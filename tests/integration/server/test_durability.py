"""Accepted work outlives the process: killed at any moment, or signaled to stop."""

import hashlib
import random
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from headstart import Client, Version
from headstart.v1 import input_pb2, job_pb2, model_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import TERMINAL, Api, constant_predictions, digit, digits, noise
from server_process import ServerProcess, running

# Three servers start one after another, and run a few seconds of jobs each.
pytestmark = pytest.mark.timeout(400)

QUEUED, RUNNING, SUCCEEDED = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED
IMAGES = [digit(label, place) for label in (0, 1, 7) for place in (30, 31)]
EXAMPLES = digits((0, 1, 7), 8)
SEED = 11


@dataclass(kw_only=True)
class Story:
    """What three servers in a row on one data folder did: one is killed, two are signaled to stop.

    Attributes:
        heads: digest of the file of each head, by the name of its model.
        model_before: the kept model as the first server knew it.
        model_after: the kept model as the second one knew it before it ran a job.
        versions_before: its versions as the first server knew them.
        versions_after: its versions as the second one knew them before it ran a job.
        answers: what each server predicted for the same inputs by the same version.
        features: what each server embedded.
        killed: jobs that the first server had accepted when it was killed, the first one running.
        given_back: jobs that the second one had accepted when it was signaled to stop, the first one running.
        watched: the events of that running job, from before, during and after.
        waited_for: what a client was given that waited for that job all the time.
        watch_ended_with: the code that its watch ended with when the server stopped.
        exit_code: of the second server.
        seconds_to_stop: what the second server took to stop.
        states_after_stop: states of `given_back` in the database then.
        states_without_grace: states of the jobs of the third server, which had no grace to stop.
        version_jobs: the jobs of all versions at the end.
        version_folders: the jobs that have a folder of a version then.
    """

    heads: dict[str, str] = field(default_factory=dict)
    model_before: keeping.GetModelResponse | None = None
    model_after: keeping.GetModelResponse | None = None
    versions_before: list[model_pb2.Version] = field(default_factory=list)
    versions_after: list[model_pb2.Version] = field(default_factory=list)
    answers: list[predicting.VersionPredictions] = field(default_factory=list)
    features: list[bytes] = field(default_factory=list)
    killed: list[job_pb2.Job] = field(default_factory=list)
    given_back: list[job_pb2.Job] = field(default_factory=list)
    watched: list[job_pb2.JobEvent] = field(default_factory=list)
    waited_for: list[Version] = field(default_factory=list)
    watch_ended_with: grpc.StatusCode | None = None
    exit_code: int = -1
    seconds_to_stop: float = 0.0
    states_after_stop: list[str] = field(default_factory=list)
    states_without_grace: list[str] = field(default_factory=list)
    version_jobs: list[str] = field(default_factory=list)
    version_folders: list[str] = field(default_factory=list)


@contextmanager
def serving(data: Path, *flags: str) -> Iterator[tuple[ServerProcess, Api]]:
    with running(data, "--job-workers", "1", *flags) as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            yield server, api


def submit(api: Api, name: str, *, count: int) -> list[job_pb2.Job]:
    """Fine-tunes of images never seen before: the first takes seconds, the others wait behind it."""
    sizes = [600, *[20] * (count - 1)]
    return [
        api.fine_tune(noise(size, seed=zlib.crc32(f"{name} {place}".encode())), model=f"{name}-{place}")
        for place, size in enumerate(sizes)
    ]


def wait_until_at_work(api: Api, job: job_pb2.Job) -> list[job_pb2.JobEvent]:
    """The events of a job up to its first features."""
    events = []
    for event in api.watch(job.job_id):
        events.append(event)
        if event.progress.step == job_pb2.JOB_STEP_FEATURES and event.progress.done:
            return events
    raise AssertionError(f"The job ended before it was seen at work: {events}")


def observe(story: Story, api: Api) -> None:
    story.answers.append(api.predict("kept", *IMAGES, version=1, top_k=10_000).results[0])
    inputs = [input_pb2.Input(image=image) for image in IMAGES]
    request = predicting.EmbedRequest(inputs=inputs, views=["last", "taps"])
    views = api.prediction.Embed(request).features.views
    story.features.append(views["last"].data + views["taps"].data)


def fit(story: Story, server: ServerProcess, api: Api, model: str, **settings: Any) -> None:
    """Make the first version of a model, and note its head."""
    job = api.published(settings.pop("examples", EXAMPLES), model=model, **settings)
    (file,) = (server.data / "versions").glob(f"{job.job_id}.*/head.safetensors")
    story.heads[model] = hashlib.sha256(file.read_bytes()).hexdigest()


def states(server: ServerProcess, jobs: list[job_pb2.Job]) -> list[str]:
    """The states of jobs in the database of a server that has ended."""
    with closing(sqlite3.connect(server.data / "headstart.sqlite3")) as database:
        rows = dict(database.execute("SELECT job_id, state FROM jobs").fetchall())
    return [rows[job.job_id] for job in jobs]


def first_server(story: Story, server: ServerProcess, api: Api) -> None:
    fit(story, server, api, "kept", seed=SEED, alias="stable")
    observe(story, api)
    story.model_before = api.models.GetModel(keeping.GetModelRequest(model="kept"))
    story.versions_before = list(api.versions("kept"))
    story.killed = submit(api, "killed", count=3)
    wait_until_at_work(api, story.killed[0])
    assert [api.status(job.job_id).state for job in story.killed] == [RUNNING, QUEUED, QUEUED]
    server.kill()


def second_server(story: Story, server: ServerProcess, api: Api) -> threading.Thread:
    story.model_after = api.models.GetModel(keeping.GetModelRequest(model="kept"))
    story.versions_after = list(api.versions("kept"))
    observe(story, api)
    story.killed = [api.ended(job.job_id) for job in story.killed]
    # The same fine-tune again: no feature is cached, order and batches are others, and Predict interferes.
    with constant_predictions(server.target, "kept", *IMAGES):
        shuffled = random.Random(1).sample(EXAMPLES, len(EXAMPLES))
        fit(story, server, api, "twin", examples=shuffled, seed=SEED, batch=5)
    # And once more, now from the cache.
    fit(story, server, api, "triplet", seed=SEED)
    fit(story, server, api, "other-seed", seed=SEED + 1)
    story.given_back = submit(api, "given-back", count=2)
    story.watched = wait_until_at_work(api, story.given_back[0])
    watching = threading.Event()
    watch = threading.Thread(target=watch_on, args=(story, api, watching))
    watch.start()
    assert watching.wait(30)
    waiting = threading.Thread(target=wait_with_client, args=(story, server.target), daemon=True)
    waiting.start()
    started = time.monotonic()
    story.exit_code = server.terminate()
    story.seconds_to_stop = time.monotonic() - started
    watch.join(30)
    story.states_after_stop = states(server, story.given_back)
    return waiting


def watch_on(story: Story, api: Api, watching: threading.Event) -> None:
    """Watch on; the last event comes once more, to tell that the server has the call."""
    events = api.watch(story.given_back[0].job_id, after=story.watched[-1].number - 1)
    try:
        assert next(events) == story.watched[-1]
        watching.set()
        story.watched += events
    except grpc.RpcError as error:
        story.watch_ended_with = error.code()


def wait_with_client(story: Story, target: str) -> None:
    with Client(target) as client:
        story.waited_for.append(client.job(story.given_back[0].job_id).result(timeout=120))


def third_server(story: Story, server: ServerProcess, api: Api) -> None:
    story.watched += api.watch(story.given_back[0].job_id, after=story.watched[-1].number)
    story.given_back = [api.ended(job.job_id) for job in story.given_back]
    observe(story, api)
    for model in api.models.ListModels(keeping.ListModelsRequest()).models:
        versions = api.versions(model.model)
        story.version_jobs += [version.lineage.job_id for version in versions]
    archives = {path.stem for path in (server.data / "datasets").iterdir()}
    assert archives == set(story.version_jobs)
    folders = [path.name for path in (server.data / "versions").iterdir() if path.name != ".staging"]
    story.version_folders = [name.split(".")[0] for name in folders]
    jobs = submit(api, "no-grace", count=2)
    wait_until_at_work(api, jobs[0])
    server.terminate()
    story.states_without_grace = states(server, jobs)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    data = tmp_path_factory.mktemp("durability") / "data"
    story = Story()
    with serving(data) as (server, api):
        first_server(story, server, api)
    # Without the features that the first server left on disk: it must come to the same ones by itself.
    with serving(data, "--feature-cache-disk", "off") as (server, api):
        port = server.port
        waiting = second_server(story, server, api)
    with serving(data, "--grace-period", "0s", "--port", str(port)) as (server, api):
        waiting.join(60)
        third_server(story, server, api)
    return story


def test_every_job_that_was_accepted_before_the_kill_succeeds_after_it(story: Story):
    assert [job.state for job in story.killed] == [SUCCEEDED] * 3
    assert [job.version for job in story.killed] == [1, 1, 1]


def test_each_job_has_exactly_one_version_and_no_file_is_left_over(story: Story):
    ended = {job.job_id for job in (*story.killed, *story.given_back)}

    assert len(story.version_jobs) == len(set(story.version_jobs))
    assert ended < set(story.version_jobs)
    assert sorted(story.version_folders) == sorted(story.version_jobs)


def test_models_versions_and_aliases_are_as_before_the_kill(story: Story):
    assert story.model_before == story.model_after
    assert [version.version for version in story.versions_before] == [1]
    assert story.versions_before == story.versions_after
    assert [(alias.alias, alias.version) for alias in story.model_after.model.aliases] == [("stable", 1)]


def test_the_same_inputs_get_bitwise_the_same_answers_from_every_server(story: Story):
    assert story.answers[0] == story.answers[1] == story.answers[2]
    assert story.features[0] == story.features[1] == story.features[2]


def test_the_same_fine_tune_gives_bitwise_the_same_head_whatever_goes_on(story: Story):
    assert story.heads["kept"] == story.heads["twin"] == story.heads["triplet"]


def test_a_server_that_is_signaled_to_stop_stops_within_its_grace(story: Story):
    assert story.exit_code == 0
    assert story.seconds_to_stop < 15


def test_a_server_that_stops_puts_its_jobs_back_into_the_queue(story: Story):
    assert story.states_after_stop == ["queued", "queued"]


def test_a_server_without_grace_ends_no_job_that_it_cannot_finish(story: Story):
    # The running one may keep its claim; the next start takes it up.
    assert story.states_without_grace[0] in ("queued", "running")
    assert story.states_without_grace[1] == "queued"


def test_the_next_server_ends_the_jobs_that_were_given_back(story: Story):
    assert [(job.state, job.version) for job in story.given_back] == [(SUCCEEDED, 1)] * 2


def test_a_watch_goes_on_at_the_next_server_where_it_was(story: Story):
    numbers = [event.number for event in story.watched]
    states = [event.state for event in story.watched]

    assert story.watch_ended_with == grpc.StatusCode.UNAVAILABLE
    assert numbers == list(range(1, len(numbers) + 1))
    # It ran, was given back, and ran again.
    assert states.index(RUNNING) < states.index(QUEUED, 1) < len(states) - 1
    assert [state in TERMINAL for state in states] == [False] * (len(states) - 1) + [True]


def test_a_client_that_waits_for_a_job_is_not_bothered_by_the_restart(story: Story):
    (version,) = story.waited_for

    assert (version.model, version.version) == (story.given_back[0].spec.model, 1)
    assert version.lineage.job_id == story.given_back[0].job_id
