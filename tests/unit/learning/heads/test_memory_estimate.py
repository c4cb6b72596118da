"""Estimates of memory are at least what a run takes, and at most three times as much."""

import json
import os
from pathlib import Path

import pytest

from forked import ForkedProgram
from headstart_server.learning.heads.memory_estimate import Sizes, estimated_bytes
from unit.learning.heads import measure_memory
from unit.learning.heads.measure_memory import RECIPES

#: Seconds that a process gets; never waited for when the code is right.
PATIENCE = 300.0
#: More and fewer examples than features, and more than `result_cache.ROWS` and `feature_matrix.BLOCK`. The
#: last has so many examples that copies of their features would exceed the memory of the fit.
CASES = [
    ("ridge", 2500, {"last": 1024}, 10, "image"),
    ("ridge", 400, {"last": 12288}, 3, "tensor"),
    ("auto", 2500, {"last": 768, "taps": 512}, 20, "image"),
    ("auto", 700, {"last": 8192, "taps": 4096}, 5, "tensor"),
    ("logistic", 2500, {"last": 1024}, 10, "image"),
    ("logistic", 400, {"last": 6144}, 3, "tensor"),
    ("mlp", 2500, {"last": 768, "taps": 512}, 10, "image"),
    ("mlp", 400, {"last": 6144}, 3, "tensor"),
    pytest.param("ridge", 20_000, {"last": 1024}, 2, "tensor", marks=pytest.mark.slow),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("recipe", "examples", "views", "classes", "modality"), CASES)
def test_an_estimate_is_at_least_the_peak_and_at_most_three_times_it(
    tmp_path: Path, recipe: str, examples: int, views: dict[str, int], classes: int, modality: str
) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("The peak of a run can be measured on Linux only.")
    output, errors = tmp_path / "output", tmp_path / "errors"
    arguments = [recipe, str(examples), json.dumps(views), str(classes), modality]
    program = ForkedProgram(measure_memory.__name__, arguments, os.environ, output, errors)
    try:
        assert program.wait(PATIENCE) == 0, errors.read_text()
    finally:
        program.kill()
    peak = int(output.read_text())
    estimate = estimated_bytes(RECIPES[recipe], Sizes(examples=examples, views=views, outputs=classes))
    assert peak <= estimate <= 3 * peak, f"peak {peak / 2**20:.0f} MiB, estimate {estimate / 2**20:.0f} MiB"
