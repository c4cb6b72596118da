"""The gate at publication: what is judged on what, and whom the alias names in the end."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver
from headstart_server.errors import BackboneNotFound, BackboneUnavailable, HeadstartError, InvalidField
from headstart_server.evaluation.promotion_check import MAX_PROMOTION_CHECKS
from headstart_server.jobs.job import JobState
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.promotion import Decision, Promotion, PromotionCriteria
from headstart_server.models.version import Selector, TrafficSplit, Version
from workbench import Workbench, pet, pets, removals


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    yield bench
    bench.close()


WORDS = ("cat", "dog", "emu")


def muddled(each: int, start: int = 100) -> list[Example]:
    """Examples whose labels say nothing about them: whatever is learned from them is worse."""
    places = range(start, start + each)
    return [pet(word, place, label=WORDS[place % 3]) for place in places for word in WORDS]


def gated(bench: Workbench, examples: Sequence[Example] = (), **spec: object) -> Version:
    return bench.published(examples, **{"alias": "stable", "promote_if": PromotionCriteria(), **spec})


def promotion_of(version: Version) -> Promotion:
    assert version.promotion is not None
    return version.promotion


def named(bench: Workbench) -> int:
    return bench.registry.reader.alias_number("pets", "stable")


def test_the_first_version_is_promoted_for_there_is_nothing_to_be_worse_than(bench: Workbench) -> None:
    promotion = promotion_of(gated(bench, pets(4)))
    assert (promotion.decision, promotion.baseline, promotion.comparison) == (Decision.PROMOTED, 0, None)
    assert promotion.reasons
    assert named(bench) == 1


def test_a_version_that_is_as_good_is_promoted_and_the_figures_are_kept(
    bench: Workbench, driver: JobDriver
) -> None:
    gated(bench, pets(6))
    version = gated(bench, pets(3, start=6), parent_version=1)
    promotion = promotion_of(version)
    assert (promotion.decision, promotion.baseline) == (Decision.PROMOTED, 1)
    assert promotion.comparison is not None
    assert promotion.comparison.example_count == 27
    assert named(bench) == 2
    assert driver.job_store.reader.get(version.manifest.job_id).promotion == promotion
    assert driver.restarted().reader.get(version.manifest.job_id).promotion == promotion
    assert driver.publisher.reopened().reader.version("pets", 2).promotion == promotion


def test_a_worse_version_is_published_but_the_alias_stays(bench: Workbench, driver: JobDriver) -> None:
    gated(bench, pets(12))
    version = gated(bench, muddled(12))
    promotion = promotion_of(version)
    assert (promotion.decision, promotion.baseline) == (Decision.KEPT, 1)
    assert "accuracy falls" in promotion.reasons[0]
    assert named(bench) == 1
    assert version.aliases == ()
    assert driver.job_store.reader.get(version.manifest.job_id).state is JobState.SUCCEEDED


def test_a_rejected_version_is_no_default_until_an_alias_names_it(
    bench: Workbench, driver: JobDriver
) -> None:
    gated(bench, pets(12))
    assert not promotion_of(gated(bench, muddled(12))).is_promoted
    default = Selector(model="pets")
    assert bench.registry.index.find(default) == driver.publisher.reopened().index.find(default) == 1
    assert bench.registry.index.find(Selector(model="pets", number=2)) == 2
    bench.registry.set_alias("pets", "trial", 2)
    assert bench.registry.index.find(default) == 2
    bench.registry.delete_alias("pets", "trial")
    bench.registry.delete_version("pets", 1, force=True)
    # Better than no version at all.
    assert bench.registry.index.find(default) == driver.publisher.reopened().index.find(default) == 2


@pytest.mark.parametrize("error", [BackboneNotFound, BackboneUnavailable])
def test_a_baseline_whose_backbone_is_gone_is_compared_on_what_it_was_trained_on(
    tmp_path: Path, driver: JobDriver, bench: Workbench, error: type[HeadstartError]
) -> None:
    gated(bench, pets(12), backbone="other")
    restarted = Workbench(tmp_path, driver, FakeBackbone("other"), loaded=False)

    def refuse(name: str) -> None:
        if name == "other":
            raise error("Backbone 'other' is unavailable.")

    restarted.source.before_load = refuse
    promotion = promotion_of(gated(restarted, pets(12)))
    assert (promotion.decision, promotion.baseline) == (Decision.PROMOTED, 1)
    restarted.close()


def test_margins_decide(bench: Workbench) -> None:
    gated(bench, pets(12))
    lax = PromotionCriteria(max_drop=1.0, max_class_drop=1.0)
    assert promotion_of(gated(bench, muddled(12), promote_if=lax)).is_promoted


def test_new_examples_are_judged_by_what_the_old_version_says_about_them(bench: Workbench) -> None:
    gated(bench, pets(6, ("cat", "dog")))
    comparison = promotion_of(gated(bench, pets(6, ("emu",)), parent_version=1)).comparison
    assert comparison is not None
    by_name = {one.name: one for one in comparison.classes}
    assert by_name["emu"].first_recall == 0.0
    assert by_name["emu"].second_recall == 1.0
    assert comparison.example_count == 18


def test_what_the_old_version_knows_counts_though_the_new_one_was_not_trained_on_it(bench: Workbench) -> None:
    gated(bench, pets(12))
    # By itself it looks perfect; of the third class it has never heard.
    promotion = promotion_of(gated(bench, pets(12, ("cat", "dog"), start=50)))
    assert not promotion.is_promoted
    assert any("'emu'" in reason for reason in promotion.reasons)


def test_what_was_left_out_of_the_parents_is_not_held_against_the_new_version(bench: Workbench) -> None:
    gated(bench, pets(12))
    emus = removals(*(f"emu{place}" for place in range(10)))
    promotion = promotion_of(gated(bench, parent_version=1, edits=emus))
    assert promotion.is_promoted
    assert promotion.comparison is not None
    assert promotion.comparison.example_count == 26


def test_corrected_examples_count_with_their_new_label_for_both_versions(bench: Workbench) -> None:
    corrected = [pet("cat", place) for place in range(30, 39)]
    gated(bench, [*pets(30), *(pet("cat", place, label="dog") for place in range(30, 39))])
    promotion = promotion_of(gated(bench, corrected, parent_version=1))
    comparison = promotion.comparison
    assert promotion.is_promoted
    assert comparison is not None
    assert comparison.example_count == 99
    # By the old labels the first version was wrong about the nine; they were wrong, not the version.
    assert comparison.first.accuracy is not None
    assert comparison.first.accuracy > 0.95
    assert comparison.first.log_loss is not None


def test_spoiled_labels_of_known_examples_do_not_make_the_old_version_right(bench: Workbench) -> None:
    gated(bench, pets(12))
    spoiled = [pet("cat", place, label="dog") for place in range(12)]
    comparison = promotion_of(gated(bench, spoiled, parent_version=1)).comparison
    assert comparison is not None
    assert comparison.example_count == 36
    assert comparison.first.accuracy == pytest.approx(24 / 36)


def test_corrected_numbers_count_with_their_new_value_for_both_versions(bench: Workbench) -> None:
    def number(place: int, value: float) -> Example:
        return Example(content=b"cat:%d" % place, target=Target.of_value(value), id=f"cat{place}")

    gated(bench, [number(place, 5.0 + place % 2) for place in range(12)])
    comparison = promotion_of(gated(bench, [number(0, 1005.0)], parent_version=1)).comparison
    assert comparison is not None
    assert comparison.example_count == 12
    assert comparison.first.mean_absolute_error == pytest.approx(1000 / 12, rel=0.02)


def test_held_out_examples_are_judged_on_if_there_are_any(bench: Workbench) -> None:
    gated(bench, pets(6))
    held_out = [pet(word, place, held_out=True) for place in (30, 31) for word in WORDS]
    comparison = promotion_of(gated(bench, held_out, parent_version=1)).comparison
    assert comparison is not None
    assert comparison.example_count == 6


def test_without_a_gate_the_alias_moves_and_nothing_is_reported(bench: Workbench) -> None:
    bench.published(pets(6), alias="stable")
    assert bench.published(muddled(6), alias="stable").promotion is None
    assert named(bench) == 2


def test_shares_that_an_alias_gives_end_only_when_it_moves_and_are_no_baseline(bench: Workbench) -> None:
    gated(bench, pets(12))
    bench.published(muddled(12, start=200))
    share = TrafficSplit(number=2, fraction=0.9)
    bench.registry.set_alias("pets", "stable", 1, shares=[share])
    kept = promotion_of(gated(bench, muddled(12, start=300)))
    assert (kept.decision, kept.baseline) == (Decision.KEPT, 1)
    assert bench.registry.reader.model("pets").aliases[0].traffic == (share,)
    assert promotion_of(gated(bench, pets(12))).is_promoted
    (alias,) = bench.registry.reader.model("pets").aliases
    assert (alias.number, alias.traffic) == (4, ())


def test_a_gate_without_an_alias_is_refused(bench: Workbench) -> None:
    with pytest.raises(InvalidField) as caught:
        bench.accept(pets(), promote_if=PromotionCriteria())
    assert caught.value.field == "spec.promote_if"


def test_a_baseline_of_which_nothing_is_known_keeps_its_alias(bench: Workbench, driver: JobDriver) -> None:
    driver.publisher.publish("pets", alias="stable")
    promotion = promotion_of(gated(bench, pets(6)))
    assert (promotion.decision, promotion.baseline, promotion.comparison) == (Decision.KEPT, 1, None)
    assert "because an older release created it" in promotion.reasons[0]


def test_a_baseline_of_another_task_keeps_its_alias(bench: Workbench) -> None:
    gated(bench, pets(6))
    numbers = [Example(content=b"cat:%d" % place, target=Target.of_value(place)) for place in range(6)]
    promotion = promotion_of(gated(bench, numbers))
    assert promotion.decision is Decision.KEPT
    assert "another kind" in promotion.reasons[0]


def test_a_damaged_baseline_keeps_its_alias_and_the_job_succeeds(bench: Workbench, driver: JobDriver) -> None:
    version = gated(bench, pets(6))
    (file,) = (driver.publisher.folder / "versions" / version.artifact).glob("examples*")
    file.write_bytes(b"no")
    promotion = promotion_of(gated(bench, pets(6)))
    assert promotion.decision is Decision.KEPT
    assert "could not be compared" in promotion.reasons[0]


def test_a_baseline_on_another_backbone_predicts_on_that(bench: Workbench) -> None:
    gated(bench, pets(6), backbone="other")
    promotion = promotion_of(gated(bench, pets(6, start=20), backbone="fake"))
    assert promotion.is_promoted
    assert promotion.comparison is not None
    assert promotion.comparison.example_count == 36


def test_discarded_examples_of_the_baseline_still_count_by_what_it_reported(bench: Workbench) -> None:
    gated(bench, pets(6), discard_examples=True)
    promotion = promotion_of(gated(bench, pets(6)))
    assert promotion.is_promoted
    assert promotion.comparison is not None
    assert promotion.comparison.example_count == 18


# Races


class Meanwhile:
    """Does something each time a version is about to be published, and then lets it go on."""

    def __init__(self, driver: JobDriver, *acts: Callable[[], object]) -> None:
        self._driver = driver
        self._acts = list(acts)
        self._succeed = driver.job_store.runs.succeed
        driver.job_store.runs.succeed = self.succeed  # type: ignore[method-assign]

    def succeed(self, *args: object, **fields: object) -> int:
        if self._acts:
            self._acts.pop(0)()
        return self._succeed(*args, **fields)  # type: ignore[arg-type]


def test_a_version_better_than_the_old_but_not_than_the_new_baseline_is_kept_back(
    bench: Workbench, driver: JobDriver
) -> None:
    gated(bench, muddled(12, start=200))
    bench.published(pets(12))
    Meanwhile(driver, lambda: bench.registry.set_alias("pets", "stable", 2))
    lax = PromotionCriteria(max_drop=0.3, max_class_drop=1.0)
    promotion = promotion_of(gated(bench, muddled(12, start=300), promote_if=lax))
    assert (promotion.decision, promotion.baseline) == (Decision.KEPT, 2)
    assert named(bench) == 2


def test_an_alias_removed_meanwhile_names_the_new_version(bench: Workbench, driver: JobDriver) -> None:
    gated(bench, pets(6))
    Meanwhile(driver, lambda: bench.registry.delete_alias("pets", "stable"))
    promotion = promotion_of(gated(bench, pets(6)))
    assert (promotion.decision, promotion.baseline) == (Decision.PROMOTED, 0)
    assert named(bench) == 2


def test_a_baseline_deleted_meanwhile_is_no_baseline(bench: Workbench, driver: JobDriver) -> None:
    gated(bench, pets(6))
    Meanwhile(driver, lambda: bench.registry.delete_version("pets", 1, force=True))
    version = gated(bench, pets(6))
    assert promotion_of(version).baseline == 0
    assert named(bench) == 2


def test_an_alias_that_never_rests_stays_where_it_is(bench: Workbench, driver: JobDriver) -> None:
    gated(bench, pets(6))
    bench.published(pets(6))
    moves = [
        lambda to=place % 2 + 1: bench.registry.set_alias("pets", "stable", to) for place in range(1, 20)
    ]
    Meanwhile(driver, *moves)
    promotion = promotion_of(gated(bench, pets(6)))
    assert promotion.decision is Decision.KEPT
    assert f"{MAX_PROMOTION_CHECKS} times" in promotion.reasons[0]
    assert promotion.baseline in (1, 2)
    assert named(bench) in (1, 2)


def test_a_job_that_crashed_before_it_ended_is_judged_again_and_published_once(
    bench: Workbench, driver: JobDriver
) -> None:
    gated(bench, pets(6))

    def crash() -> None:
        raise KeyboardInterrupt

    Meanwhile(driver, crash)
    with pytest.raises(KeyboardInterrupt):
        gated(bench, pets(6, start=6), parent_version=1)
    driver.crash()
    number = bench.run()
    assert number == 2
    assert promotion_of(bench.registry.reader.version("pets", 2)).is_promoted
    assert named(bench) == 2
