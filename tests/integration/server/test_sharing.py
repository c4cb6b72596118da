"""Serving and training share one backbone: neither may starve the other. The bounds are generous."""

import numpy as np

from headstart.v1 import job_pb2
from integration.server.calls import (
    TIMEOUT,
    Api,
    constant_predictions,
    digit,
    example,
    examples_message,
    noise,
    refused,
    stream,
)
from server_process import SECOND, ServerProcess, eventually

SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


def test_a_predict_waits_for_about_a_turn_of_training(
    api: Api, server: ServerProcess, digits_model: str, model: str
):
    with constant_predictions(server.target, digits_model, digit(0, 30), threads=1) as seconds:
        jobs = [api.fine_tune(noise(200, seed=400 + place), model=model) for place in range(2)]
        seconds.clear()
        ended = [api.ended(job.job_id) for job in jobs]
        during = list(seconds)

    assert [job.state for job in ended] == [SUCCEEDED] * 2
    assert len(during) >= 5
    # A turn of training, an image decoded or a slice run, takes some tens of milliseconds on two cores.
    assert np.median(during) < SECOND / 2
    assert max(during) < 2 * SECOND


def test_training_goes_on_under_constant_predictions(
    api: Api, server: ServerProcess, digits_model: str, model: str
):
    images = [digit(label, place) for label in (0, 1, 7) for place in range(4)]
    with constant_predictions(server.target, digits_model, *images, threads=4) as seconds:
        job = api.published(noise(48, seed=500), model=model)

    assert job.version == 1
    assert len(seconds) >= 10


def test_a_predict_does_not_wait_for_a_large_upload(
    api: Api, server: ServerProcess, digits_model: str, model: str
):
    # More examples than a dataset may have, in messages of as many as one may have.
    messages = [examples_message([example(b"x", "label")] * 10_000)] * 20
    with constant_predictions(server.target, digits_model, digit(0, 30), threads=1) as seconds:
        eventually(lambda: len(seconds) > 0, TIMEOUT, "a prediction")
        refusal = refused(
            lambda: api.fine_tuning.FineTune(iter([*stream([], model=model), *messages]), timeout=TIMEOUT)
        )

    assert refusal.reason == "DATASET_TOO_LARGE"
    assert refusal.metadata == {"limit": "50000", "subject": "examples"}
    # The call that ran when the upload was refused counts, too.
    assert np.median(seconds) < SECOND / 2
    assert max(seconds) < 2 * SECOND
