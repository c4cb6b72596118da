"""Serves the variants with BentoML: a batchable API for each, a worker for each core.

Run as a program it becomes ``bentoml serve``, which imports the service from here.
"""

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
from network import MAX_BATCH, SIDE, Network, read_settings
from PIL.Image import Image

settings = read_settings()


def api(name: str):
    """The batchable API of one variant."""

    def classify(self, images: list[Image]) -> np.ndarray:
        rows = [np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32) for image in images]
        return self.networks[name].predict(np.stack(rows))

    classify.__name__ = name.replace("-", "_")
    return bentoml.api(batchable=True, max_batch_size=MAX_BATCH, route=f"/{name}")(classify)


class Variants:
    """Holds the network of every variant."""

    def __init__(self) -> None:
        self.networks = {name: Network(name, settings) for name in settings.variants}


for name in settings.variants:
    setattr(Variants, name.replace("-", "_"), api(name))

service = bentoml.service(workers=settings.workers)(Variants)

if __name__ == "__main__":
    os.environ |= {"BENTOML_HOME": f"{settings.work}/bentoml", "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "serve", "serve_bentoml:service", "--production"]
    command += ["--working-dir", str(Path(__file__).parent)]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", str(settings.port)])
