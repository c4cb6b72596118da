"""Imports Keras, which takes seconds, when it is first needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headstart_server.backbones.runtimes import Precision


def load_keras() -> Any:
    """The module ``keras``, on the backend that ``KERAS_BACKEND`` names; TensorFlow by default."""
    # TensorFlow tells on stderr, unstructured, which instructions and devices it found.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: PLC0415 - takes seconds

    return keras


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Layers made in this block hold their weights and compute in a precision."""
    config = load_keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(precision.value)
    try:
        yield
    finally:
        config.set_dtype_policy(before)
