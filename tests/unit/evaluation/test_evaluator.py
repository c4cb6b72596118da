"""Versions measured on labelled examples: by themselves, side by side, and on what they know."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver
from headstart_server.errors import (
    BackboneMismatch,
    Cancelled,
    DatasetTooLarge,
    EmptyDataset,
    InvalidLabel,
    ModelNotFound,
    ModelNotReady,
    NoCommonExamples,
    VersionNotFound,
    WrongModality,
    WrongTask,
)
from headstart_server.evaluation.paired_predictions import BLOCK
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.comparison import Comparison
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.models.version import Selector
from workbench import Workbench, pet, pets


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    yield bench
    bench.close()


def version(number: int | None = None, model: str = "pets") -> Selector:
    return Selector(model=model, number=number)


def evaluated(bench: Workbench, *batches: Sequence[Example], target: Selector | None = None) -> Evaluation:
    run = bench.bench.evaluation(target or version())
    for batch in batches:
        run.add(batch)
    return run.evaluation()


def compared(bench: Workbench, first: Selector, second: Selector, *batches: Sequence[Example]) -> Comparison:
    run = bench.bench.comparison(first, second)
    for batch in batches:
        run.add(batch)
    return run.comparison()


def wrong() -> Example:
    return pet("dog", 40, label="cat")


# Evaluate


def test_a_version_is_measured_on_new_examples_that_come_in_batches(bench: Workbench) -> None:
    bench.published(pets(8))
    found = evaluated(bench, pets(3, start=20), [wrong()])
    assert found.metrics.source is MetricsSource.HELD_OUT
    assert (found.metrics.example_count, found.metrics.accuracy) == (10, 0.9)
    assert [(one.name, one.support) for one in found.classes] == [("cat", 4), ("dog", 3), ("emu", 3)]
    assert (found.worst[0].index, found.worst[0].id) == (9, "dog40")
    assert found.worst[0].predicted == ("dog",)


def test_labels_that_the_version_does_not_know_count_as_wrong_and_are_named(bench: Workbench) -> None:
    bench.published(pets(8))
    found = evaluated(bench, [*pets(2, start=20), *pets(2, ("yak", "fox"), start=20)])
    assert (found.metrics.example_count, found.metrics.accuracy) == (10, 0.6)
    assert [one.name for one in found.classes] == ["cat", "dog", "emu", "fox", "yak"]
    assert [one.recall for one in found.classes] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert {outcome.labels for outcome in found.worst[:4]} == {("fox",), ("yak",)}


def test_unknown_labels_among_several_count_as_missed(bench: Workbench) -> None:
    sets = [
        Example(content=f"{word}:{place}".encode(), target=Target.of_labels([word]))
        for place in range(8)
        for word in ("cat", "dog")
    ]
    bench.published(sets)
    both = Example(content=b"cat:77", target=Target.of_labels(["cat", "red"]))
    found = evaluated(bench, [both])
    assert found.metrics.accuracy == 0.0
    assert {one.name: one.recall for one in found.classes}["red"] == 0.0


def test_examples_that_cannot_be_decoded_are_faults_with_their_places_in_the_stream(bench: Workbench) -> None:
    bench.published(pets(8))
    run = bench.bench.evaluation(version())
    broken = [Example(content=b"broken:%d" % n, target=Target.of_label("cat"), id=f"b{n}") for n in (1, 2)]
    run.add([pet("cat", 20), broken[0]])
    run.add([broken[1], pet("dog", 20, label="cat")])
    found = run.evaluation()
    assert [(fault.index, fault.id) for fault in run.predictor.faults] == [(1, "b1"), (2, "b2")]
    assert run.predictor.fault_count == 2
    assert run.predictor.faults[0].reason == "UNDECODABLE_INPUT"
    assert found.metrics.example_count == 2
    assert found.worst[0].index == 3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_examples_without_a_finite_prediction_are_faults(bench: Workbench) -> None:
    bench.published(pets(8))
    endless = Example(content=b"endless:1", target=Target.of_label("cat"), id="e1")
    run = bench.bench.evaluation(version())
    run.add([pet("cat", 20), endless, pet("dog", 20)])
    found = run.evaluation()
    assert [(fault.index, fault.id, fault.reason) for fault in run.predictor.faults] == [
        (1, "e1", "UNDECODABLE_INPUT")
    ]
    assert (found.metrics.example_count, found.metrics.accuracy) == (2, 1.0)


def test_a_large_batch_is_predicted_in_parts_and_keeps_its_places(bench: Workbench) -> None:
    bench.published(pets(8))
    batch = [*[pet("cat", 20)] * BLOCK, Example(content=b"broken:1", target=Target.of_label("cat")), wrong()]
    run = bench.bench.evaluation(version())
    sizes = [len(part.examples) for part in bench.bench.evaluation(version()).predictor.answers(batch)]
    run.add(batch)
    found = run.evaluation()
    assert sizes == [BLOCK, 2]
    assert [fault.index for fault in run.predictor.faults] == [BLOCK]
    assert found.worst[0].index == BLOCK + 1
    assert compared(bench, version(1), version(1), batch).example_count == BLOCK + 1


def test_faults_are_listed_up_to_a_bound_and_counted_beyond(bench: Workbench) -> None:
    bench.published(pets(8))
    run = bench.bench.evaluation(version())
    run.add([Example(content=b"broken:%d" % n, target=Target.of_label("cat")) for n in range(120)])
    assert (len(run.predictor.faults), run.predictor.fault_count) == (100, 120)
    assert run.evaluation().metrics.example_count == 0


def test_the_same_content_twice_counts_twice(bench: Workbench) -> None:
    bench.published(pets(8))
    assert evaluated(bench, [pet("cat", 20)] * 3, [pet("cat", 20)]).metrics.example_count == 4


def test_examples_that_the_version_was_trained_on_are_counted(bench: Workbench) -> None:
    held_out = [pet(word, 20, held_out=True) for word in ("cat", "dog", "emu")]
    bench.published([*pets(6), *held_out])
    run = bench.bench.evaluation(version())
    run.add([*pets(2), *held_out])
    run.add(pets(3, start=40))
    run.evaluation()
    assert run.trained_count == 6


def test_copies_of_an_example_do_not_narrow_the_interval(bench: Workbench) -> None:
    bench.published(pets(6))
    once = evaluated(bench, pets(4, start=30)).metrics
    often = evaluated(bench, pets(4, start=30) * 10).metrics
    assert once.accuracy == often.accuracy == 1.0
    assert often.accuracy_low == pytest.approx(once.accuracy_low)


def test_numbers_are_measured_with_the_coverage_of_their_interval(bench: Workbench) -> None:
    numbers = [
        Example(content=f"{word}:{place}".encode(), target=Target.of_value(float(value)))
        for place in range(10)
        for value, word in enumerate(("cat", "dog", "emu"))
    ]
    bench.published(numbers)
    found = evaluated(bench, [Example(content=b"dog:90", target=Target.of_value(1.0))])
    assert found.metrics.mean_absolute_error is not None
    assert found.interval_coverage in (0.0, 1.0)


@pytest.mark.parametrize("target", [Target.of_value(1.0), Target.of_labels(["cat"])])
def test_examples_of_another_task_are_refused(bench: Workbench, target: Target) -> None:
    bench.published(pets(8))
    with pytest.raises(WrongTask):
        evaluated(bench, [Example(content=b"cat:20", target=target)])


def test_an_example_without_a_label_is_named(bench: Workbench) -> None:
    bench.published(pets(8))
    with pytest.raises(InvalidLabel) as caught:
        evaluated(bench, [pet("cat", 20)], [Example(content=b"x", target=Target.of_label(""))])
    assert caught.value.field == "examples[1].label.class_name"


def test_a_text_for_images_is_refused(bench: Workbench) -> None:
    bench.published(pets(8))
    with pytest.raises(WrongModality):
        evaluated(bench, [Example(content="a text", target=Target.of_label("cat"))])


def test_no_example_is_reported(bench: Workbench) -> None:
    bench.published(pets(8))
    with pytest.raises(EmptyDataset):
        evaluated(bench)


def test_a_version_that_is_not_there_is_reported_before_examples_come(bench: Workbench) -> None:
    with pytest.raises(ModelNotFound):
        bench.bench.evaluation(version())
    bench.accept(pets())
    with pytest.raises(ModelNotReady):
        bench.bench.evaluation(version())
    bench.run()
    with pytest.raises(VersionNotFound):
        bench.bench.evaluation(version(7))


def test_a_version_of_another_build_of_its_backbone_is_refused(bench: Workbench, driver: JobDriver) -> None:
    driver.publisher.publish(backbone_digest="e" * 64)
    with pytest.raises(BackboneMismatch):
        bench.bench.evaluation(version())


def test_more_examples_than_the_server_takes_are_refused(tmp_path: Path, driver: JobDriver) -> None:
    bench = Workbench(tmp_path, driver, limits=DatasetLimits(max_examples=30))
    with closing(bench):
        bench.published(pets(8))
        with pytest.raises(DatasetTooLarge):
            evaluated(bench, pets(10, start=20), [pet("cat", 90)])


def test_a_caller_that_left_ends_the_work_for_it(bench: Workbench) -> None:
    bench.published(pets(8))
    run = bench.bench.evaluation(version())
    run.predictor.leave()
    with pytest.raises(Cancelled):
        run.add(pets(1, start=20))


def test_measuring_stores_nothing_but_features(bench: Workbench) -> None:
    bench.published(pets(8))
    before = bench.files()
    evaluated(bench, pets(3, start=20))
    assert bench.files() == before


# Compare


def test_two_versions_are_put_side_by_side_on_new_examples(bench: Workbench) -> None:
    bench.published(pets(8, ("cat", "dog")))
    bench.published(pets(8, ("emu",)), parent_version=1)
    found = compared(bench, version(1), version(2), pets(4, start=20), pets(2, ("emu",), start=30))
    assert found.example_count == 14
    assert (found.first.accuracy, found.second.accuracy) == (8 / 14, 1.0)
    assert (found.only_first_right, found.only_second_right) == (0, 6)
    assert "second is better" in found.verdict


def test_a_version_next_to_itself_is_equally_good(bench: Workbench) -> None:
    bench.published(pets(8))
    for batches in ([], [pets(3, start=20)]):
        found = compared(bench, version(1), version(1), *batches)
        assert found.difference == 0.0
        assert found.p_value == 1.0


def test_examples_that_a_compared_version_was_trained_on_are_counted(bench: Workbench) -> None:
    held_out = [pet(word, 20, held_out=True) for word in ("cat", "dog", "emu")]
    bench.published([*pets(6), *held_out])
    bench.published(pets(2, start=40), parent_version=1)
    broken = Example(content=b"broken:1", target=Target.of_label("cat"))
    run = bench.bench.comparison(version(1), version(2))
    run.add([*pets(2), *held_out, broken])
    run.add(pets(3, start=40))
    run.comparison()
    assert run.trained_counts == (6, 12)


def test_the_own_examples_of_versions_are_not_counted_as_trained(bench: Workbench) -> None:
    bench.published(pets(8))
    run = bench.bench.comparison(version(1), version(1))
    run.comparison()
    assert run.trained_counts == (0, 0)


def test_versions_on_two_backbones_are_compared_on_what_both_could_answer(bench: Workbench) -> None:
    bench.published(pets(8), backbone="fake")
    bench.published(pets(8), backbone="other", model="others")
    broken = Example(content=b"broken:1", target=Target.of_label("cat"))
    run = bench.bench.comparison(version(1), version(1, "others"))
    run.add([*pets(2, start=20), broken])
    assert run.comparison().example_count == 6
    assert run.predictor.fault_count == 1


def test_without_examples_they_are_compared_on_what_they_know(bench: Workbench) -> None:
    bench.published(pets(8))
    bench.published(pets(4, start=8), parent_version=1)
    found = compared(bench, version(1), version(2))
    assert found.example_count == 36
    assert found.first.accuracy == 1.0


def test_each_answers_its_own_examples_by_a_head_that_was_fitted_without_them(bench: Workbench) -> None:
    # Labels of half of the examples are wrong: only a head that has seen them gets them right.
    muddled = [
        pet(word, place, label=("cat", "dog")[place % 2]) for place in range(12) for word in ("cat", "dog")
    ]
    trained = bench.published(muddled)
    found = compared(bench, version(1), version(1))
    assert found.first.accuracy == pytest.approx(trained.manifest.metrics.accuracy)
    assert found.first.log_loss == pytest.approx(trained.manifest.metrics.log_loss, rel=1e-5)


def test_features_that_are_gone_are_computed_again_from_the_archives(bench: Workbench) -> None:
    bench.published(pets(8))
    bench.published(pets(8, start=20), model="others")
    before = compared(bench, version(1), version(1, "others"))
    bench.forget_features()
    bench.cache.remove(
        [example.digest for example in bench.examples(bench.registry.reader.version("others", 1)).examples]
    )
    assert compared(bench, version(1), version(1, "others")) == before
    assert before.example_count == 48


def test_without_the_archives_what_both_know_is_compared(bench: Workbench) -> None:
    bench.published(pets(8), discard_examples=True)
    bench.published([*pets(4), *pets(4, start=20)], model="others", discard_examples=True)
    bench.files()
    bench.forget_features()
    bench.cache.remove(
        [example.digest for example in bench.examples(bench.registry.reader.version("others", 1)).examples]
    )
    found = compared(bench, version(1), version(1, "others"))
    assert found.example_count == 12


def test_nothing_in_common_is_reported(bench: Workbench, driver: JobDriver) -> None:
    bench.published(pets(8))
    driver.publisher.publish("old")
    with pytest.raises(NoCommonExamples, match="older release"):
        compared(bench, version(1), version(1, "old"))
    with pytest.raises(NoCommonExamples, match=r"None of the 1 examples.*example 0"):
        broken = Example(content=b"broken:1", target=Target.of_label("cat"))
        compared(bench, version(1), version(1), [broken])


def test_a_caller_that_left_ends_a_comparison_on_what_versions_know(bench: Workbench) -> None:
    bench.published(pets(8))
    bench.published(pets(8, start=20), model="others")
    bench.forget_features()
    run = bench.bench.comparison(version(1), version(1, "others"))
    run.predictor.leave()
    with pytest.raises(Cancelled):
        run.comparison()


def test_versions_of_two_tasks_cannot_be_compared(bench: Workbench) -> None:
    bench.published(pets(8))
    numbers = [Example(content=b"cat:%d" % place, target=Target.of_value(place)) for place in range(6)]
    bench.published(numbers, model="numbers")
    with pytest.raises(WrongTask, match="numbers"):
        bench.bench.comparison(version(1), version(1, "numbers"))
