"""Execution of Keras models on the active backend, compiled once per shape."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, Views
from headstart_server.backbones.contract.runtimes import Precision, RuntimeSettings, has_gpu
from headstart_server.backbones.contract.tail import Float32, TailPlan, TailWeights
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_tail import put, tail_model

#: Computes, from rows and the names of outputs to omit, the other outputs in main memory.
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


#: Maximum rows of one pass on a CPU, on which more rows are not faster; longer batches are split.
MAX_BATCH = 32
#: The same limit on a GPU, which needs more rows to be busy.
MAX_BATCH_GPU = 128

#: Number of token IDs in every vocabulary.
FEW_IDS = 4

#: Batch sizes tested at start, among those the backend runs.
_TRIED = (1, 2, 3, 4, 5, 8, 16, MAX_BATCH, MAX_BATCH_GPU)


class KerasRuntime:
    """Runs a model in inference mode, so that a row's features do not depend on its batch.

    Linear algebra libraries choose the order of sums by the shape of a product. With TensorFlow on two cores,
    the last bits of a single row differ from those of the same row in a batch. On some processors, the last
    of 32 rows also differs. The constructor finds sizes without such differences; batches are padded to them.

    Args:
        model: Keras model with one integer input, [n, ...], and named outputs, [n, size].
        settings: settled precision and streams; the model was built for the precision.
        cuts: outputs that are activations at cuts. They stay on the device unless requested.
        constant_weights: whether the program may contain the weights; see `compiled`.
    """

    def __init__(
        self,
        model: Any,
        settings: RuntimeSettings,
        cuts: Collection[str] = (),
        *,
        constant_weights: bool = True,
    ) -> None:
        self.on_device = on_gpu = has_gpu()
        self.precision = settings.precision or Precision.FLOAT32
        self.name = f"keras {load_keras().backend.backend()} {self.precision.value}"
        self.streams = settings.streams
        self.stream_per_core = False
        self.is_immediate = False
        self.batch = MAX_BATCH_GPU if on_gpu else MAX_BATCH
        self._model, self._settings, self._cuts = model, settings, frozenset(cuts)
        self._executor = compiled(
            model, settings, on_gpu=on_gpu, max_batch=self.batch, constant_weights=constant_weights
        )
        self._finding = Lock()
        self._steady: dict[tuple[int, ...], Sequence[int]] = {}
        _, *shape = model.input_shape
        if None not in shape:
            self.batch = self.steady_sizes(tuple(shape))[-1]

    def steady_sizes(self, shape: tuple[int, ...]) -> Sequence[int]:
        """Return the sizes to which batches of a row shape are padded, ascending."""
        with self._finding:
            if shape not in self._steady:
                self._steady[shape] = steady_sizes(self._executor, _example(self._model, shape))
            return self._steady[shape]

    def most_rows(self, shape: tuple[int, ...]) -> int | None:  # noqa: ARG002 - few rows are filled up anyway
        """Return None: shapes do not matter."""
        return None

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Compute features of rows.

        Args:
            rows: [n, ...] in the model's input dtype, n >= 1. Callable from many threads.

        Returns:
            By name float32 [n, size], and for a cut [n, height, width, channels].
        """
        parts = list(self._passes(rows, self._cuts.difference(cuts)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def tail(self, plan: TailPlan, weights: TailWeights) -> "KerasTail":
        """Return a tail of this model; raise `TailMismatch` if the weights do not fit the plan."""
        model = load_keras().models.clone_model(tail_model(self._model, plan))
        put(model, self._model, plan, weights)
        # Tails of versions share a program: compiling it takes seconds.
        return KerasTail(KerasRuntime(model, self._settings, constant_weights=False))

    def _passes(self, rows: NDArray[np.generic], unwanted: Collection[str]) -> Iterator[Views]:
        sizes = self.steady_sizes(rows.shape[1:])
        for start in range(0, len(rows), sizes[-1]):
            part = rows[start : start + sizes[-1]]
            size = next(size for size in sizes if size >= len(part))
            views = self._executor.execute(_filled(part, size), unwanted)
            yield {name: features[: len(part)] for name, features in views.items()}


class KerasTail:
    """A `Tail` that Keras runs; `runtime` has a model from activations to the `last` view."""

    def __init__(self, runtime: KerasRuntime) -> None:
        self._runtime = runtime

    def run(self, activations: Float32) -> Float32:
        """Return the tail's `last` view, [n, size], of activations [n, height, width, channels]."""
        return self._runtime.run(activations)[LAST]


def _example(model: Any, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return a row [1, ...] to warm up and test a model."""
    dtype = model.inputs[0].dtype
    # Token IDs are looked up in a table, which may have few rows.
    most = FEW_IDS if dtype == "int32" else 256
    return np.random.default_rng(0).integers(0, most, (1, *shape)).astype(dtype)


def steady_sizes(executor: Executor, row: NDArray[np.generic]) -> Sequence[int]:
    """Return the sizes, ascending, in which a row has bitwise the same features at each index of a batch."""
    steady: list[int] = []
    reference: Views = {}
    for size in reversed([size for size in _TRIED if size in executor.sizes]):
        views = executor.execute(np.repeat(row, size, axis=0), ())
        alone = {name: features[:1] for name, features in views.items()}
        reference = reference or alone
        if all(_all_equal(views[name], reference[name]) for name in views):
            steady.append(size)
        elif steady:
            break
        else:
            reference = {}
    return steady[::-1]


def _all_equal(rows: Float32, row: Float32) -> bool:
    return np.array_equal(rows, np.broadcast_to(row, rows.shape), equal_nan=True)


def _filled(rows: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    if len(rows) == size:
        return rows
    filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled
