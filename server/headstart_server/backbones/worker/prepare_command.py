"""Prepare command.

Run it as ``python -m headstart_server.backbones.worker.prepare_command DECLARATION CACHE FOLDER NICE``.

It keeps Keras, TensorFlow and other frameworks out of the server. It writes a line of JSON to stdout at each
step. It exits with `REFUSED` and one more line if the declaration, the network or the disk is at fault. It
exits when stdin ends, because the server has stopped.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from headstart_server.backbones.contract.child_process import end_with_stdin, own_stdout
from headstart_server.backbones.networks.card import card_of
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.source import SourceError, check_pin
from headstart_server.backbones.worker.preparation_progress import Step
from headstart_server.backbones.worker.prepared_cache import REFUSED
from headstart_server.errors import HeadstartError


def main(text: str, cache: str, folder: str, nice: str) -> None:
    """Open a declared network, and write its card and its OpenVINO network into a folder."""
    output = own_stdout()
    end_with_stdin()
    os.nice(int(nice))
    # Keras exports to OpenVINO from TensorFlow only; it reads this variable at its later import.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    load_openvino()
    # The declared metadata may change later, while prepared files stay unchanged.
    declaration = replace(Declaration.of_json(text), license=None, description=None)

    def begin(step: Step) -> None:
        print(json.dumps({"step": step}), file=output, flush=True)

    try:
        source = source_of(declaration)
        if source.in_keras:
            begin(Step.LOADING)
            load_keras()
        begin(Step.BUILDING)
        network = source.open(declaration, Path(cache))
        check_pin(declaration, network.weights)
        begin(Step.CHECKING)
        card = card_of(network, in_keras=source.in_keras)
        _convert(network, Path(folder) / NETWORK_FILE, begin)
        card.write(Path(folder))
    except (ValueError, HeadstartError, OSError, RuntimeError, ModuleNotFoundError) as error:
        _refuse(error, output)


def _convert(network: Network, path: Path, begin: Callable[[Step], None]) -> None:
    """Write a network to an ``.xml`` file and its weights to a ``.bin`` file."""
    if network.model is None:
        return
    openvino = load_openvino()
    if isinstance(network.model, openvino.Model):
        begin(Step.CONVERTING)
        openvino.save_model(network.model, path, compress_to_fp16=False)
        return
    # Keras's export to OpenVINO imports SciPy and fails on Python 3.13. A SavedModel on disk avoids both,
    # and converts to the same graph.
    with tempfile.TemporaryDirectory() as folder:
        begin(Step.EXPORTING)
        network.model.export(folder, format="tf_saved_model", verbose=False)
        begin(Step.CONVERTING)
        converted = openvino.convert_model(folder)
        # The temporary folder's name would make the file different each time.
        converted.set_rt_info("SavedModel", ["conversion_parameters", "input_model"])
        openvino.save_model(converted, path, compress_to_fp16=False)


def _refuse(error: Exception, output: IO[str]) -> None:
    is_worded = isinstance(error, SourceError | HeadstartError)
    message = str(error) if is_worded else f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        message = (
            f"The package {error.name} is missing. Install it, or prepare the backbone on another machine: "
            "pip install 'headstart[server]'; headstart-server prepare."
        )
    print(json.dumps({"message": message}), file=output, flush=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
