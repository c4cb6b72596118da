"""Deferred import of Keras, which takes seconds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headstart_server.backbones.contract.runtimes import Precision, keras_backend


def load_keras() -> Any:
    """Return the module ``keras``, on the backend of ``KERAS_BACKEND``, or on one that is installed."""
    # TensorFlow logs unstructured lines about instructions and devices on stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise Keras imports TensorFlow, which may be missing where JAX or PyTorch is installed.
    if (backend := keras_backend()) is not None:
        os.environ.setdefault("KERAS_BACKEND", backend)
    import keras  # noqa: PLC0415 - takes seconds

    return keras


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Set the precision of layers that are made in this block."""
    config = load_keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(precision.value)
    try:
        yield
    finally:
        config.set_dtype_policy(before)
