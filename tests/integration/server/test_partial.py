"""Recipes that train networks, over gRPC on the real backbone: published, cancelled, killed, and served."""

import io
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from forked_keras import worker_of
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import job_pb2, version_selector_pb2
from integration.server.calls import Api, digit, digits, example, png, refused
from server_process import ServerProcess, eventually, running

# TensorFlow is started for each training, which takes minutes next to other work. The limits end what hangs.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]


def order(place: int) -> bytes:
    """A three and an eight side by side, at any heights: pooled features hardly tell which is on the left."""
    chance = np.random.default_rng(place // 2)
    drawn = [pixels(label, place // 2 * step % 150) for label, step in ((3, 1), (8, 7))]
    canvas = np.zeros((24, 24), np.uint8)
    for digit_pixels, column in zip(drawn[:: 1 - 2 * (place % 2)], (2, 14), strict=True):
        row = int(chance.integers(0, 16))
        canvas[row : row + 8, column : column + 8] = digit_pixels
    return png(canvas)


def pixels(label: int, place: int) -> np.ndarray:
    """A handwritten digit, uint8 [8, 8]."""
    return np.asarray(Image.open(io.BytesIO(digit(label, place))))[2:-2, 2:-2]


#: Training the last block helps on these.
EXAMPLES = [example(order(place), ("3 8", "8 3")[place % 2]) for place in range(120)]
LONG = job_pb2.Recipe(partial=job_pb2.PartialRecipe(max_epochs=1000, patience=1000))
SHORT = job_pb2.Recipe(partial=job_pb2.PartialRecipe(max_epochs=8, patience=8, learning_rate=3e-4))
WAIT = 600.0


def trainer(server: ServerProcess) -> psutil.Process | None:
    """The process that trains for a server, if there is one."""
    return worker_of(server.pid, "train_command")


def training(api: Api, server: ServerProcess, model: str) -> tuple[job_pb2.Job, psutil.Process]:
    """A job amid its training, and the process that trains."""
    job = api.fine_tune(EXAMPLES[:40], model=model, recipe=LONG)
    eventually(lambda: "epochs" in api.status(job.job_id).progress.message or None, WAIT, "the first epoch")
    process = trainer(server)
    assert process is not None
    return job, process


@pytest.fixture(scope="module")
def published(api: Api) -> job_pb2.Job:
    job = api.ended(api.fine_tune(EXAMPLES, model="blocks", recipe=SHORT, seed=2).job_id, WAIT)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    return job


def folder(server: ServerProcess, job: job_pb2.Job) -> Path:
    # The fit that was kept for a take-over, `JOB.ATTEMPT.fit`, goes a moment after the version is there.
    found = (server.data / "versions").glob(f"{job.job_id}.*")
    (version,) = [each for each in found if each.suffix != ".fit"]
    return version


def test_training_reports_its_loss_which_falls(api: Api, published: job_pb2.Job) -> None:
    messages = [event.progress.message for event in api.watch(published.job_id)]
    losses = [float(one.split()[2]) for one in messages if one.startswith("Out-of-fold loss")]
    assert min(losses) < losses[0]
    assert any(one.startswith("Trained blocks for ") for one in messages)
    fractions = [event.progress.fraction for event in api.watch(published.job_id)]
    assert fractions == sorted(fractions)


def test_a_version_has_its_blocks_next_to_its_head_and_answers_with_them(
    api: Api, server: ServerProcess, published: job_pb2.Job
) -> None:
    assert {path.name for path in folder(server, published).iterdir()} >= {
        "head.safetensors",
        "manifest.json",
        "tail.safetensors",
    }
    images = [order(place) for place in range(280, 312)]
    names = api.names("blocks", *images)
    assert sum(name == ("3 8", "8 3")[place % 2] for place, name in enumerate(names)) >= 20
    # What comes with an image changes nothing but how the head's product is rounded.
    together = api.predict("blocks", *images).results[0].predictions
    for image, answer in zip(images, together, strict=True):
        alone = api.predict("blocks", image).results[0].predictions[0]
        assert alone.classes[0].name == answer.classes[0].name
        assert alone.classes[0].probability == pytest.approx(answer.classes[0].probability, abs=1e-5)


def test_plain_and_tailed_versions_of_one_call_share_one_pass(
    api: Api, server: ServerProcess, published: job_pb2.Job
) -> None:
    plain = api.published(EXAMPLES[:40], model="blocks-plain")
    deep = job_pb2.Recipe(
        partial=job_pb2.PartialRecipe(blocks=2, max_epochs=1, patience=1, learning_rate=3e-4)
    )
    other = api.ended(api.fine_tune(EXAMPLES[:40], model="blocks-2", recipe=deep).job_id, WAIT)
    assert other.state == job_pb2.JOB_STATE_SUCCEEDED, other.error
    models = ("blocks", "blocks-2", "blocks-plain")
    images = [order(place) for place in range(280, 285)]
    alone = [api.predict(model, *images).results[0].predictions for model in models]
    rows = "headstart_batch_size_sum"
    before = server.metrics().value(rows, lane="predict")
    more = [version_selector_pb2.VersionSelector(model=model) for model in models[1:]]
    response = api.predict(models[0], *images, further=more)
    assert server.metrics().value(rows, lane="predict") - before == len(images)
    together = list(response.results)
    assert [list(result.predictions) for result in together] == [list(result) for result in alone]
    assert plain.version == 1


def test_a_cancel_amid_training_ends_it_sooner_than_it_began(
    api: Api, server: ServerProcess, model: str
) -> None:
    began = time.monotonic()
    job, process = training(api, server, model)
    cancelled = time.monotonic()
    api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id), timeout=WAIT)
    assert api.ended(job.job_id, WAIT).state == job_pb2.JOB_STATE_CANCELLED
    # It takes a second or so, but other work on the machine slows both.
    assert time.monotonic() - cancelled < max(20.0, cancelled - began)
    assert not process.is_running()
    assert list((server.data / "scratch").iterdir()) == []


def test_a_trainer_that_is_killed_fails_its_job_alone(api: Api, server: ServerProcess, model: str) -> None:
    job, process = training(api, server, model)
    process.kill()
    ended = api.ended(job.job_id, WAIT)
    assert ended.state == job_pb2.JOB_STATE_FAILED
    assert "signal 9 (SIGKILL)" in ended.error.message
    assert b"TRAINER_DIED" in ended.error.SerializeToString()
    assert api.published(digits((0, 1), 4), model=model).version == 1
    assert list((server.data / "scratch").iterdir()) == []


def test_a_trainer_steps_back_for_serving_and_ends_with_its_server(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            _, process = training(api, server, "blocks")
            # Relative to the server's own, which is that of the tests.
            assert process.nice() == min(19, psutil.Process().nice() + 10)
        server.kill()
        eventually(lambda: not process.is_running() or None, WAIT, "the end of the trainer")


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (job_pb2.Recipe(partial=job_pb2.PartialRecipe(blocks=4)), "spec.recipe.partial.blocks"),
        (
            job_pb2.Recipe(partial=job_pb2.PartialRecipe(learning_rate=1.0)),
            "spec.recipe.partial.learning_rate",
        ),
        (job_pb2.Recipe(partial=job_pb2.PartialRecipe(max_epochs=-1)), "spec.recipe.partial.max_epochs"),
        (job_pb2.Recipe(mlp=job_pb2.MlpRecipe(hidden_units=5000)), "spec.recipe.mlp.hidden_units"),
        (job_pb2.Recipe(mlp=job_pb2.MlpRecipe(dropout=float("nan"))), "spec.recipe.mlp.dropout"),
        (job_pb2.Recipe(mlp=job_pb2.MlpRecipe(patience=2000)), "spec.recipe.mlp.patience"),
        (job_pb2.Recipe(mlp=job_pb2.MlpRecipe(views=["first"])), "spec.recipe.mlp.view"),
    ],
)
def test_settings_out_of_their_range_are_named(api: Api, recipe: job_pb2.Recipe, field: str) -> None:
    refusal = refused(lambda: api.fine_tune(digits((0, 1), 4), model="never", recipe=recipe))
    assert refusal.reason == "INVALID_FIELD"
    assert list(refusal.fields) == [field]


def test_an_mlp_is_published_with_its_choices_and_answers(api: Api, model: str) -> None:
    recipe = job_pb2.Recipe(mlp=job_pb2.MlpRecipe(max_epochs=40))
    job = api.ended(api.fine_tune(digits(range(10), 12), model=model, recipe=recipe).job_id, WAIT)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    names = api.names(model, *[digit(label, 40) for label in range(10)])
    assert sum(name == str(label) for label, name in enumerate(names)) >= 6
