"""Jobs that choose their backbone: what is tried, what is taken, and what a next attempt goes on from."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from fakes import FakeBackbone, JobDriver
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.database.tables import jobs
from headstart_server.errors import (
    BackboneNotFound,
    BackboneUnavailable,
    DatabaseUnavailable,
    Draining,
    EmptyDataset,
    HeadstartError,
    InvalidField,
    RequestIdReused,
    StorageUnavailable,
    UndecodableInput,
    UnusableExamplesError,
)
from headstart_server.jobs.job import Job, JobEvent, JobStep
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.heads.recipe import Logistic, Partial
from headstart_server.learning.metrics.backbone_selection import BackboneSelection, CandidateOutcome
from headstart_server.models.version import Version
from headstart_server.training.fine_tune import FineTuneRun
from workbench import Workbench, pets

MakeBench = Callable[..., Workbench]

#: Cannot tell the classes apart, and is the fastest.
POOR = {"own": 6.0, "parameters": 1_000_000, "seconds": 0.002}
GOOD = {"parameters": 2_000_000, "seconds": 0.005}
LARGE = {"parameters": 30_000_000, "seconds": 0.1}


class Killed(BaseException):
    """The process dies."""


def backbones(**kinds: dict[str, float]) -> list[FakeBackbone]:
    return [FakeBackbone(name, digest=name * 8, **kinds[name]) for name in kinds]


@pytest.fixture
def make_bench(tmp_path: Path, driver: JobDriver) -> Iterator[MakeBench]:
    made: list[Workbench] = []

    def make(**kinds: dict[str, float]) -> Workbench:
        made.append(Workbench(tmp_path, driver, *backbones(**kinds), loaded=False))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Workbench:
    return make_bench(poor=POOR, good=GOOD, large=LARGE)


def chosen(bench: Workbench, examples: list[Example] | None = None, **spec: object) -> Version:
    """The version of a fine-tune with the backbone `auto`."""
    names = spec.pop("backbone_candidates", ("large", "good", "poor"))
    return bench.published(examples or pets(8), backbone="auto", backbone_candidates=names, **spec)


def choice_of(version: Version) -> BackboneSelection:
    choice = version.manifest.backbone_selection
    assert choice is not None
    return choice


def outcomes(choice: BackboneSelection) -> dict[str, CandidateOutcome]:
    return {each.backbone: each.outcome for each in choice.candidates}


def passes(bench: Workbench) -> dict[str, int]:
    """The inputs that have passed each backbone."""
    return {name: sum(backbone.batches) for name, backbone in bench.source.backbones.items()}


def events(bench: Workbench, job_id: str) -> list[JobEvent]:
    return list(bench.driver.job_store.reader.events(job_id, 0))


# Accepting


def test_the_first_example_determines_which_are_tried(tmp_path: Path, driver: JobDriver) -> None:
    text = FakeBackbone("text", digest="t" * 64, modality=Modality.TEXT)
    bench = Workbench(tmp_path, driver, *backbones(large=LARGE, good=GOOD), text, loaded=False)
    words = [Example(content=word, target=Target.of_label(word[0])) for word in ("a1", "b1", "a2", "b2")]
    # Nothing is known of the one named `fake`, which has no parameters.
    assert bench.accept(pets(2), backbone="auto").spec.backbone_candidates == ("fake", "good", "large")
    assert bench.accept(words, backbone="auto").spec.backbone_candidates == ("text",)
    assert bench.source.loads == []
    bench.close()


def test_the_same_request_gives_the_same_job_whatever_is_tried_by_then(bench: Workbench) -> None:
    first = bench.accept(pets(2), request_id="r", backbone="auto")
    assert bench.accept(pets(2), request_id="r", backbone="auto").job_id == first.job_id
    for spec in ({"backbone": "good"}, {"backbone": "auto", "backbone_candidates": ("good",)}, {}):
        with pytest.raises(RequestIdReused):
            bench.accept(pets(2), request_id="r", **spec)


def test_a_dataset_without_examples_is_refused(bench: Workbench) -> None:
    with pytest.raises(EmptyDataset):
        bench.accept([], backbone="auto")
    assert bench.files() == set()


def test_with_a_parent_the_backbone_is_named_or_that_of_the_parent(bench: Workbench) -> None:
    chosen(bench)
    with pytest.raises(InvalidField) as caught:
        bench.accept(pets(2, start=8), backbone="auto", parent_version=1)
    assert caught.value.field == "spec.backbone"
    assert "Rebase tries other backbones for a version." in caught.value.message
    child = bench.published(pets(2, start=8), parent_version=1)
    assert (child.manifest.backbone, child.manifest.backbone_selection) == ("good", None)


def test_without_a_job_the_likely_cheapest_looks_at_the_examples(bench: Workbench) -> None:
    found = bench.validate(pets(4), backbone="auto", backbone_candidates=("large", "good"))
    assert found.valid
    assert found.previewed is not None
    assert bench.source.loads == ["good"]


def test_a_server_of_an_earlier_release_does_not_claim_what_it_cannot_do(bench: Workbench) -> None:
    bench.accept(pets(2), backbone="auto")
    bench.accept(pets(2), backbone="good")
    with bench.driver.publisher.database.read() as connection:
        kinds = list(connection.execute(select(jobs.c.kind).order_by(jobs.c.created)).scalars())
    assert sorted(kinds) == ["choosing_fine_tune", "fine_tune"]


# What is taken


def test_the_cheapest_that_is_as_good_as_the_best_is_taken_and_the_table_says_why(bench: Workbench) -> None:
    version = chosen(bench)
    choice = choice_of(version)
    assert (version.manifest.backbone, choice.backbone) == ("good", "good")
    # Tried from the cheapest on, by their sizes.
    assert [each.backbone for each in choice.candidates] == ["poor", "good", "large"]
    assert set(outcomes(choice).values()) == {CandidateOutcome.TRIED}
    poor, good, large = choice.candidates
    assert (good.accuracy, large.accuracy, large.gap, large.gap_standard_error) == (1, 1, 0, 0)
    assert poor.accuracy is not None
    assert poor.gap == pytest.approx(1 - poor.accuracy)
    assert poor.gap_standard_error is not None
    assert poor.gap > poor.gap_standard_error > 0
    assert [each.milliseconds for each in choice.candidates] == pytest.approx([2, 5, 100])
    assert [each.megabytes for each in choice.candidates] == [4, 8, 120]
    assert large.seconds >= 0.1 * 8
    assert choice.example_count == 24
    assert choice.reason == "It is the best, and no cheaper one is within one standard error of it."


def test_the_fine_tune_runs_no_pass_and_is_that_of_the_named_backbone_to_the_bit(bench: Workbench) -> None:
    first = chosen(bench)
    after = passes(bench)
    second = chosen(bench, backbone_candidates=("good",))
    third = bench.published(pets(8), backbone="good")
    # The second ran the five inputs that tell what serving takes, three times each, and nothing else.
    assert passes(bench) == {**after, "good": after["good"] + 15}
    assert first.manifest.head_digest == second.manifest.head_digest == third.manifest.head_digest
    assert third.manifest.backbone_selection is None


def test_a_cheaper_backbone_within_a_standard_error_is_taken(make_bench: MakeBench) -> None:
    bench = make_bench(small={**GOOD, "own": 0.35}, large=LARGE)
    choice = choice_of(chosen(bench, backbone_candidates=("large", "small")))
    assert choice.backbone == "small"


def test_what_serving_takes_decides_and_not_the_size(make_bench: MakeBench) -> None:
    bench = make_bench(small={"parameters": 10, "seconds": 0.5}, large={"parameters": 99, "seconds": 0.01})
    choice = choice_of(chosen(bench, backbone_candidates=("small", "large")))
    assert [each.backbone for each in choice.candidates] == ["small", "large"]
    assert choice.backbone == "large"


def test_numbers_are_compared_by_the_size_of_their_errors(bench: Workbench) -> None:
    sizes = {"ant": 1.0, "cat": 4.0, "cow": 700.0}
    examples = [
        Example(content=f"{word}:{place}".encode(), target=Target.of_value(size))
        for place in range(10)
        for word, size in sizes.items()
    ]
    choice = choice_of(chosen(bench, examples))
    poor, good, _ = choice.candidates
    assert poor.accuracy is None
    assert poor.mean_absolute_error is not None
    assert good.mean_absolute_error is not None
    assert poor.mean_absolute_error > 4 * good.mean_absolute_error
    assert poor.gap == pytest.approx(
        poor.mean_absolute_error - min(each.mean_absolute_error or 0 for each in choice.candidates)
    )
    assert choice.backbone != "poor"


def test_held_out_examples_have_no_part_in_the_choice(bench: Workbench) -> None:
    version = chosen(bench, pets(8), held_out_fraction=0.25)
    assert version.manifest.metrics.example_count == 6
    assert choice_of(version).example_count == 18


@pytest.mark.parametrize("recipe", [Logistic(), Partial()])
def test_long_recipes_are_compared_by_a_closed_form_and_carried_out_on_the_winner(
    bench: Workbench, recipe: Logistic | Partial
) -> None:
    version = chosen(bench, recipe=recipe)
    assert version.manifest.backbone == "good"
    assert type(version.manifest.recipe) is type(recipe)
    assert version.manifest.requested_recipe == recipe
    trained = {name: len(backbone.trained) for name, backbone in bench.source.backbones.items()}
    assert all(count == 0 for name, count in trained.items() if name != "good")


def test_one_example_of_each_class_cannot_tell_so_the_first_is_taken_and_no_other_tried(
    bench: Workbench,
) -> None:
    choice = choice_of(chosen(bench, pets(1)))
    assert choice.backbone == "poor"
    assert outcomes(choice) == {
        "poor": CandidateOutcome.TRIED,
        "good": CandidateOutcome.NOT_TRIED,
        "large": CandidateOutcome.NOT_TRIED,
    }
    assert choice.candidates[1].message.startswith("The examples are too few to distinguish it")
    assert choice.example_count == 0
    assert bench.source.loads == ["poor"]


# Time


def test_when_the_time_is_over_no_further_one_is_tried(bench: Workbench) -> None:
    bench.source.backbones["poor"].seconds = 1.0
    choice = choice_of(chosen(bench, backbone_time_budget=8.0))
    # The first is tried to its end whatever it takes.
    assert outcomes(choice) == {
        "poor": CandidateOutcome.TRIED,
        "good": CandidateOutcome.NOT_TRIED,
        "large": CandidateOutcome.NOT_TRIED,
    }
    assert choice.backbone == "poor"
    assert choice.time_budget == 8.0
    assert choice.candidates[2].message == "The time budget of 8 s was used up."
    assert choice.reason == "No other backbone was tried."


def test_a_candidate_that_is_not_done_in_time_is_left(bench: Workbench) -> None:
    choice = choice_of(chosen(bench, backbone_time_budget=1.0))
    assert outcomes(choice) == {
        "poor": CandidateOutcome.TRIED,
        "good": CandidateOutcome.TRIED,
        "large": CandidateOutcome.NOT_TRIED,
    }
    assert choice.candidates[2].message == "The time budget of 1 s ended while it was tried."
    assert passes(bench)["large"] < 24
    assert choice.backbone == "good"


# Candidates that fail


def test_one_that_cannot_be_loaded_is_reported_and_the_others_go_on(bench: Workbench) -> None:
    def fail(name: str) -> None:
        if name == "poor":
            raise BackboneNotFound("Expected one weight file. Received: 0.")
        if name == "large":
            raise OSError("/secret/place is full")

    bench.source.before_load = fail
    choice = choice_of(chosen(bench))
    poor, _, large = choice.candidates
    assert choice.backbone == "good"
    assert (poor.outcome, poor.message) == (CandidateOutcome.FAILED, "Expected one weight file. Received: 0.")
    assert large.outcome is CandidateOutcome.FAILED
    assert "the server's log has id" in large.message
    assert "secret" not in large.message


def test_one_that_cannot_run_is_reported_and_the_others_go_on(bench: Workbench) -> None:
    def fail(rows: object) -> None:
        raise MemoryError

    bench.source.backbones["poor"].before_run = fail
    choice = choice_of(chosen(bench))
    assert (choice.backbone, choice.candidates[0].outcome) == ("good", CandidateOutcome.FAILED)


def test_if_none_can_be_loaded_the_job_fails_and_says_why_of_each(bench: Workbench) -> None:
    def fail(name: str) -> None:
        raise BackboneNotFound(f"No weights of {name}.")

    bench.source.before_load = fail
    with pytest.raises(BackboneNotFound) as caught:
        chosen(bench)
    assert "poor: No weights of poor. good: No weights of good." in caught.value.message


def test_faulty_examples_fail_the_job_with_the_first_backbone(bench: Workbench) -> None:
    broken = Example(content=b"broken", target=Target.of_label("cat"))
    with pytest.raises(UnusableExamplesError):
        chosen(bench, [*pets(8), broken])
    assert bench.source.loads == ["poor"]
    assert choice_of(chosen(bench, [*pets(8), broken], max_excluded_fraction=0.1)).backbone == "good"


def test_faults_of_a_later_backbone_alone_are_its_own(bench: Workbench) -> None:
    backbone = bench.source.backbones["large"]

    def refuse(content: bytes) -> None:
        raise UndecodableInput("Expected something else.")

    backbone.decode = refuse
    choice = choice_of(chosen(bench))
    assert (choice.backbone, choice.candidates[2].outcome) == ("good", CandidateOutcome.FAILED)
    assert "24 of 24 examples cannot be used" in choice.candidates[2].message


# Going on


def killed_in(bench: Workbench, step: str, words: str, budget: float = 900.0) -> Job:
    """A job whose process died once it had reported these words in a step; it is claimed again."""
    job = bench.accept(
        pets(8), backbone="auto", backbone_candidates=("large", "good", "poor"), backbone_time_budget=budget
    )
    claimed = bench.driver.claim()

    def check() -> None:
        reported = [each.progress for each in events(bench, job.job_id) if each.progress]
        if any(each.step.value == step and words in each.message for each in reported):
            raise Killed

    with pytest.raises(Killed):
        FineTuneRun(claimed, bench.steps, check).execute()
    bench.driver.crash()
    return bench.driver.claim()


def test_the_next_attempt_does_not_try_again_what_was_tried(bench: Workbench) -> None:
    job = killed_in(bench, "select_backbone", "large is being loaded.")
    before = passes(bench)
    bench.cache.remove({example.digest for example in bench.datasets.listed(job.job_id).examples})
    choice = choice_of(bench.registry.reader.version("pets", _run_again(bench, job)))
    assert passes(bench)["poor"] == before["poor"]
    assert choice.backbone == "good"
    assert [each.outcome for each in choice.candidates] == [CandidateOutcome.TRIED] * 3
    assert [each.milliseconds for each in choice.candidates] == pytest.approx([2, 5, 100])
    assert choice.example_count == 24


def test_a_candidate_that_kills_the_server_is_left_and_does_not_fail_the_job(bench: Workbench) -> None:
    bench.accept(pets(8), backbone="auto", backbone_candidates=("large", "good"))

    def kill(name: str) -> None:
        if name == "large":
            raise Killed

    bench.source.before_load = kill
    for _ in range(2):
        with pytest.raises(Killed):
            bench.run()
        bench.driver.crash()
    choice = choice_of(bench.registry.reader.version("pets", bench.run()))
    assert choice.backbone == "good"
    assert choice.candidates[1].outcome is CandidateOutcome.FAILED
    assert choice.candidates[1].message == "The server died 2 times while it was tried."


def test_a_server_that_stops_for_other_reasons_is_no_fault_of_a_candidate(bench: Workbench) -> None:
    job = bench.accept(pets(8), backbone="auto", backbone_candidates=("large", "good"))
    for _ in range(4):
        claimed = bench.driver.claim()

        def check() -> None:
            reported = [each.progress for each in events(bench, job.job_id) if each.progress]
            if reported and reported[-1].message == "large is being loaded.":
                raise Killed

        with pytest.raises(Killed):
            FineTuneRun(claimed, bench.steps, check).execute()
        bench.driver.job_store.runs.release(claimed)
    assert set(outcomes(choice_of(bench.registry.reader.version("pets", bench.run()))).values()) == {
        CandidateOutcome.TRIED
    }


def test_a_choice_stays_whatever_a_next_attempt_would_find(bench: Workbench) -> None:
    job = killed_in(bench, "select_backbone", "Took good.")
    loads = list(bench.source.loads)
    bench.source.backbones["good"].seconds = 99.0
    version = bench.registry.reader.version("pets", _run_again(bench, job))
    assert version.manifest.backbone == "good"
    assert choice_of(version).candidates[1].milliseconds == pytest.approx(5)
    assert bench.source.loads == loads
    # What was written down for attempts to come is written down no more.
    assert bench.driver.job_store.reader.get(job.job_id).choosing is None


def test_what_was_found_of_examples_that_are_deleted_since_is_found_again(bench: Workbench) -> None:
    job = killed_in(bench, "select_backbone", "large is being loaded.")
    bench.eraser.erase("cat0", "")
    before = passes(bench)
    choice = choice_of(bench.registry.reader.version("pets", _run_again(bench, job)))
    assert choice.example_count == 23
    assert passes(bench)["poor"] > before["poor"]


def test_a_choice_by_examples_that_are_deleted_since_is_made_again(bench: Workbench) -> None:
    job = killed_in(bench, "select_backbone", "Took good.")
    bench.eraser.erase("cat0", "")
    choice = choice_of(bench.registry.reader.version("pets", _run_again(bench, job)))
    assert choice.example_count == 23


@pytest.mark.parametrize("words", ["large is being loaded.", "Took good."])
def test_what_was_found_of_another_backbone_of_the_name_is_found_again(bench: Workbench, words: str) -> None:
    job = killed_in(bench, "select_backbone", words)
    bench.source.backbones["good"].digest = "f" * 64
    bench.source.backbones["good"].seconds = 0.2
    version = bench.registry.reader.version("pets", _run_again(bench, job))
    assert version.manifest.backbone == "large"
    assert choice_of(version).candidates[1].milliseconds == pytest.approx(200)


def test_the_time_of_earlier_attempts_counts_and_that_between_them_does_not(bench: Workbench) -> None:
    bench.source.backbones["poor"].seconds = 1.0
    # Each of these two takes 23 to 39 s, by how the batches fall.
    bench.source.backbones["good"].seconds = 1.0
    job = killed_in(bench, "select_backbone", "good is being loaded.", budget=42.0)
    bench.clock.advance(5000.0)
    choice = choice_of(bench.registry.reader.version("pets", _run_again(bench, job)))
    assert choice.candidates[1].message == "The time budget of 42 s ended while it was tried."
    assert passes(bench)["good"] > 0


def _run_again(bench: Workbench, job: Job) -> int:
    return FineTuneRun(job, bench.steps, lambda: None).execute()


# Backbones that are unavailable


def refuse(bench: Workbench, name: str) -> None:
    """From now on a backbone that was not prepared cannot be had."""

    def fail(loaded: str) -> None:
        if loaded == name:
            raise BackboneUnavailable(f"Backbone '{name}' is unavailable: it is lost.")

    bench.source.unprepared.add(name)
    bench.source.before_load = fail


def test_a_candidate_that_is_unavailable_is_reported_and_the_others_are_tried(bench: Workbench) -> None:
    refuse(bench, "good")
    version = chosen(bench, backbone_candidates=("good", "large"))
    found = outcomes(choice_of(version))
    assert (version.manifest.backbone, found["good"]) == ("large", CandidateOutcome.FAILED)
    reported = {each.backbone: each.message for each in choice_of(version).candidates}
    assert reported["good"] == "Backbone 'good' is unavailable. The log of the server has the reason."


@pytest.mark.parametrize(
    "error", [Draining("The server is stopping."), StorageUnavailable(), DatabaseUnavailable()]
)
def test_a_candidate_that_was_being_loaded_at_a_stop_or_an_outage_is_not_to_blame(
    bench: Workbench, error: HeadstartError
) -> None:
    job = bench.accept(pets(8), backbone="auto", backbone_candidates=("good", "large"))

    def stop(name: str) -> None:
        raise error

    bench.source.before_load = stop
    with pytest.raises(type(error)):
        bench.run()
    bench.source.before_load = lambda name: None
    choice = choice_of(
        bench.registry.reader.version(
            "pets", _run_again(bench, bench.driver.job_store.reader.get(job.job_id))
        )
    )
    assert set(outcomes(choice).values()) == {CandidateOutcome.TRIED}


def test_a_repeated_call_gets_its_job_though_the_backbones_are_gone(bench: Workbench) -> None:
    choosing = bench.accept(pets(2), request_id="auto", backbone="auto", backbone_candidates=("good",))
    named = bench.accept(pets(2), request_id="named", backbone="good")
    del bench.source.backbones["good"]
    again = {"backbone": "auto", "backbone_candidates": ("good",)}
    assert bench.accept(pets(2), request_id="auto", **again).job_id == choosing.job_id
    assert bench.accept(pets(2), request_id="named", backbone="good").job_id == named.job_id
    with pytest.raises(RequestIdReused):
        bench.accept(pets(3), request_id="named", backbone="good")


# ProgressReporter


def test_events_tell_each_candidate_and_the_fraction_only_grows(bench: Workbench) -> None:
    job = bench.accept(pets(8), backbone="auto", backbone_candidates=("good", "large"))
    bench.run()
    reported = [each.progress for each in events(bench, job.job_id) if each.progress]
    choosing = [each for each in reported if each.step is JobStep.SELECT_BACKBONE]
    assert {each.total for each in choosing} == {2}
    assert [each.done for each in choosing] == sorted(each.done for each in choosing)
    messages = [each.message for each in choosing]
    assert "good is being loaded." in messages
    assert "large: 100.0 ms for each input." in messages
    assert messages[-1].startswith("Took good. ")
    fractions = [each.fraction for each in reported]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert bench.seen.steps == ["select_backbone", "features", "fit", "evaluate", "publish"]
    assert "select_backbone" in bench.driver.job_store.reader.get(job.job_id).findings.step_seconds
