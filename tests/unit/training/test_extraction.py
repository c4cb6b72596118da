"""Examples with their features: a job and a preview take the same ones, and hold the same ones out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import JobDriver
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.jobs.running import JobCancelledError
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Auto
from headstart_server.models.version import Selector
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureTable
from workbench import Workbench

TARGETS: dict[str, Callable[[int], Target]] = {
    "one label": lambda place: Target.of_label(("cat", "dog", "emu")[place % 3]),
    "several labels": lambda place: Target.of_labels(
        [("cat", "dog", "emu")[place % 3], "pet"][: place % 2 + 1]
    ),
    "a number": lambda place: Target.of_value(float(place % 3) + place / 100),
}
EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver)
    yield bench
    bench.close()


def table_of(target: Callable[[int], Target], *, seed: int) -> FeatureTable:
    """Twenty images, each of them twice: all but the same, and shown to be the same."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.uniform(size=(20, 30)), 2, axis=0) + rng.normal(scale=1e-4, size=(40, 30))
    examples = [
        StoredExample(
            target=target(place // 2), id="", held_out=place == 0, digest=f"{seed}.{place:02d}", kind="image"
        )
        for place in rng.permutation(40).tolist()
    ]
    order = [int(example.digest.partition(".")[2]) for example in examples]
    return FeatureTable(
        examples=examples,
        indexes=np.arange(40),
        views={"last": rows[order].astype(np.float32)},
        targets=Targets.from_targets([example.target for example in examples]),
        digests=[example.digest for example in examples],
        modality=Modality.IMAGE,
    )


@EACH
@pytest.mark.parametrize("seed", range(5))
def test_all_but_equal_examples_are_held_out_together(target: Callable[[int], Target], seed: int) -> None:
    table = table_of(target, seed=seed)
    spec = FineTuneSpec(model="pets", backbone="fake", held_out_fraction=0.3, seed=seed)
    out = {
        digest
        for digest, is_out in zip(table.digests, table.held_out_mask(spec, lambda: None), strict=True)
        if is_out
    }
    pairs = [{f"{seed}.{place:02d}", f"{seed}.{place + 1:02d}"} for place in range(0, 40, 2)]
    assert out
    assert all(pair <= out or not pair & out for pair in pairs)


def test_marked_examples_are_held_out_as_they_are_marked() -> None:
    table = table_of(TARGETS["one label"], seed=0)
    held_out_mask = table.held_out_mask(FineTuneSpec(model="pets", backbone="fake"), lambda: None)
    assert [table.digests[place] for place in np.flatnonzero(held_out_mask)] == ["0.00"]


@EACH
def test_a_preview_holds_out_what_the_job_does(bench: Workbench, target: Callable[[int], Target]) -> None:
    words = ("cat", "dog", "emu")
    examples = [
        Example(content=f"{words[place % 3]}:{place}".encode(), target=target(place), id=f"p{place}")
        for place in range(30)
    ]
    found = bench.validate(examples, held_out_fraction=0.3, seed=5).previewed
    assert found is not None
    bench.published(examples, held_out_fraction=0.3, seed=5)
    evaluation, _ = bench.registry.files.evaluation(bench.registry.selected(Selector(model="pets")))
    assert evaluation == found.evaluation


def test_the_search_for_near_duplicates_of_an_evaluation_can_be_stopped() -> None:
    table = table_of(TARGETS["one label"], seed=0)
    held_out = np.arange(40) % 4 == 0
    trained = table.part(~held_out)
    fitted = fit(Auto(), trained.views, trained.targets, trained.digests, seed=0)

    def stop() -> None:
        raise JobCancelledError("job")

    with pytest.raises(JobCancelledError):
        evaluate_fit(fitted, table, held_out, checkpoint=stop)
