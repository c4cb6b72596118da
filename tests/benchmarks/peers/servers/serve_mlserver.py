"""Serves the variants with MLServer: a custom runtime, adaptive batching, a worker for each core.

Run as a program it writes the settings and becomes ``mlserver start``, which imports the runtime from here.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import MAX_BATCH, Network, Settings, read_settings


class Runtime(MLModel):
    """One variant."""

    async def load(self) -> bool:
        """Load it, in a worker."""
        self.network = Network(self.name, read_settings())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify the files of a batch."""
        answers = self.network.classify(list(payload.inputs[0].data))
        outputs = [NumpyCodec.encode_output("probabilities", np.asarray(answers))]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def write(settings: Settings, folder: Path) -> None:
    """Write the settings of the server and of each variant."""
    http_port, metrics_port = settings.spare_ports[:2]
    server = {
        "host": "127.0.0.1",
        "grpc_port": settings.port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "parallel_workers": settings.workers,
        "metrics_dir": str(folder / "metrics"),
        "environments_dir": str(folder / "environments"),
        "logging_settings": None,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    for name in settings.variants:
        model = {
            "name": name,
            "implementation": "serve_mlserver.Runtime",
            "max_batch_size": MAX_BATCH,
            "max_batch_time": 0.005,
        }
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    folder = Path(read_settings().work) / "mlserver"
    folder.mkdir()
    write(read_settings(), folder)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    command = [f"{Path(sys.executable).parent}/mlserver", "start", str(folder)]
    os.execv(command[0], command)
