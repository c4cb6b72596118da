"""Keras models compiled for the active backend."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Views
from headstart_server.backbones.contract.runtimes import Precision, RuntimeSettings
from headstart_server.backbones.runtimes.keras_import import load_keras

#: From rows and the names of unwanted outputs to the other outputs, in main memory.
Execute = Callable[[NDArray[np.generic], Collection[str]], Views]

#: Maximum bytes of weights that are compiled into the program as constants. On an H100 that halves the
#: time of a single row; larger constants make XLA compile for seconds despite its cache.
CLOSED_OVER_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Executor:
    """A compiled model. Thread-safe."""

    execute: Execute  # from rows to the requested views as float32 numpy arrays
    sizes: Sequence[int]  # accepted batch sizes, ascending


def compiled(
    model: Any, settings: RuntimeSettings, *, on_gpu: bool, max_batch: int, constant_weights: bool
) -> Executor:
    """Compile a model for its backend.

    Args:
        model: Keras model with one input, [n, ...], and named outputs, [n, size].
        constant_weights: whether small weights may be constants of the program; otherwise models that differ
            only in their weights have one program.

    Raises:
        ValueError: Keras runs on a backend other than TensorFlow, JAX or PyTorch.
    """
    match backend := load_keras().backend.backend():
        case "tensorflow":
            execute = _tensorflow(model, on_gpu=on_gpu)
        case "jax":
            execute = _jax(model, settings, constant_weights=constant_weights)
        case "torch":
            execute = _torch(model)
        case _:
            raise ValueError(f"Expected a Keras backend of tensorflow, jax or torch. Received: {backend}")
    # Each shape is compiled, or its kernels are chosen, once; that takes seconds with XLA and on GPUs.
    few = on_gpu or backend == "jax"
    sizes = sorted({1, 8, 32, max_batch}) if few else range(1, max_batch + 1)
    return Executor(execute=execute, sizes=sizes)


def _tensorflow(model: Any, *, on_gpu: bool) -> Execute:
    import tensorflow as tf  # noqa: PLC0415 - one backend of three

    # On GPUs the default is faster and less exact: TF32 products, and kernels whose sums vary between runs.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if on_gpu:
        tf.config.experimental.enable_op_determinism()

    # On a CPU, XLA is many times slower than plain kernels.
    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec(model.input_shape, model.inputs[0].dtype)], jit_compile=False
    )
    def forward(rows: Any) -> Any:
        views = model(rows, training=False)
        return {name: tf.cast(features, tf.float32) for name, features in views.items()}

    def execute(rows: NDArray[np.generic], unwanted: Collection[str]) -> Views:
        views = forward(tf.constant(rows))
        return {name: features.numpy() for name, features in views.items() if name not in unwanted}

    return execute


def _jax(model: Any, settings: RuntimeSettings, *, constant_weights: bool) -> Execute:
    import jax  # noqa: PLC0415 - one backend of three

    _keep_compilations(jax, settings.cache / "jax")
    weights = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    # On GPUs the default for float32 is TF32, whose features differ from those of the other runtimes.
    products = "float32" if settings.precision is Precision.FLOAT32 else "default"

    def forward(weights: Any, rows: Any) -> Any:
        with jax.default_matmul_precision(products):
            views = model.stateless_call(*weights, rows, training=False)[0]
        return {name: features.astype("float32") for name, features in views.items()}

    size = sum(weight.nbytes for part in weights for weight in part)
    if constant_weights and size <= CLOSED_OVER_BYTES:
        closed_over = jax.jit(lambda rows: forward(weights, rows))
        return lambda rows, unwanted: _as_numpy(closed_over(rows), unwanted)
    passed = jax.jit(forward)
    return lambda rows, unwanted: _as_numpy(passed(weights, rows), unwanted)


def _keep_compilations(jax: Any, folder: Path) -> None:
    """Enable the persistent compilation cache, so that the next start finds compiled programs."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _as_numpy(views: Mapping[str, Any], unwanted: Collection[str]) -> Views:
    wanted = {name: features for name, features in views.items() if name not in unwanted}
    # All copies start before the first is awaited.
    for features in wanted.values():
        features.copy_to_host_async()
    return {name: np.asarray(features) for name, features in wanted.items()}


def _torch(model: Any) -> Execute:
    import torch  # noqa: PLC0415 - one backend of three

    torch.backends.cudnn.allow_tf32 = False

    def execute(rows: NDArray[np.generic], unwanted: Collection[str]) -> Views:
        with torch.no_grad():
            views = model(rows, training=False)
            wanted = {name: features for name, features in views.items() if name not in unwanted}
            return {name: features.float().cpu().numpy() for name, features in wanted.items()}

    return execute
