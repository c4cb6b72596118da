"""Writes a small network of KerasHub into a folder: python -m install.scripts.kerashub_folder FOLDER."""

import os
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Write FOLDER/resnet."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    import keras
    import keras_hub

    from hub_samples.presets import shake, small_images

    keras.utils.set_random_seed(1)
    for part in small_images(keras_hub)["resnet"]:
        if isinstance(part, keras_hub.models.Backbone):
            shake(part)
        part.save_to_preset(str(folder / "resnet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
