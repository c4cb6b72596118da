"""``python -m hub_samples FOLDER``: a separate process, because Keras stays in it.

It writes each network's folder, into ``features.npz`` its features: ``NAME/expected`` by KerasHub or PyTorch
alone, ``NAME/keras`` and ``NAME/openvino`` by the network that its source opens, and ``NAME/other`` by it of
another input; and into ``facts.json`` what the sources say.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from headstart_server.backbones.runtimes.keras_import import load_keras
from hub_samples.checkpoints import bert_of_hugging_face, resnet_of_timm, vit_of_hugging_face
from hub_samples.hub import HuggingFace, refusals
from hub_samples.presets import images_of_keras_hub, texts_of_keras_hub
from hub_samples.samples import Samples


def main(folder: Path) -> None:
    """Make all of them."""
    samples = Samples(folder)
    server = HuggingFace(folder)
    # Read when Keras and the hub's client are imported, which importing KerasHub does.
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", HF_ENDPOINT=server.url)
    keras = load_keras()
    import keras_hub

    keras.utils.set_random_seed(1)
    images_of_keras_hub(samples, keras_hub)
    texts_of_keras_hub(samples, keras_hub)
    bert_of_hugging_face(samples)
    resnet_of_timm(samples)
    vit_of_hugging_face(samples, keras_hub)
    refusals(samples, server)
    np.savez(folder / "features.npz", **samples.features)
    (folder / "facts.json").write_text(json.dumps(samples.facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
