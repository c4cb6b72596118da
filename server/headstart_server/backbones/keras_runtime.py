"""Executes a Keras model on whichever backend Keras was started with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Views
from headstart_server.backbones.keras_import import load_keras
from headstart_server.backbones.runtimes import Precision

#: The most rows of one pass; longer batches are cut. Larger ones are no faster on a CPU.
MAX_BATCH = 32

#: Batch sizes tried at start, among those the backend runs. All of them have to agree.
_TRIED = (1, 2, 3, 4, 5, 8, 16, MAX_BATCH)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Executor:
    """A model compiled for its backend.

    Attributes:
        execute: from rows to views as numpy arrays.
        sizes: the batch sizes it may be called with, ascending.
    """

    execute: Callable[[NDArray[np.generic]], Views]
    sizes: Sequence[int]


class KerasRuntime:
    """Runs a model in inference mode, such that a row's features do not depend on its batch.

    Libraries for linear algebra choose how to cut a product, and so the order of its sums, by its shape: with
    TensorFlow on two cores a row alone differs in the last bits from the same row among others. From some
    batch size on all agree, so this finds that size when it is made, and fills smaller batches up to it.

    Args:
        model: a Keras model with one input, [n, ...], and named outputs, [n, size].
        example: rows to try it on, [MAX_BATCH, ...]; also what warms it up.
    """

    def __init__(self, model: Any, example: NDArray[np.generic]) -> None:
        self.name = f"keras {load_keras().backend.backend()} float32"
        self.precision = Precision.FLOAT32
        self.streams = 1
        self.stream_per_core = False
        self.batch = MAX_BATCH
        self._executor = _compile(model)
        self._steady_batch = _steady_batch(self._executor, example)

    @property
    def steady_batch(self) -> int:
        """The size that smaller batches are filled up to; 1 where no filling is needed."""
        return self._steady_batch

    def run(self, rows: NDArray[np.generic]) -> Views:
        """Features of rows.

        Args:
            rows: [n, ...] in the model's input dtype, n >= 1. Called from one thread at a time.

        Returns:
            For each output its name and float32 [n, size].
        """
        parts = list(self._passes(rows))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _passes(self, rows: NDArray[np.generic]) -> Iterator[Views]:
        for start in range(0, len(rows), MAX_BATCH):
            part = rows[start : start + MAX_BATCH]
            least = max(len(part), self._steady_batch)
            size = next(size for size in self._executor.sizes if size >= least)
            views = self._executor.execute(_filled(part, size))
            yield {name: features[: len(part)] for name, features in views.items()}


def _steady_batch(executor: _Executor, example: NDArray[np.generic]) -> int:
    """The least batch size tried from which on a row's features are bitwise those in the largest batch."""
    reference = executor.execute(example[:MAX_BATCH])
    steady = MAX_BATCH
    for size in reversed([size for size in _TRIED if size in executor.sizes]):
        views = executor.execute(example[:size])
        if any(not np.array_equal(views[name], reference[name][:size]) for name in reference):
            break
        steady = size
    return steady


def _filled(rows: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    if len(rows) == size:
        return rows
    filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled


def _compile(model: Any) -> _Executor:
    keras = load_keras()

    backends: Mapping[str, Callable[[Any], _Executor]] = {
        "tensorflow": _tensorflow,
        "jax": _jax,
        "torch": _torch,
    }
    backend = keras.backend.backend()
    if backend not in backends:
        raise ValueError(f"Expected a Keras backend of {', '.join(backends)}. Received: {backend}")
    return backends[backend](model)


def _tensorflow(model: Any) -> _Executor:
    import tensorflow as tf  # noqa: PLC0415 - one backend of three

    # On GPUs the default is faster and coarser: TF32 products, and kernels whose sums vary from run to run.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()

    # XLA is many times slower than plain kernels on a CPU.
    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec(model.input_shape, model.inputs[0].dtype)], jit_compile=False
    )
    def forward(rows: Any) -> Any:
        return model(rows, training=False)

    def execute(rows: NDArray[np.generic]) -> Views:
        return {name: features.numpy() for name, features in forward(tf.constant(rows)).items()}

    return _Executor(execute=execute, sizes=range(1, MAX_BATCH + 1))


def _jax(model: Any) -> _Executor:
    import jax  # noqa: PLC0415 - one backend of three

    trainable = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def forward(trainable: Any, fixed: Any, rows: Any) -> Any:
        # On GPUs the default is TF32, whose features would not be those of the other runtimes.
        with jax.default_matmul_precision("float32"):
            return model.stateless_call(trainable, fixed, rows, training=False)[0]

    def execute(rows: NDArray[np.generic]) -> Views:
        views = forward(trainable, fixed, rows)
        return {name: np.asarray(features) for name, features in views.items()}

    # Each size is compiled once, which takes seconds.
    return _Executor(execute=execute, sizes=(1, 8, MAX_BATCH))


def _torch(model: Any) -> _Executor:
    import torch  # noqa: PLC0415 - one backend of three

    torch.backends.cudnn.allow_tf32 = False

    def execute(rows: NDArray[np.generic]) -> Views:
        with torch.no_grad():
            views = model(rows, training=False)
            return {name: features.cpu().numpy() for name, features in views.items()}

    return _Executor(execute=execute, sizes=range(1, MAX_BATCH + 1))
