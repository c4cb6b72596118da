"""Keras on JAX, as on a machine with a GPU and without TensorFlow, in processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

#: Two models that differ in their weights, run in several batch sizes by several threads.
TAILS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_runtime import KerasRuntime

keras = load_keras()
assert keras.backend.backend() == "jax"
cache = Path(sys.argv[1])
settings = RuntimeSettings(kind=RuntimeKind.KERAS, precision=Precision.FLOAT32, streams=3, cache=cache)
sizes, runtimes = [], []
for seed in range(3):
    keras.utils.set_random_seed(seed)
    rows = keras.Input((16,))
    model = keras.Model(rows, {"last": keras.layers.Dense(8, activation="relu", name="top")(rows)})
    runtimes.append(KerasRuntime(model, settings, constant_weights=False))
    sizes.append(len([path for path in (cache / "jax").iterdir() if path.name.endswith("-cache")]))
assert sizes[0] > 0 and sizes[0] == sizes[1] == sizes[2], sizes
rows = np.random.default_rng(0).normal(size=(70, 16)).astype(np.float32)
whole = [runtime.run(rows)["last"] for runtime in runtimes]
assert not np.array_equal(whole[0], whole[1])
with ThreadPoolExecutor(3) as threads:
    parts = threads.map(lambda count: runtimes[0].run(rows[:count])["last"], [1, 3, 31, 32, 33, 70] * 3)
    for part in parts:
        np.testing.assert_array_equal(part, whole[0][: len(part)])
print("shared")
"""


def test_models_that_differ_in_their_weights_share_programs(tmp_path: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    done = subprocess.run(
        [sys.executable, "-c", TAILS, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("shared"), done.stderr[-2000:]
