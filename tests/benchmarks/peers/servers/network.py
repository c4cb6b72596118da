"""What every peer runs in its own environment: settings, decoding, a whole network for each variant."""

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 224
#: Rows of the largest batch that a peer may form: on a CPU larger ones take longer for each row.
MAX_BATCH = 8
#: End of the name of a network's file by its flavor.
SUFFIXES = {"openvino": ".xml", "openvino-int8": ".int8.xml"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the comparison asks of a peer; handed down in the environment variable PEER, as JSON.

    Attributes:
        flavor: keras, or the same network converted by hand: openvino, or openvino-int8 if also quantized.
        networks: folder of the variants' files.
        variants: their names.
        port: where to serve.
        spare_ports: further free ports, for what a peer opens in addition.
        workers: processes or instances to serve with.
        loaded: folder that gets an empty file for each loaded network of each process.
        work: folder for whatever a peer writes.
    """

    flavor: str
    networks: str
    variants: list[str]
    port: int
    spare_ports: list[int]
    workers: int
    loaded: str
    work: str


def read_settings() -> Settings:
    """The settings of this peer."""
    return Settings(**json.loads(os.environ["PEER"]))


def decode(file: bytes) -> np.ndarray:
    """The pixels of an image file, float32 [224, 224, 3], 0 to 255."""
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32)


class Network:
    """One variant, loaded and warm.

    Args:
        name: the variant.
        settings: where it lies, and what runs it.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        path = Path(settings.networks) / name
        if settings.flavor == "keras":
            self._run = _load_keras(path)
        else:
            self._run = _load_openvino(path.with_suffix(SUFFIXES[settings.flavor]))
        self.predict(np.zeros((1, SIDE, SIDE, 3), np.float32))
        (Path(settings.loaded) / f"{os.getpid()}-{name}").touch()

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [n, 10], of decoded images [n, 224, 224, 3]."""
        return self._run(pixels)

    def classify(self, files: list[bytes]) -> np.ndarray:
        """Probabilities, float32 [n, 10], of image files."""
        return self.predict(np.stack([decode(file) for file in files]))


def _load_keras(path: Path):
    import keras
    import tensorflow as tf
    from keras.applications.mobilenet_v2 import preprocess_input

    # There are as many workers as cores: more threads in each only contend.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    model = keras.models.load_model(f"{path}.keras", compile=False)

    # Faster than model.predict for small batches, and traced once for all sizes.
    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)])
    def forward(rows):
        return model(rows, training=False)

    return lambda pixels: forward(tf.constant(preprocess_input(pixels))).numpy()


def _load_openvino(path: Path):
    # Without a hint for the precision OpenVINO takes the fastest that the processor has, such as bfloat16.
    # It would tell its maker of each import, over the network.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    precision = model.get_property("INFERENCE_PRECISION_HINT").to_string()
    print(f"OpenVINO computes {path.suffixes[0]} in {precision}", flush=True)

    def run(pixels: np.ndarray) -> np.ndarray:
        # The same as preprocess_input, without TensorFlow in memory.
        return model.create_infer_request().infer([pixels / 127.5 - 1])[0].copy()

    return run
