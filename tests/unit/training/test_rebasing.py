"""Versions that are fitted again on other backbones, from the examples that were kept with them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.errors import (
    AliasNotFound,
    BackboneNotFound,
    BackboneUnavailable,
    Draining,
    ExamplesNotKept,
    InvalidField,
    ModelNotFound,
    RequestIdReused,
    VersionNotFound,
    WrongModality,
)
from headstart_server.jobs.job import JobState
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, Ridge
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.learning.metrics.promotion import Decision, PromotionCriteria
from headstart_server.models.version import Selector, TrafficSplit
from workbench import Workbench, pets


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(
        tmp_path,
        driver,
        FakeBackbone("other", digest="o" * 64, parameters=9),
        FakeBackbone("poor", digest="p" * 64, own=6.0, parameters=5),
        FakeBackbone("text", digest="t" * 64, modality=Modality.TEXT),
    )
    yield bench
    bench.close()


def named(bench: Workbench, alias: str = "stable") -> int:
    return bench.registry.index.resolve(Selector(model="pets", alias=alias))


def test_a_rebase_is_of_the_version_that_is_named_and_a_moved_alias_gives_no_shares(
    bench: Workbench,
) -> None:
    bench.published(pets(6), alias="stable")
    bench.published(pets(6, start=20))
    bench.registry.set_alias("pets", "stable", 1, shares=[TrafficSplit(number=2, fraction=0.9)])
    new = bench.rebased(backbone="other", source_alias="stable", alias="stable")
    assert new.manifest.parent == 1
    assert named(bench) == new.number == 3
    assert bench.registry.reader.model("pets").aliases[0].traffic == ()


def test_the_newest_version_is_fitted_again_from_its_own_examples(bench: Workbench) -> None:
    old = bench.published(pets(), seed=7, display_name="Our pets", tags={"team": "x"})
    new = bench.rebased(backbone="other")
    assert (new.number, new.manifest.backbone, new.manifest.parent) == (2, "other", 1)
    assert (new.manifest.seed, new.manifest.display_name) == (7, "Our pets")
    assert new.manifest.tags == {"team": "x"}
    assert (new.manifest.added_count, new.manifest.removed_count) == (0, 0)
    assert new.manifest.dataset_digest == old.manifest.dataset_digest
    assert bench.ids(new) == bench.ids(old)
    assert bench.registry.reader.version("pets", 1) == old
    assert new.promotion is None
    # To the bit what a fine-tune of the same examples gives.
    again = bench.published(pets(), seed=7, backbone="other", model="again")
    assert again.manifest.head_digest == new.manifest.head_digest


def test_an_alias_selects_the_version_and_is_moved_if_the_new_one_is_not_worse(bench: Workbench) -> None:
    bench.published(pets(), alias="stable")
    bench.published(pets(4), backbone="other")
    new = bench.rebased(backbone="other", source_alias="stable", alias="stable")
    assert new.manifest.parent == 1
    assert new.promotion is not None
    assert (new.promotion.decision, new.promotion.baseline) == (Decision.PROMOTED, 1)
    assert new.promotion.comparison is not None
    assert new.promotion.comparison.example_count == 18
    assert named(bench) == 3


def test_an_alias_stays_if_the_new_version_is_worse(bench: Workbench) -> None:
    bench.published(pets(), alias="stable")
    new = bench.rebased(backbone="poor", source_alias="stable", alias="stable")
    assert new.promotion is not None
    assert new.promotion.decision is Decision.KEPT
    assert named(bench) == 1
    lenient = bench.rebased(
        backbone="poor",
        source_alias="stable",
        alias="stable",
        gate=PromotionCriteria(max_drop=1.0, max_class_drop=1.0),
        gate_given=True,
    )
    assert named(bench) == lenient.number


def test_a_version_by_its_number_may_take_over_an_alias_of_another(bench: Workbench) -> None:
    bench.published(pets())
    bench.published(pets(4), alias="stable")
    new = bench.rebased(backbone="other", version=1, alias="stable")
    assert (new.manifest.parent, named(bench)) == (1, 3)


def test_old_and_new_are_measured_on_the_same_held_out_examples(bench: Workbench) -> None:
    old = bench.published(pets(10), held_out_fraction=0.2, alias="stable")
    new = bench.rebased(backbone="other", source_alias="stable", alias="stable")
    assert new.manifest.metrics.source is MetricsSource.HELD_OUT
    held_out = [
        {
            example.id
            for example, outcome in zip(kept.examples, kept.outcomes, strict=True)
            if outcome is not None and outcome.held_out
        }
        for kept in map(bench.examples, (old, new))
    ]
    assert held_out[0] == held_out[1]
    assert len(held_out[0]) == 6
    assert new.promotion is not None
    assert new.promotion.comparison is not None
    assert new.promotion.comparison.example_count == 6


def test_the_comparison_takes_no_pass_of_the_old_backbone(bench: Workbench) -> None:
    bench.published(pets(), alias="stable")
    before = sum(bench.backbone.batches)
    bench.rebased(backbone="other", source_alias="stable", alias="stable")
    assert sum(bench.backbone.batches) == before


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (Auto(), Auto()),
        (Ridge(views=("taps",), folds=3), Ridge(views=("taps",), folds=3)),
        (Logistic(regularization=0.01), Logistic(regularization=0.01)),
        (Mlp(hidden_units=4, max_epochs=2), Mlp(hidden_units=4, max_epochs=2)),
        (Partial(blocks=2), Partial(blocks=2)),
    ],
)
def test_the_recipe_is_the_one_that_was_requested(
    bench: Workbench, requested: Recipe, expected: Recipe
) -> None:
    bench.published(pets(), recipe=requested)
    assert bench.rebase(backbone="other").spec.recipe == expected


def test_another_recipe_may_be_requested(bench: Workbench) -> None:
    bench.published(pets())
    new = bench.rebased(backbone="other", recipe=Logistic(folds=2))
    assert isinstance(new.manifest.recipe, Logistic)


def test_auto_tries_those_that_take_the_examples(bench: Workbench) -> None:
    bench.published(pets(8), alias="stable")
    job = bench.rebase(backbone="auto", source_alias="stable", alias="stable")
    # All but the one for texts; in the order of their sizes.
    assert job.spec.backbone_candidates == ("fake", "poor", "other")
    new = bench.registry.reader.version("pets", bench.run())
    assert new.manifest.backbone_selection is not None
    assert new.manifest.backbone == "fake"
    assert (new.manifest.parent, named(bench)) == (1, 2)


def test_a_version_that_was_chosen_and_rebased_can_be_rebased_again(bench: Workbench) -> None:
    bench.published(pets(8), backbone="auto", backbone_candidates=("poor", "other"))
    bench.rebased(backbone="poor")
    new = bench.rebased(backbone="auto", backbone_candidates=("other",))
    assert (new.number, new.manifest.backbone, new.manifest.parent) == (3, "other", 2)


def test_versions_whose_examples_are_gone_are_refused_before_there_is_a_job(bench: Workbench) -> None:
    bench.published(pets(), discard_examples=True)
    with pytest.raises(ExamplesNotKept) as caught:
        bench.rebase(backbone="other")
    assert caught.value.message == (
        "The examples of version 1 of model 'pets' were not kept. It cannot be rebased: send all "
        "examples with a fine-tune on the other backbone."
    )
    assert bench.driver.job_store.reader.count().get(JobState.QUEUED, 0) == 0


def test_examples_whose_data_was_deleted_are_left_out(bench: Workbench) -> None:
    bench.published(pets())
    bench.eraser.erase("cat0", "pets")
    new = bench.rebased(backbone="other")
    assert "cat0" not in bench.ids(new)
    assert (new.manifest.example_count, new.manifest.removed_count) == (17, 1)


@pytest.mark.parametrize(
    ("spec", "error", "field"),
    [
        ({"backbone": "none-such"}, BackboneNotFound, None),
        ({"backbone": "text"}, WrongModality, "backbone"),
        ({"backbone": ""}, InvalidField, "backbone"),
        ({"backbone": "other", "backbone_candidates": ("other",)}, InvalidField, "backbone_candidates"),
        ({"backbone": "auto", "backbone_time_budget": -1.0}, InvalidField, "backbone_time_budget"),
        ({"backbone": "other", "version": -1}, InvalidField, "source.version"),
        ({"backbone": "other", "version": 9}, VersionNotFound, None),
        ({"backbone": "other", "source_alias": "none"}, AliasNotFound, None),
        ({"backbone": "other", "model": "none"}, ModelNotFound, None),
        ({"backbone": "other", "gate_given": True}, InvalidField, "promote_if"),
        ({"backbone": "other", "priority": 99}, InvalidField, "priority"),
    ],
)
def test_what_cannot_be_done_is_refused_before_there_is_a_job(
    bench: Workbench, spec: dict[str, object], error: type[Exception], field: str | None
) -> None:
    bench.published(pets())
    with pytest.raises(error) as caught:
        bench.rebase(**spec)
    assert getattr(caught.value, "field", None) == field
    assert bench.driver.job_store.reader.count().get(JobState.QUEUED, 0) == 0
    assert bench.files() == {bench.registry.reader.version("pets", 1).manifest.job_id}


def test_the_same_request_gives_the_same_job_even_if_the_version_is_gone(bench: Workbench) -> None:
    bench.published(pets(), alias="stable")
    first = bench.rebase("r", backbone="other", source_alias="stable", alias="stable")
    assert bench.rebase("r", backbone="other", source_alias="stable", alias="stable").job_id == first.job_id
    bench.run()
    bench.registry.delete_version("pets", 1, force=True)
    assert bench.rebase("r", backbone="other", source_alias="stable", alias="stable").job_id == first.job_id
    for other in ({"backbone": "poor"}, {"backbone": "other", "recipe": Auto()}):
        with pytest.raises(RequestIdReused):
            bench.rebase("r", source_alias="stable", alias="stable", **other)


@pytest.mark.parametrize("backbone", ["other", "auto"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_version_whose_backbone_is_gone_is_fitted_again(
    tmp_path: Path, driver: JobDriver, bench: Workbench, backbone: str, is_declared: bool
) -> None:
    bench.published(pets(), backbone="poor", alias="stable")
    poor = [FakeBackbone("poor")] if is_declared else []
    restarted = Workbench(tmp_path, driver, FakeBackbone("other", digest="o" * 64), *poor, loaded=False)

    def refuse(name: str) -> None:
        if name == "poor":
            raise BackboneUnavailable("Backbone 'poor' is unavailable.")

    restarted.source.unprepared.add("poor")
    restarted.source.before_load = refuse
    new = restarted.rebased(backbone=backbone, source_alias="stable", alias="stable")
    assert (new.number, new.manifest.parent) == (2, 1)
    assert new.manifest.backbone in {"fake", "other"}
    assert named(restarted) == 2
    restarted.close()


def test_a_server_that_stops_takes_none(bench: Workbench) -> None:
    bench.published(pets())
    bench.submissions.close()
    with pytest.raises(Draining):
        bench.rebase(backbone="other")
