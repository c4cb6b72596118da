"""Imports Keras, which takes seconds, when it is first needed."""

import os
from typing import Any


def load_keras() -> Any:
    """The module ``keras``, on the backend that ``KERAS_BACKEND`` names; TensorFlow by default."""
    # TensorFlow tells on stderr, unstructured, which instructions and devices it found.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: PLC0415 - takes seconds

    return keras
