"""Versions that go on from others: what is handed down, what is left out, and what is refused."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver
from headstart_server.errors import (
    AliasNotFound,
    DatasetTooLarge,
    ExamplesNotKept,
    InvalidField,
    ModelNotFound,
    RequestIdReused,
    UnusableExamplesError,
    VersionNotFound,
    WrongTask,
)
from headstart_server.jobs.job import JobState
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.models.version import Version
from workbench import Workbench, pet, pets, removals


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    yield bench
    bench.close()


def head_digest(version: Version) -> str:
    return version.manifest.head_digest


# What is handed down


@pytest.mark.parametrize("recipe", [None, Ridge(views=("last", "taps"))])
def test_a_set_that_came_in_parts_gives_the_head_of_the_same_set_at_once(
    bench: Workbench, recipe: Ridge | None
) -> None:
    settings = {} if recipe is None else {"recipe": recipe}
    bench.published(pets(4), **settings)
    child = bench.published(pets(2, start=4), parent_version=1, **settings)
    whole = pets(6)
    random.Random(0).shuffle(whole)
    at_once = bench.published(whole, model="others", **settings)
    assert head_digest(child) == head_digest(at_once)
    assert child.manifest.dataset_digest == at_once.manifest.dataset_digest
    assert child.manifest.metrics == at_once.manifest.metrics
    assert child.manifest.class_names == at_once.manifest.class_names


def test_a_child_reports_where_it_came_from(bench: Workbench, driver: JobDriver) -> None:
    bench.published(pets(4))
    child = bench.published([*pets(1, start=4), pet("cat", 0)], parent_version=1, edits=removals("dog0"))
    manifest = child.manifest
    assert (manifest.parent, manifest.added_count, manifest.removed_count) == (1, 4, 2)
    assert manifest.example_count == 12 - 2 + 4
    job = driver.job_store.reader.get(manifest.job_id)
    assert (job.example_count, job.class_count, job.spec.parent_version) == (14, 3, 1)
    parent = bench.registry.reader.version("pets", 1).manifest
    assert (parent.parent, parent.added_count, parent.removed_count) == (0, 12, 0)


def test_no_example_need_come_to_leave_some_out_or_to_fit_again(bench: Workbench) -> None:
    bench.published(pets(4))
    child = bench.published(parent_version=1, edits=removals("cat0", "dog1"))
    assert set(bench.ids(child)) == {example.id for example in pets(4)} - {"cat0", "dog1"}
    again = bench.published(parent_version=1, seed=7)
    assert (again.manifest.seed, again.manifest.example_count) == (7, 12)


def test_new_examples_come_first_and_those_of_a_known_id_take_the_place_of_the_parents(
    bench: Workbench,
) -> None:
    bench.published([pet("cat", 0), pet("cat", 1), pet("dog", 0), pet("dog", 1)])
    moved = Example(content=b"dog:5", target=Target.of_label("dog"), id="cat1")
    child = bench.published([moved, pet("dog", 2)], parent_version=1)
    assert bench.ids(child) == ["cat1", "dog2", "cat0", "dog0", "dog1"]
    assert bench.examples(child).examples[0].target == Target.of_label("dog")


def test_a_label_is_put_right_by_sending_the_example_again(bench: Workbench) -> None:
    bench.published([*pets(3), pet("dog", 9), pet("cat", 9)])
    bench.published([pet("dog", 1, label="cat")], parent_version=1)
    child = bench.published([pet("dog", 1)], parent_version=2)
    at_once = bench.published([*pets(3), pet("dog", 9), pet("cat", 9)], model="others")
    assert head_digest(child) == head_digest(at_once)


def test_examples_without_an_id_are_neither_replaced_nor_removed(bench: Workbench) -> None:
    nameless = [
        Example(content=b"%s:%d" % (word, place), target=Target.of_label(word.decode()))
        for word in (b"cat", b"dog")
        for place in range(3)
    ]
    bench.published(nameless)
    more = Example(content=b"cat:9", target=Target.of_label("cat"))
    child = bench.published([more], parent_version=1)
    assert len(bench.examples(child).examples) == 7


def test_new_classes_open_and_classes_without_examples_close(bench: Workbench) -> None:
    bench.published(pets(3, ("cat", "dog")))
    wider = bench.published(pets(3, ("emu",)), parent_version=1)
    assert wider.manifest.class_names == ("cat", "dog", "emu")
    replaced = [
        Example(content=f"dog:2{i}".encode(), target=Target.of_label("dog"), id=f"cat{i}") for i in range(3)
    ]
    narrower = bench.published(replaced, parent_version=2)
    assert narrower.manifest.class_names == ("dog", "emu")


def test_held_out_examples_stay_held_out(bench: Workbench) -> None:
    held_out = [pet(word, place, held_out=True) for place in (7, 8) for word in ("cat", "dog", "emu")]
    bench.published([*pets(4), *held_out])
    child = bench.published(pets(1, start=4), parent_version=1)
    assert child.manifest.example_count == 15
    assert child.manifest.metrics.example_count == 6
    outcomes = bench.examples(child)
    assert {
        example.id
        for example, reported in zip(outcomes.examples, outcomes.outcomes, strict=True)
        if reported is not None and reported.held_out
    } == {example.id for example in held_out}


def test_weights_and_kinds_of_task_are_handed_down(bench: Workbench) -> None:
    numbers = [
        Example(content=b"cat:%d" % place, target=Target.of_value(float(place)), weight=1.0 + place)
        for place in range(6)
    ]
    bench.published(numbers)
    child = bench.published(parent_version=1)
    assert child.manifest.task is Task.REGRESSION
    assert [example.weight for example in bench.examples(child).examples] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    with pytest.raises(WrongTask, match=r"examples|task"):
        bench.accept(pets(1), parent_version=1)


def test_faulty_examples_that_were_dropped_are_not_handed_down(bench: Workbench) -> None:
    broken = Example(content=b"broken:1", target=Target.of_label("cat"), id="b")
    bench.published([*pets(3), broken], max_excluded_fraction=0.5)
    child = bench.published(pets(1, start=3), parent_version=1)
    assert len(bench.examples(child).examples) == 12


def test_a_new_example_that_contradicts_an_old_one_is_reported_with_its_place_in_the_stream(
    bench: Workbench,
) -> None:
    bench.published(pets(3))
    contrary = Example(content=b"cat:1", target=Target.of_label("dog"), id="new")
    bench.accept([pet("emu", 5), contrary], parent_version=1)
    with pytest.raises(UnusableExamplesError, match=r"example 1 \('new'\).*'cat' at example") as caught:
        bench.run()
    assert caught.value.reason == "CONTRADICTING_LABELS"


# Features


def test_features_are_used_again_and_nothing_is_decoded(bench: Workbench) -> None:
    bench.published(pets(4))
    bench.backbone.decoded.clear()
    bench.published([pet("cat", 9)], parent_version=1)
    assert set(bench.backbone.decoded) == {b"cat:9"}


def test_features_that_are_gone_are_computed_again_from_all_archives(bench: Workbench) -> None:
    bench.published(pets(3))
    bench.published(pets(1, start=3), parent_version=1)
    bench.forget_features()
    third = bench.published(pets(1, start=4), parent_version=2)
    assert len(bench.backbone.decoded) == 15
    at_once = bench.published(pets(5), model="others")
    assert head_digest(third) == head_digest(at_once)


def test_a_child_is_fitted_on_the_parents_backbone_unless_it_names_another(bench: Workbench) -> None:
    bench.published(pets(3), backbone="other")
    child = bench.published(pets(1, start=3), parent_version=1)
    assert child.manifest.backbone == "other"
    elsewhere = bench.published(parent_version=2, backbone="fake")
    assert elsewhere.manifest.backbone == "fake"
    assert head_digest(elsewhere) == head_digest(bench.published(pets(4), model="others"))


# The parent's end


def test_a_child_outlives_its_parent_with_all_its_examples(bench: Workbench) -> None:
    bench.published(pets(3))
    child = bench.published(pets(1, start=3), parent_version=1)
    bench.registry.delete_version("pets", 1, force=True)
    assert bench.files() == {example.archive for example in bench.examples(child).examples}
    bench.forget_features()
    grandchild = bench.published(pets(1, start=4), parent_version=2)
    assert head_digest(grandchild) == head_digest(bench.published(pets(5), model="others"))


def test_a_job_succeeds_whose_parent_was_deleted_after_it_was_accepted(bench: Workbench) -> None:
    bench.published(pets(3))
    bench.accept(pets(1, start=3), parent_version=1)
    bench.forget_features()
    bench.registry.delete_model("pets", force=True)
    bench.files()
    version = bench.registry.reader.version("pets", bench.run())
    assert head_digest(version) == head_digest(bench.published(pets(4), model="others"))


def test_a_parent_deleted_while_examples_come_is_reported_and_leaves_nothing(
    bench: Workbench, driver: JobDriver
) -> None:
    bench.published(pets(3))
    upload = bench.submissions.open(bench.driver.submission(parent_version=1).spec, "", validate_only=False)
    bench.registry.delete_version("pets", 1, force=True)
    upload.add(pets(1, start=3))
    with pytest.raises(ExamplesNotKept):
        upload.accept()
    upload.close()
    assert driver.job_store.reader.count()[JobState.QUEUED] == 0
    assert bench.files() == set()


def test_archives_go_with_the_last_version_that_needs_them(bench: Workbench) -> None:
    bench.published(pets(3))
    bench.published(pets(1, start=3), parent_version=1)
    everything = tuple(example.id for example in pets(3))
    bench.published(pets(3, start=4), parent_version=2, edits=removals(*everything))
    first, second, third = (
        bench.registry.reader.version("pets", number).manifest.job_id for number in (1, 2, 3)
    )
    assert bench.files() == {first, second, third}
    bench.registry.delete_version("pets", 1, force=True)
    bench.registry.delete_version("pets", 2, force=True)
    assert bench.files() == {second, third}
    bench.registry.delete_model("pets", force=True)
    assert bench.files() == set()


# Refusals


def test_a_parent_that_is_not_there_is_refused_before_examples_come(bench: Workbench) -> None:
    with pytest.raises(ModelNotFound):
        bench.accept(pets(), parent_version=1)
    bench.published(pets())
    with pytest.raises(VersionNotFound):
        bench.accept(pets(), parent_version=2)
    with pytest.raises(AliasNotFound):
        bench.accept(pets(), parent_alias="stable")


@pytest.mark.parametrize("number", [0, -1])
def test_versions_are_numbered_from_one(bench: Workbench, number: int) -> None:
    with pytest.raises(InvalidField) as caught:
        bench.accept(pets(), parent_version=number)
    assert caught.value.field == "spec.parent_version"


def test_a_version_whose_examples_were_discarded_cannot_be_a_parent(bench: Workbench) -> None:
    assert not bench.published(pets(), discard_examples=True).has_examples
    assert bench.files() == set()
    with pytest.raises(ExamplesNotKept, match="version 1"):
        bench.accept(pets(), parent_version=1)


def test_a_version_of_the_first_release_cannot_be_a_parent(bench: Workbench, driver: JobDriver) -> None:
    driver.publisher.publish()
    with pytest.raises(ExamplesNotKept):
        bench.accept(pets(), parent_version=1)


def test_an_id_that_the_parent_does_not_have_is_named(bench: Workbench) -> None:
    bench.published(pets(2))
    with pytest.raises(InvalidField, match=r"Edit 1 names example 'no-one'") as caught:
        bench.accept(parent_version=1, edits=removals("cat0", "no-one", "nowhere"))
    assert caught.value.field == "spec.edits[1].example_id"


@pytest.mark.parametrize(
    "spec",
    [
        {"edits": removals("cat0")},
        {"edits": removals(""), "parent_version": 1},
        {"edits": removals("x") * 100_001, "parent_version": 1},
    ],
)
def test_ids_to_remove_that_cannot_be_meant_are_refused(bench: Workbench, spec: dict[str, object]) -> None:
    bench.published(pets(2))
    with pytest.raises(InvalidField) as caught:
        bench.accept(pets(1), **spec)
    assert (caught.value.field or "").startswith("spec.edits")


def test_a_share_to_hold_out_does_not_go_with_held_out_examples_of_the_parent(bench: Workbench) -> None:
    bench.published([*pets(3), *[pet(word, 8, held_out=True) for word in ("cat", "dog", "emu")]])
    with pytest.raises(InvalidField, match="parent") as caught:
        bench.accept(parent_version=1, held_out_fraction=0.2)
    assert caught.value.field == "spec.held_out_fraction"


def test_a_task_other_than_the_parents_is_refused_at_once(bench: Workbench) -> None:
    bench.published(pets(2))
    with pytest.raises(WrongTask) as caught:
        bench.accept(parent_version=1, task=Task.REGRESSION)
    assert caught.value.field == "spec.task"


def test_the_limits_are_of_the_whole_dataset(tmp_path: Path, driver: JobDriver) -> None:
    bench = Workbench(tmp_path, driver, limits=DatasetLimits(max_examples=10))
    with closing(bench):
        bench.published(pets(3))
        with pytest.raises(DatasetTooLarge):
            bench.accept([pet("cat", 8), pet("cat", 9)], parent_version=1)
        bench.published([pet("cat", 8)], parent_version=1)


def test_leaving_out_too_much_is_reported_like_sending_too_little(bench: Workbench) -> None:
    bench.published(pets(2, ("cat", "dog")))
    with pytest.raises(InvalidField, match="leaves class 'cat' without examples") as caught:
        bench.accept(parent_version=1, edits=removals("cat0", "cat1"))
    assert caught.value.field == "spec.edits[1]"


# Repeated requests


def test_a_repeated_request_is_the_same_though_its_alias_was_moved_meanwhile(bench: Workbench) -> None:
    bench.published(pets(3), alias="stable")
    settings = {"parent_alias": "stable", "alias": "stable", "edits": removals("cat0")}
    job = bench.accept([pet("cat", 5)], request_id="r", **settings)
    assert job.spec.parent_version == 1
    assert job.spec.parent_alias is None
    bench.run()
    assert bench.accept([pet("cat", 5)], request_id="r", **settings).job_id == job.job_id
    bench.registry.delete_model("pets", force=True)
    assert bench.accept([pet("cat", 5)], request_id="r", **settings).job_id == job.job_id
    assert bench.files() == set()


@pytest.mark.parametrize(
    ("examples", "changes"),
    [
        ([pet("cat", 6)], {}),
        ([pet("cat", 5)], {"edits": removals("cat1")}),
        ([pet("cat", 5)], {"edits": ()}),
        ([pet("cat", 5)], {"parent_alias": None, "parent_version": 1}),
        ([Example(content=b"cat:5", target=Target.of_label("cat"), id="dog0")], {}),
    ],
    ids=["other example", "other removed", "none removed", "by number", "other id"],
)
def test_a_repeated_request_with_other_content_is_refused(
    bench: Workbench, examples: list[Example], changes: dict[str, object]
) -> None:
    bench.published(pets(3), alias="stable")
    settings = {"parent_alias": "stable", "edits": removals("cat0")}
    bench.accept([pet("cat", 5)], request_id="r", **settings)
    with pytest.raises(RequestIdReused):
        bench.accept(examples, request_id="r", **{**settings, **changes})


def test_a_job_reports_at_most_a_hundred_of_the_ids_that_it_leaves_out(
    bench: Workbench, driver: JobDriver
) -> None:
    bench.published(pets(110, ("cat", "dog")))
    removed = tuple(f"cat{place}" for place in range(105))
    job = bench.accept(parent_version=1, edits=removals(*removed))
    assert job.spec.edits == removals(*removed[:100])
    assert driver.job_store.reader.get(job.job_id).removed_count == 105
    assert job.example_count == 115


# Validation


def test_validation_looks_at_the_whole_dataset(bench: Workbench) -> None:
    bench.published(pets(3))
    found = bench.validate([pet("fox", 1)], parent_version=1, edits=removals("cat0"))
    assert found.valid
    assert found.example_count == 9
    assert found.class_counts == {"cat": 2, "dog": 3, "emu": 3, "fox": 1}
    contrary = bench.validate([Example(content=b"cat:1", target=Target.of_label("dog"))], parent_version=1)
    assert not contrary.valid
    assert [fault.index for fault in contrary.faults] == [0, 4]
    assert len(bench.files()) == 1
