"""Versions for Headstart to serve: one for each variant, each by a FineTune call."""

import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headstart import Client
from peers.contenders import BACKBONE, Contender, Job, declared
from peers.process_group import started, wait_until
from sample_images import digits, split

#: Images of each class that a head is fitted on.
EXAMPLES = 3
#: Seconds to convert the body and to load it.
START_SECONDS = 300.0
#: Digits that the quantization is proven with.
PROOF = ("0", "1")


def _serves(port: int) -> bool:
    """Whether the body is converted, loaded and warm."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def quantize(networks: Path) -> str:
    """Prepare the body in 8 bits; return what the command prints.

    With random weights, heads for ten digits differ by chance. Any features separate the two of the proof.
    """
    samples = networks / "samples"
    for image in digits():
        if image.label in PROOF:
            (samples / image.label).mkdir(parents=True, exist_ok=True)
            (samples / image.label / f"{image.id}.png").write_bytes(image.png)
    command = [sys.executable, "-m", "headstart_server", "prepare", BACKBONE, *declared(networks)]
    command += ["--int8", "--samples", str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stderr).strip()


def publish(contender: Contender, job: Job) -> None:
    """Fine-tune a model of ten classes for each variant, in the job's folder.

    Args:
        contender: Headstart in one precision.
        job: what it serves.

    Raises:
        ServerEnded: the server did not stay.
        TimeoutError: it does not listen in time.
    """
    every = digits()
    with started(contender.command(job), contender.environment(job), folder=job.folder) as group:
        wait_until(lambda: _serves(job.ports[0]), group, time.monotonic() + START_SECONDS, "serving")
        with Client(f"127.0.0.1:{job.ports[0]}", timeout=START_SECONDS) as client:
            for seed, variant in enumerate(job.variants):
                images, _ = split(every, train=EXAMPLES, test=0, seed=seed)
                client.fine_tune([(image.png, image.label) for image in images], model=variant).result()
