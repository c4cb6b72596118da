"""Versions for Headstart to serve: one for each variant, each by a FineTune call."""

import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headstart import Client
from peers.contenders import HEADSTART, Job
from peers.process_group import started, wait_until
from sample_images import digits, split

#: Images of each class that a head is fitted on.
EXAMPLES = 3
#: Seconds to convert the body and to load it.
START_SECONDS = 300.0


def _serves(port: int) -> bool:
    """Whether the body is converted, loaded and warm."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def publish(job: Job) -> None:
    """Fine-tune a model of ten classes for each variant, in the job's folder.

    Raises:
        ServerEnded: the server did not stay.
        TimeoutError: it does not listen in time.
    """
    every = digits()
    with started(HEADSTART.command(job), HEADSTART.environment(job), folder=job.folder) as group:
        wait_until(lambda: _serves(job.ports[0]), group, time.monotonic() + START_SECONDS, "serving")
        with Client(f"127.0.0.1:{job.ports[0]}", timeout=START_SECONDS) as client:
            for seed, variant in enumerate(job.variants):
                images, _ = split(every, train=EXAMPLES, test=0, seed=seed)
                client.fine_tune([(image.png, image.label) for image in images], model=variant).result()
