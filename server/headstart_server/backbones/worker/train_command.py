"""Train command: ``python -m headstart_server.backbones.worker.train_command DECLARATION CACHE FOLDER``.

It reads the request from the folder and writes the result there. Each epoch is a line of JSON on stdout. It
exits when stdin ends, because the server has stopped.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

from headstart_server.backbones.contract.child_process import NICE, end_with_stdin, own_stdout
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.registry import source_of


def main(declaration: str, cache: str, folder: str) -> None:
    """Train, and write the result."""
    stdout = own_stdout()
    end_with_stdin()
    os.nice(NICE)
    cores = str(available_cores())
    os.environ |= {"TF_NUM_INTRAOP_THREADS": cores, "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": cores}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if importlib.util.find_spec("tensorflow") is not None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        load_keras()
        import tensorflow as tf  # noqa: PLC0415 - Keras has imported it by now

        tf.config.experimental.enable_op_determinism()
        tf.random.set_seed(0)
    from headstart_server.backbones.runtimes.keras_training import train  # noqa: PLC0415 - not before TensorFlow

    def progress(epoch: TailEpoch) -> None:
        print(json.dumps({"number": epoch.number, "loss": epoch.loss}), file=stdout, flush=True)

    request = TailRequest.load(Path(folder))
    opened = Declaration.of_json(declaration)
    network = source_of(opened).open(opened, Path(cache))
    plan = network.info.tails[request.blocks]
    result = train(network.model, plan, request, progress=progress, checkpoint=lambda: None)
    result.save(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
