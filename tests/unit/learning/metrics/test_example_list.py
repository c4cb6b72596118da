"""The list of examples survives its file, which stays small."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList, read_examples
from headstart_server.learning.metrics.outcomes import PredictionOutcome

names = st.text(max_size=8)
labels = st.text(min_size=1, max_size=6)
finite = st.integers(0, 10**6).map(lambda whole: whole / 1000)
targets = st.one_of(
    labels.map(Target.of_label),
    st.sets(labels, max_size=3).map(Target.of_labels),
    st.floats(allow_nan=False, allow_infinity=False).map(Target.of_value),
    st.just(Target.of_shares({"cat": 0.25, "dog": 0.75})),
)
examples = st.builds(
    StoredExample,
    target=targets,
    id=names,
    held_out=st.booleans(),
    digest=names,
    kind=st.sampled_from(["image", "text", "tensor"]),
    weight=st.sampled_from([1.0, 0.5, 1e6]),
    archive=st.sampled_from(["one", "two"]),
    member=st.integers(0, 1 << 40),
    media_type=st.just(""),
    nbytes=st.just(0),
)
outcomes = st.builds(
    PredictionOutcome,
    labels=st.lists(labels, max_size=3).map(tuple),
    value=st.none() | finite,
    probability=st.none() | finite,
    loss=finite,
    held_out=st.booleans(),
    counted=st.booleans(),
    confidence=st.none() | finite,
)


@given(st.lists(st.tuples(examples, st.none() | outcomes), max_size=6), st.lists(names, max_size=3))
def test_a_list_survives_its_file(
    rows: list[tuple[StoredExample, PredictionOutcome | None]], left_out: list[str]
) -> None:
    written = ExampleList(
        examples=[example for example, _ in rows],
        outcomes=[predicted for _, predicted in rows],
        left_out=left_out,
    )
    read = ExampleList.from_bytes(written.to_bytes())
    assert list(read.examples) == list(written.examples)
    assert list(read.outcomes) == list(written.outcomes)
    assert read.left_out == left_out
    assert read.to_bytes() == written.to_bytes()


def test_fifty_thousand_examples_stay_within_a_few_megabytes() -> None:
    rng = random.Random(0)
    many = [
        StoredExample(
            target=Target.of_label(f"class {rng.randrange(100)}"),
            id=f"folder/image-{place}.jpg",
            held_out=False,
            digest=rng.randbytes(32).hex(),
            kind="image",
            archive="a" * 32,
            member=place,
        )
        for place in range(50_000)
    ]
    predicted = [
        PredictionOutcome(
            labels=(f"class {rng.randrange(100)}",), probability=rng.random(), loss=rng.random()
        )
        for _ in many
    ]
    assert len(ExampleList(examples=many, outcomes=predicted).to_bytes()) < 4 << 20


def test_a_list_of_a_later_release_is_rejected() -> None:
    fields = ExampleList(examples=[]).to_json()
    with pytest.raises(ValueError, match="format"):
        ExampleList.from_json({**fields, "format": 2})


def test_examples_are_read_without_predictions_and_only_if_an_id_is_among_them() -> None:
    stored = [
        StoredExample(
            target=Target.of_label("cat"),
            id=name,
            held_out=False,
            digest="d",
            kind="text",
            archive="one",
            member=place,
        )
        for place, name in enumerate(["plain", 'quo"ted', "über"])
    ]
    outcome = PredictionOutcome(labels=("cat",), probability=0.5, loss=0.1)
    content = ExampleList(examples=stored, outcomes=[outcome] * 3, left_out=["mark"]).to_bytes()
    for having in ("", "plain", 'quo"ted', "über"):
        found = read_examples(content, having)
        assert list(found.examples) == stored
        assert (found.outcomes, found.left_out) == ((), ["mark"])
    assert not read_examples(content, "other").examples


@pytest.mark.parametrize("missing", [[2], [-1], ["a"], {"a": 1}])
def test_missing_outcomes_outside_of_the_list_are_damage(missing: object) -> None:
    fields = ExampleList(
        examples=[],
        outcomes=[
            PredictionOutcome(
                labels=("a",), value=None, probability=0.5, loss=0.5, held_out=False, counted=True
            ),
            None,
        ],
    ).to_json()
    fields["outcomes"]["missing"] = missing
    with pytest.raises(ValueError, match="missing outcomes"):
        ExampleList.from_json(fields)


@given(
    st.lists(st.tuples(examples, st.none() | outcomes), max_size=6),
    st.sampled_from(["", ', "outcomes": {', ", "]),
)
def test_a_list_is_read_without_its_predictions(
    rows: list[tuple[StoredExample, PredictionOutcome | None]], name: str
) -> None:
    written = [example._replace(id=example.id + name) for example, _ in rows]
    listed = ExampleList(examples=written, outcomes=[predicted for _, predicted in rows], left_out=[name])

    read = read_examples(listed.to_bytes())

    assert (list(read.examples), read.left_out, read.outcomes) == (written, [name], ())
