"""Versions for Headstart to serve: one for each variant, each by a FineTune call."""

import time

from headstart import Client
from peers.contenders import HEADSTART, Job
from peers.process_group import listens, started, wait_until
from pictures import digits, split

#: Pictures of each class that a head is fitted on.
EXAMPLES = 3
#: Seconds to convert the body and to load it.
START_SECONDS = 300.0


def publish(job: Job) -> None:
    """Fine-tune a model of ten classes for each variant, in the job's folder.

    Raises:
        ServerEnded: the server did not stay.
        TimeoutError: it does not listen in time.
    """
    every = digits()
    with started(HEADSTART.command(job), HEADSTART.environment(job), folder=job.folder) as group:
        wait_until(lambda: listens(job.ports[0]), group, time.monotonic() + START_SECONDS, "listening")
        with Client(f"127.0.0.1:{job.ports[0]}", timeout=START_SECONDS) as client:
            for seed, variant in enumerate(job.variants):
                pictures, _ = split(every, train=EXAMPLES, test=0, seed=seed)
                client.fine_tune([(picture.png, picture.label) for picture in pictures], model=variant).wait()
