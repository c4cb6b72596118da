"""Many callers, many versions and a fine-tune at once: every answer is the one that a lonely caller gets."""

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import grpc
import pytest

from headstart.v1 import job_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1 import prediction_service_pb2_grpc as stubs
from integration.server.calls import (
    TIMEOUT,
    Api,
    digit,
    example,
    noise,
    prediction_request,
)
from server_process import ServerProcess

# Hundreds of fine-tunes and calls, which a busy machine serves slowly.
pytestmark = pytest.mark.timeout(400)

MODELS, VERSIONS = 40, 5
#: Versions of one call, the first and the additional ones.
TARGETS = 100
CALLS, AT_ONCE = 500, 64

#: A version: its model and number.
Version = tuple[str, int]


@pytest.fixture(scope="module")
def versions(api: Api) -> list[Version]:
    """Two hundred versions, each of two classes of digits that it saw two images of."""
    pairs = list(combinations(range(10), 2))

    def publish(place: int) -> Version:
        chance = random.Random(place)
        labels = pairs[place % len(pairs)]
        chosen = [(label, number) for label in labels for number in chance.sample(range(5), 2)]
        examples = [example(digit(label, number), str(label)) for label, number in chosen]
        job = api.published(examples, model=f"crowd-{place % MODELS}")
        return job.spec.model, job.version

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(publish, range(MODELS * VERSIONS)))


def alone(api: Api, versions: list[Version], image: bytes) -> Iterator[predicting.VersionPredictions]:
    """Return what each version predicts for an image while no other call runs."""
    for start in range(0, len(versions), TARGETS):
        first, *further = versions[start : start + TARGETS]
        additional = [
            version_selector_pb2.VersionSelector(model=model, version=number) for model, number in further
        ]
        response = api.predict(first[0], image, version=first[1], further=additional)
        yield from response.results


async def test_under_load_every_answer_is_to_the_bit_that_of_a_lonely_call(
    api: Api, server: ServerProcess, versions: list[Version], model: str
):
    assert len(set(versions)) == MODELS * VERSIONS
    images = [digit(label, 30) for label in (0, 3, 5, 8)]
    expected = {
        (version, image): answer
        for image in images
        for version, answer in zip(versions, alone(api, versions, image), strict=True)
    }
    # The versions differ, so that the answer of another one would be seen.
    assert len({str(answer.predictions) for answer in expected.values()}) > 0.9 * len(expected)
    chance = random.Random(1)
    questions = [(chance.choice(versions), chance.choice(images)) for _ in range(CALLS)]
    job = api.fine_tune(noise(400, seed=600), model=model)

    async with grpc.aio.insecure_channel(server.target) as channel:
        service, room = stubs.PredictionServiceStub(channel), asyncio.Semaphore(AT_ONCE)

        async def ask(version: Version, image: bytes) -> predicting.VersionPredictions:
            async with room:
                request = prediction_request(version[0], image, version=version[1])
                return (await service.Predict(request, timeout=TIMEOUT)).results[0]

        began = time.time()
        answers = await asyncio.gather(*(ask(version, image) for version, image in questions))

    assert answers == [expected[question] for question in questions]
    ended = api.ended(job.job_id)
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
    assert ended.end_time.ToNanoseconds() > began * 1e9
