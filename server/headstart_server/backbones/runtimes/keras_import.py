"""Deferred import of Keras, which takes seconds."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from headstart_server.backbones.contract.runtimes import Precision, keras_backend

#: Initializer of weights that are set afterwards. JAX compiles random ones, which takes a second per shape.
UNSET = "zeros"
#: Packages that Keras imports if they are installed, but does not need here.
_UNUSED = ("pandas", "sklearn")
#: The packages that TensorFlow also imports. Together they take longer to import than the rest of Keras.
_UNUSED_WITH_TENSORFLOW = (*_UNUSED, "jax", "scipy")


def load_keras() -> Any:
    """Return the module ``keras``, on the backend of ``KERAS_BACKEND`` or on an installed one."""
    # TensorFlow logs unstructured lines about instructions and devices on stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise Keras imports TensorFlow, which may be missing where JAX or PyTorch is installed.
    if (backend := keras_backend()) is not None:
        os.environ.setdefault("KERAS_BACKEND", backend)
    with _without(_UNUSED_WITH_TENSORFLOW if backend == "tensorflow" else _UNUSED):
        import keras  # noqa: PLC0415 - takes seconds

    return keras


@contextmanager
def _without(packages: Collection[str]) -> Iterator[None]:
    """Let imports of packages fail in this block, unless they are already imported."""
    absent = [name for name in packages if name not in sys.modules]
    # None in `sys.modules` lets an import fail as if the package were missing.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Set the precision of layers that are created in this block."""
    config = load_keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(precision.value)
    try:
        yield
    finally:
        config.set_dtype_policy(before)
