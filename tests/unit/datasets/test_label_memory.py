"""Labels of many classes: counted as memory where they are kept, and refused before they take too much."""

import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes import JobDriver
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_index import ExampleIndex
from headstart_server.errors import DatasetTooLarge, JobMemoryLimit
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.heads.memory_estimate import FURTHER_CLASS, Sizes, estimated_bytes
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from workbench import Workbench

COUNT, CLASSES = 200, 1000
NAMES = [f"class number {place}" for place in range(CLASSES)]


@contextmanager
def growth() -> Iterator[Callable[[], tuple[int, int]]]:
    """Yield a function that returns the growth of the memory, and of its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()


def probabilities(classes: int, seed: int) -> Target:
    chance = random.Random(seed)
    shares = {name: chance.random() for name in NAMES[:classes]}
    total = sum(shares.values())
    return Target.of_shares({name: share / total for name, share in shares.items()})


def listed(count: int, classes: int) -> ExampleList:
    return ExampleList(
        examples=[
            StoredExample(
                target=probabilities(classes, place),
                id="",
                held_out=False,
                digest=f"{place:064}",
                kind="text",
            )
            for place in range(count)
        ]
    )


@pytest.mark.parametrize("classes", [2, 683, CLASSES])
def test_an_index_counts_the_classes_of_labels(classes: int) -> None:
    content = listed(COUNT, classes).to_bytes()
    with growth() as grown:
        index = ExampleIndex(ExampleList.from_bytes(content))
        gc.collect()
        held, _ = grown()
    assert held <= index.nbytes <= 4 * held


def test_an_index_counts_the_classes_of_predictions() -> None:
    examples = listed(COUNT, 2).examples

    def outcome(place: int) -> PredictionOutcome:
        return PredictionOutcome(labels=tuple(NAMES[place:]), loss=1.0, held_out=False)

    outcomes = [outcome(place) for place in range(COUNT)]
    held = sum(8 * len(each.labels) for each in outcomes)
    assert ExampleIndex(ExampleList(examples=examples, outcomes=outcomes)).nbytes > held


@pytest.mark.parametrize("classes", [20, CLASSES])
def test_the_estimate_of_a_job_includes_the_classes_of_labels(classes: int) -> None:
    def estimate(further: int) -> int:
        sizes = Sizes(examples=COUNT, views={"last": 8}, outputs=classes, further_classes=further)
        return estimated_bytes(Ridge(), sizes)

    with growth() as grown:
        before = listed(COUNT, classes)
        content = before.to_bytes()
        del before
        ExampleList.from_bytes(content).to_bytes()
        _, peak = grown()
    further = COUNT * (classes - 1)
    # Examples count 4096 bytes, whatever their labels.
    assert peak <= estimate(further) - estimate(0) + COUNT * 4096


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, limits=DatasetLimits(max_further_classes=50))
    yield bench
    bench.close()


def soft(count: int) -> list[Example]:
    return [Example(content=f"{place}", target=probabilities(11, place)) for place in range(count)]


def test_an_upload_beyond_the_limit_is_refused_at_the_first_example_too_many(bench: Workbench) -> None:
    writer = bench.datasets.writer("job")
    with pytest.raises(DatasetTooLarge, match="first 6 examples have more than 50 classes"):
        writer.add(soft(9))
    writer.discard()


def test_uploads_share_the_memory_and_give_it_back_when_they_end(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "shared", DatasetLimits(), label_bytes=60 * FURTHER_CLASS)
    first, second = store.writer("first"), store.writer("second")
    first.add(soft(5))
    with pytest.raises(
        JobMemoryLimit, match=r"have 20 classes besides.*others use .* Try again later, or send"
    ):
        second.add(soft(2))
    # Labels of one class always fit.
    hard = store.writer("hard")
    hard.add([Example(content=f"{place}", target=Target.of_label("cat")) for place in range(99)])
    for writer in (first, second, hard):
        writer.discard()
    del first, second, hard, writer
    gc.collect()
    third = store.writer("third")
    third.add(soft(6))
    with pytest.raises(JobMemoryLimit, match=r"--job-memory\. Send fewer examples"):
        third.add(soft(1))
    third.discard()


def test_batches_of_a_dataset_are_limited_together(bench: Workbench) -> None:
    bench.catalog.create("pets", {"display_name": "", "description": "", "tags": {}})
    bench.write("pets", 0, soft(5))
    with pytest.raises(DatasetTooLarge, match="first 6 examples have more than 50 classes"):
        bench.write("pets", 1, soft(1))
    bench.write("pets", 1, [Example(content="one", target=Target.of_label("class number 1"))])
    assert bench.catalog.get("pets").example_count == 6
