"""The Python client against a real server: what another service does with it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sample_images import LabeledImage
from headstart import (
    AsyncClient,
    Client,
    Example,
    FailedPrecondition,
    InvalidArgument,
    JobEvent,
    JobFailed,
    JobState,
    JobStep,
    NotFound,
    Task,
    Unavailable,
    Version,
    VersionRef,
)

Split = tuple[list[LabeledImage], list[LabeledImage]]


@pytest.fixture(scope="module")
def version(client: Client, folder: Path) -> Version:
    """The first version of `letters`, which the alias `stable` names."""
    return client.fine_tune(folder, model="letters", alias="stable", tags={"team": "post"}).result(60)


def test_a_folder_of_images_becomes_a_model_that_names_others(
    client: Client, version: Version, queries: list[Path], images: Split
):
    answers = client.predict(queries, model="letters")
    names = {f"{image.id}.png": image.label for image in images[1]}
    right = sum(
        {"0": "zero", "1": "one", "7": "seven"}[names[path.name]] == answer.label
        for path, answer in zip(queries, answers, strict=True)
    )

    assert (version.model, version.version) == ("letters", 1)
    assert version.class_names == ("one", "seven", "zero")
    assert version.tags == {"team": "post"}
    assert version.metrics.accuracy is not None
    assert right >= 9  # of 12
    assert {(answer.model, answer.version) for answer in answers} == {("letters", 1)}


def test_a_job_reports_its_progress(client: Client, folder: Path):
    events: list[JobEvent] = []
    uploads: list[tuple[int, int | None]] = []
    job = client.fine_tune(folder, model="followed", on_upload=lambda *counts: uploads.append(counts))
    job.result(60, on_event=events.append)

    assert uploads[-1] == (24, 24)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert (events[0].state, events[-1].state) == (JobState.QUEUED, JobState.SUCCEEDED)
    assert {event.progress.step for event in events if event.progress} >= {JobStep.FIT, JobStep.EVALUATE}
    assert job.status().state is JobState.SUCCEEDED
    assert next(client.jobs(model="followed")).job_id == job.job_id


def test_examples_come_from_anywhere(client: Client, images: Split):
    def once() -> Iterator[Example]:
        for image in images[0]:
            yield Example(image.png, image.label, id=image.id)

    by_label: dict[str, list[bytes]] = {}
    for image in images[0]:
        by_label.setdefault(image.label, []).append(image.png)
    jobs = [client.fine_tune(source, model="anywhere") for source in (once(), by_label)]
    versions = [job.result(60) for job in jobs]

    assert versions[0].lineage.dataset_digest == versions[1].lineage.dataset_digest
    assert client.predict(images[0][0].png, model="anywhere").label == images[0][0].label


def test_validating_names_what_cannot_be_used(client: Client, folder: Path, tmp_path: Path):
    examples = [*((path, path.parent.name) for path in sorted(folder.rglob("*.png"))), (b"none", "zero")]
    found = client.validate(examples, model="never")

    assert not found.valid
    assert [(fault.index, fault.reason) for fault in found.faults] == [(24, "UNDECODABLE_INPUT")]
    with pytest.raises(NotFound):
        client.get_model("never")


def test_several_versions_predict_with_one_pass(client: Client, version: Version, queries: list[Path]):
    found = client.predict_many(
        queries[:2], ["letters", VersionRef("letters", alias="stable")], return_features=True
    )

    assert found.results[0] == found.results[1]
    assert found.features["efficientnet-lite0"]["last"].shape == (2, 1280)
    assert np.array_equal(client.embed(queries[:2])["last"], found.features["efficientnet-lite0"]["last"])


def test_more_inputs_than_a_call_takes_go_in_several(client: Client, version: Version, queries: list[Path]):
    pixels = np.zeros((8, 8, 3), np.uint8)
    answers = client.predict([*[pixels] * 300, queries[0]], model="letters")

    assert len(answers) == 301
    alone = client.predict(queries[0], model="letters")
    assert answers[300].label == alone.label
    assert answers[300].probability == pytest.approx(alone.probability, rel=1e-5)


def test_aliases_move_and_versions_go(client: Client, version: Version, folder: Path, queries: list[Path]):
    second = client.fine_tune(folder, model="moved", seed=1).result(60)
    third = client.fine_tune(folder, model="moved", seed=2, alias="stable").result(60)
    first = client.set_alias("moved", "stable", second.version)

    assert client.predict(queries[0], model="moved", alias="stable").version == second.version
    with pytest.raises(FailedPrecondition, match="stable"):
        client.delete_version("moved", second.version)
    client.set_alias("moved", "stable", third.version, etag=first.etag)
    client.delete_version("moved", second.version)
    assert [each.version for each in client.get_model("moved").versions] == [third.version]
    assert client.delete_model("moved", force=True) == 1
    assert "moved" not in [model.model for model in client.models()]


def test_a_version_goes_on_from_another_and_takes_its_place_if_it_is_not_worse(
    client: Client, folder: Path, images: Split
):
    client.fine_tune(folder, model="growing", alias="stable").result(60)
    names = {"0": "zero", "1": "one", "7": "seven"}
    more = [Example(each.png, names[each.label], each.id) for each in images[1]]

    newer = client.fine_tune(more, model="growing", parent="stable", alias="stable", promote_if=True).result(
        60
    )
    fewer = client.fine_tune([], model="growing", parent=newer.version, remove=[more[0].id]).result(60)

    assert (newer.lineage.parent_version, newer.lineage.added_example_count) == (1, len(more))
    assert newer.promotion.reasons
    assert newer.promotion.comparison.second_version == VersionRef("growing", version=2)
    assert fewer.lineage.removed_example_count == 1
    assert fewer.lineage.example_count == newer.lineage.example_count - 1
    measured = client.evaluate(more, model="growing", version=1)
    assert measured.metrics.example_count == len(more)
    compared = client.compare("growing@1", "growing@2", more)
    assert compared.first.accuracy == pytest.approx(measured.metrics.accuracy)
    page = client.report("growing", newer.version)
    assert page.text.startswith("<!doctype html>")
    assert client.report("growing", 2, format="json").json()["version"]["lineage"]["parentVersion"] == "1"
    assert client.evaluation("growing", 2).evaluation.metrics == newer.metrics


def test_an_answer_comes_with_what_it_rests_on(client: Client, version: Version, queries: list[Path]):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    usual = client.predict(queries[0], model="letters", abstain=True, neighbors=3, saliency=True)
    odd = client.predict(noise, model="letters", abstain=0.2)

    assert usual.task is Task.SINGLE_LABEL
    assert usual.neighbors[0].distance <= usual.neighbors[-1].distance
    assert all(each.example.example_id.startswith(f"{each.example.label}/") for each in usual.neighbors)
    assert usual.saliency.class_name == usual.label
    assert usual.saliency.map.ndim == 2
    assert usual.saliency.overlay.startswith(b"\x89PNG")
    assert odd.typicality <= usual.typicality
    assert version.has_examples


def test_examples_may_show_several_labels_or_numbers(client: Client, images: Split):
    tagged = [(each.png, ["thin"] if each.label in "17" else []) for each in images[0]]
    tagged += [(each.png, ["round"]) for each in images[1] if each.label == "0"]
    numbers = [(each.png, float(each.label)) for each in images[0]]

    tags = client.fine_tune(tagged, model="tags").result(60)
    values = client.fine_tune(numbers, model="values").result(60)

    assert tags.task is Task.MULTI_LABEL
    assert tags.thresholds.keys() == {"round", "thin"}
    assert values.task is Task.REGRESSION
    assert values.metrics.mean_absolute_error is not None
    assert client.evaluation("values").evaluation.values
    with pytest.raises(InvalidArgument):
        client.evaluate(numbers, model="tags")


def test_what_goes_wrong_is_caught_by_kind_and_says_what(
    client: Client, version: Version, queries: list[Path]
):
    with pytest.raises(NotFound, match="nosuch") as missing:
        client.predict(queries[0], model="nosuch")
    with pytest.raises(InvalidArgument) as unreadable:
        client.predict([queries[0], b"no image"], model="letters")
    with pytest.raises(InvalidArgument, match=r"\.\./x"):
        client.fine_tune([(b"a", "a")], model="../x")

    assert missing.value.reason == "MODEL_NOT_FOUND"
    assert unreadable.value.reason == "UNDECODABLE_INPUT"
    assert [violation.field for violation in unreadable.value.field_violations] == ["inputs[1]"]


def test_a_job_that_fails_raises_why(client: Client, images: Split):
    examples = [Example(each.png, each.label) for each in images[0]] + [Example(b"none", "0", id="bad.png")]
    job = client.fine_tune(examples, model="failing")

    with pytest.raises(JobFailed, match=r"bad\.png") as failed:
        job.result(60)
    assert failed.value.reason == "UNDECODABLE_INPUT"
    assert job.status().state is JobState.FAILED


def test_a_request_id_makes_a_fine_tune_safe_to_repeat(client: Client, folder: Path):
    first = client.fine_tune(folder, model="repeated", request_id="once")
    first.result(60)

    assert client.fine_tune(folder, model="repeated", request_id="once").job_id == first.job_id


def test_a_client_reports_whether_its_server_is_ready(client: Client):
    assert client.ready()
    with Client("127.0.0.1:1", retries=0, timeout=5) as unreachable:
        assert not unreachable.ready(timeout=1)
        with pytest.raises(Unavailable):
            unreachable.models()


async def test_the_asynchronous_client_does_the_same(target: str, folder: Path, queries: list[Path]):
    async with AsyncClient(target) as client:
        job = await client.fine_tune(folder, model="asynchronous")
        version = await job.result(60)
        answers = await client.predict(queries, model="asynchronous")

    assert version.version == 1
    assert len(answers) == len(queries)
