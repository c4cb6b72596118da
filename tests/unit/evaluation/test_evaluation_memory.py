"""The memory of evaluations: estimated, limited together, and given back."""

import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from headstart_server.errors import JobMemoryLimit
from headstart_server.evaluation.batch_predictor import PredictedBatch
from headstart_server.evaluation.evaluation_memory import (
    EvaluationMemory,
    evaluation_bytes,
)
from headstart_server.evaluation.evaluator import EvaluationRun
from headstart_server.evaluation.paired_predictions import BLOCK
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.memory_share import LEAST_BYTES, share_of


class _Predictor:
    """A head of some classes without inputs to compute."""

    def __init__(self, classes: int, thresholds: Sequence[float] = ()) -> None:
        head = SimpleNamespace(
            class_names=tuple(f"known{place:04}" for place in range(classes)),
            thresholds=np.array(thresholds, np.float32),
            interval=None,
        )
        self.versions = [SimpleNamespace(head=head)]
        self._classes = classes

    def answers(self, examples: Sequence[Example]) -> Iterator[PredictedBatch]:
        for start in range(0, len(examples), BLOCK):
            part = examples[start : start + BLOCK]
            outputs = np.random.default_rng(start).random((len(part), self._classes), np.float32)
            outputs /= outputs.sum(axis=1, keepdims=True)
            yield PredictedBatch(
                examples=part,
                digests=[f"{start + place:08}" for place in range(len(part))],
                usable=np.ones(len(part), np.bool_),
                outputs=[outputs],
            )


def run_of(predictor: _Predictor, memory: EvaluationMemory) -> EvaluationRun:
    return EvaluationRun(cast(Any, predictor), memory)


def labeled(count: int, names: Sequence[str], *, several: bool = False) -> list[Example]:
    make = (lambda name: Target.of_labels([name])) if several else Target.of_label
    targets = [make(name) for name in names]
    return [Example(content=b"", target=targets[place % len(targets)]) for place in range(count)]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("known", "unknown"), [(2, 300), (300, 1), (150, 150)])
def test_an_evaluation_takes_no_more_memory_than_was_estimated(
    known: int, unknown: int, several: bool
) -> None:
    count = 3 * BLOCK
    run = run_of(_Predictor(known, [0.5] * known if several else ()), EvaluationMemory())
    examples = labeled(count, [f"unknown{place:04}" for place in range(unknown)], several=several)
    tracemalloc.start()
    try:
        run.add(examples)
        found = run.evaluation()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.classes) == known + unknown
    assert peak <= evaluation_bytes(count, known + unknown) <= 3 * peak


def test_invented_labels_are_refused_before_they_take_memory() -> None:
    limit = 100 << 20
    run = run_of(_Predictor(2), EvaluationMemory(limit))
    examples = labeled(20_000, [f"invented{place:04}" for place in range(1000)])
    tracemalloc.start()
    try:
        with pytest.raises(JobMemoryLimit, match=r"1,002 classes.*fewer unknown classes") as refused:
            run.add(examples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit
    assert refused.value.metadata["limit"] == str(limit)


def test_evaluations_share_the_memory_and_give_it_back_when_they_end() -> None:
    half = evaluation_bytes(1000, 10)
    memory = EvaluationMemory(2 * half)
    first, second, third = (run_of(_Predictor(10), memory) for _ in range(3))
    examples = labeled(1000, ["known0000"])
    first.add(examples[:500])
    first.add(examples[500:])
    second.add(examples)
    with pytest.raises(JobMemoryLimit, match=r"others use .* Try again later"):
        third.add(examples[:1])
    del first
    gc.collect()
    run_of(_Predictor(10), memory).add(examples)


def test_evaluations_may_use_a_quarter_of_the_memory_of_jobs() -> None:
    assert share_of(8 << 30) == 2 << 30
    assert share_of(1 << 20) == LEAST_BYTES
    assert share_of(None) is None
