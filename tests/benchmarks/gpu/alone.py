"""The forward pass of a backbone on the device alone: compiled, on a batch that stays there."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.runtimes.keras_import import load_keras


def rows_per_second(
    model: Any, views: list[str], rows: NDArray[np.generic], *, seconds: float, passes: int
) -> float:
    """Measure rows per second of the compiled model on a resident batch; only its views are computed.

    `passes` are dispatched before the last of them is awaited.

    Raises:
        ValueError: Keras runs on a backend that is not known here.
    """
    match load_keras().backend.backend():
        case "jax":
            some_passes = _jax(model, views, rows, passes)
        case "tensorflow":
            some_passes = _tensorflow(model, views, rows, passes)
        case "torch":
            some_passes = _torch(model, views, rows, passes)
        case backend:
            raise ValueError(f"Expected the backend jax, tensorflow or torch. Received: {backend}.")
    some_passes()
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        some_passes()
        count += passes
    return count * len(rows) / (time.perf_counter() - began)


def _jax(model: Any, views: list[str], rows: NDArray[np.generic], passes: int) -> Callable[[], None]:
    import jax

    weights = [
        [each.value for each in part] for part in (model.trainable_variables, model.non_trainable_variables)
    ]

    @jax.jit
    def forward(weights: Any, batch: Any) -> Any:
        outputs = model.stateless_call(*weights, batch, training=False)[0]
        return [outputs[view].astype("float32") for view in views]

    resident = jax.device_put(rows)

    def some_passes() -> None:
        jax.block_until_ready([forward(weights, resident) for _ in range(passes)])

    return some_passes


def _tensorflow(model: Any, views: list[str], rows: NDArray[np.generic], passes: int) -> Callable[[], None]:
    import tensorflow as tf

    @tf.function
    def forward(batch: Any) -> Any:
        outputs = model(batch, training=False)
        return [tf.cast(outputs[view], tf.float32) for view in views]

    resident = tf.constant(rows)

    def some_passes() -> None:
        outputs = [forward(resident) for _ in range(passes)]
        outputs[-1][0].numpy()

    return some_passes


def _torch(model: Any, views: list[str], rows: NDArray[np.generic], passes: int) -> Callable[[], None]:
    import torch

    resident = load_keras().ops.convert_to_tensor(rows)

    def some_passes() -> None:
        with torch.no_grad():
            outputs = [model(resident, training=False) for _ in range(passes)]
            outputs[-1][views[0]].float().cpu()

    return some_passes
