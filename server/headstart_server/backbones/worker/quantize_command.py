"""Quantize command.

Run it as ``python -m headstart_server.backbones.worker.quantize_command PREPARED SAMPLES FOLDER NICE``.

It quantizes the weights and activations of a prepared backbone to 8 bits after training, with NNCF, which
only this process imports. It exits with `REFUSED` and a line of JSON on stdout if the samples or the network
are at fault. It also exits when stdin ends.
"""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.contract.child_process import end_with_stdin, own_stdout
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.golden import golden_content, golden_of
from headstart_server.backbones.networks.quantization import FLOAT_FILE
from headstart_server.backbones.preprocessing.images import MAX_PIXELS
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE
from headstart_server.backbones.worker.prepared_cache import REFUSED
from headstart_server.backbones.worker.quantization_samples import calibration_contents

#: Number of calibration samples. More hardly change the ranges of activations.
SAMPLES = 300


def main(prepared: str, samples: str, folder: str, nice: str) -> None:
    """Write a quantized copy of a prepared backbone into a folder."""
    output = own_stdout()
    end_with_stdin()
    os.nice(int(nice))
    os.environ["NNCF_CI"] = "1"  # Otherwise NNCF reports each use to its vendor.
    try:
        quantize(Path(prepared), Path(samples) if samples else None, Path(folder))
    except ModuleNotFoundError as error:
        message = f"The package {error.name} is missing. Install it: pip install 'headstart[quantize]'."
    except (ValueError, OSError, RuntimeError) as error:
        message = f"{type(error).__name__}: {error}"
    else:
        return
    print(json.dumps({"message": message}), file=output, flush=True)
    sys.exit(REFUSED)


def quantize(prepared: Path, samples: Path | None, folder: Path) -> None:
    """Quantize a prepared backbone.

    Args:
        prepared: folder of the backbone in floating point.
        samples: folder of images or texts to calibrate ranges on; None for samples of packages.
        folder: receives the quantized network, the network in floating point, and their card.
    """
    import nncf  # noqa: PLC0415 - an extra

    openvino = load_openvino()
    card = Card.read(prepared)
    network = openvino.Core().read_model(prepared / NETWORK_FILE)
    decoder = card.decoding.decoder(max_pixels=MAX_PIXELS)
    rows = [decoder.decode(each)[None] for each in calibration_contents(card.info.modality, samples, SAMPLES)]
    is_text = card.info.modality is Modality.TEXT
    quantized = nncf.quantize(
        network,
        nncf.Dataset(rows),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if is_text else None,
        subset_size=len(rows),
        # Half the range of weights: without VNNI a processor adds two products in 16 bits.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    openvino.save_model(quantized, folder / NETWORK_FILE, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        shutil.copyfile(
            (prepared / NETWORK_FILE).with_suffix(suffix), (folder / FLOAT_FILE).with_suffix(suffix)
        )
    _quantized_card(card, folder).write(folder)


def _quantized_card(card: Card, folder: Path) -> Card:
    """Return the card of a quantized backbone, with the digest of both networks."""
    openvino = load_openvino()
    compiled = openvino.compile_model(folder / NETWORK_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    content = golden_content(card.info.modality, next(iter(card.info.views.values())))
    outputs = compiled(card.decoding.decoder(max_pixels=MAX_PIXELS).decode(content)[None])
    named: dict[str, Any] = {each.get_any_name(): outputs[each] for each in compiled.outputs}
    views = {name: np.asarray(named[name], np.float32) for name in card.info.views}
    weights = hashlib.sha256((folder / NETWORK_FILE).with_suffix(".bin").read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps({"float": card.digest, "int8": weights}).encode()).hexdigest()
    return replace(card, digest=digest, golden=golden_of(views), in_keras=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
