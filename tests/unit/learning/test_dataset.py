"""What a dataset may be, what is said when it is not, and its digest."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.embedding.cache import content_digest
from headstart_server.errors import (
    DatasetTooLarge,
    EmptyDataset,
    HeadstartError,
    InputTooLarge,
    InvalidField,
    InvalidLabel,
    TooFewClasses,
    TooManyClasses,
)
from headstart_server.learning.dataset import DatasetCount, DatasetLimits, DatasetSummary, Example

SMALL = DatasetLimits(max_examples=5, max_bytes=100, max_input_bytes=40, max_classes=3)


def example(content: object = b"picture", label: str = "cat", **fields: object) -> Example:
    return Example(content=content, label=label, **fields)


def counted(examples: Sequence[Example], limits: DatasetLimits = SMALL) -> DatasetCount:
    count = DatasetCount(limits=limits)
    for one in examples:
        count.add(one, content_digest(one.content))
    return count


def summary(*examples: Example) -> DatasetSummary:
    return counted(examples, DatasetLimits()).summary()


def refusal(kind: type[HeadstartError], *examples: Example) -> HeadstartError:
    with pytest.raises(kind) as caught:
        counted(examples).summary()
    assert type(caught.value) is kind
    return caught.value


CAT, DOG = example(b"1", "cat"), example(b"2", "dog")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "Example 2 has no label. Expected the name of its class. Received: an empty label."),
        (" \u2003", "Example 2 has no label. Expected the name of its class. Received: a blank label."),
        (
            "k" * 10_000,
            "The label of example 2 is too long. Expected at most 256 bytes. Received: 10000, beginning with "
            f"'{'k' * 24}'.",
        ),
        (
            "ä" * 129,
            "The label of example 2 is too long. Expected at most 256 bytes. Received: 258, beginning with "
            f"'{'ä' * 24}'.",
        ),
        ("a\nb", "The label of example 2 has a control character. Received: 'a\\nb'."),
        ("a\x00", "The label of example 2 has a control character. Received: 'a\\x00'."),
        ("a\x7f", "The label of example 2 has a control character. Received: 'a\\x7f'."),
        ("a\x85", "The label of example 2 has a control character. Received: 'a\\x85'."),
    ],
)
def test_a_label_that_cannot_be_is_refused_with_its_example(label: str, message: str) -> None:
    error = refusal(InvalidLabel, CAT, DOG, example(b"3", label))
    assert error.message == message
    assert error.field == "examples[2].label"


@pytest.mark.parametrize("label", ["ä" * 128, "日本語", "a b", "👩‍👩‍👧", "0"])
def test_any_other_label_passes(label: str) -> None:
    assert label in summary(CAT, example(b"3", label)).class_counts


def test_an_id_too_long_is_refused_with_its_example() -> None:
    error = refusal(InvalidField, CAT, example(b"2", "dog", id="i" * 257))
    assert error.message == "The id of example 1 is too long. Expected at most 256 bytes. Received: 257."
    assert error.field == "examples[1].id"


@pytest.mark.parametrize("content", [bytes(41), "ä" * 21, np.zeros(6, np.float64)])
def test_an_input_too_large_is_refused_with_its_example(content: object) -> None:
    error = refusal(InputTooLarge, CAT, example(content))
    size = {bytes: 41, str: 42}.get(type(content), 48)
    assert error.message == f"Example 1 is too large. Expected at most 40 bytes. Received: {size}."
    assert error.field == "examples[1].input"


def test_inputs_of_exactly_the_limits_pass() -> None:
    contents = [bytes(40), bytes(40), bytes(18), b"2", b"1"]
    examples = [example(content, "abcab"[place]) for place, content in enumerate(contents)]
    assert counted(examples).summary().example_count == 5


def test_too_many_examples_are_refused() -> None:
    error = refusal(DatasetTooLarge, *[example(bytes([place]), "ab"[place % 2]) for place in range(6)])
    assert error.message == ("The dataset is too large. Expected at most 5 examples. Received: 6 and more.")
    assert error.metadata == {"limit": "5", "subject": "examples"}


def test_too_many_bytes_are_refused() -> None:
    error = refusal(DatasetTooLarge, *[example(bytes(40), "ab"[place % 2]) for place in range(3)])
    assert error.message == "The dataset is too large. Expected at most 100 bytes. Received: 120 and more."
    assert error.metadata == {"limit": "100", "subject": "bytes"}


def test_too_many_classes_are_refused_with_the_example_that_opens_one_too_many() -> None:
    error = refusal(TooManyClasses, *[example(bytes([place]), f"c{place}") for place in range(4)])
    assert error.message == (
        "The dataset has too many classes. Expected at most 3. Received: example 3 opens class 4."
    )
    assert error.metadata == {"limit": "3"}


def test_no_example_is_refused() -> None:
    error = refusal(EmptyDataset)
    assert error.message == ("Expected examples of at least two classes to train on. Received: no example.")


def test_examples_that_are_all_held_out_are_refused() -> None:
    error = refusal(EmptyDataset, example(b"1", "cat", held_out=True), example(b"2", "dog", held_out=True))
    assert error.message == (
        "Expected examples of at least two classes to train on. Received: 2 examples, 2 of them held out."
    )


def test_one_class_is_refused() -> None:
    error = refusal(TooFewClasses, CAT, example(b"3"), example(b"4", held_out=True))
    assert error.message == (
        "Expected examples of at least two classes to train on. Received: 2 examples, all of class 'cat'."
    )


def test_a_class_with_held_out_examples_only_is_refused() -> None:
    error = refusal(InvalidField, CAT, DOG, example(b"3", "emu", held_out=True))
    assert error.message == (
        "Every held-out class needs examples to train on. Received: class 'emu' with held-out examples only."
    )
    assert error.field == "examples"


def test_the_summary_counts_examples_classes_and_held_out_ones() -> None:
    found = summary(DOG, CAT, example(b"3"), example(b"4", "dog", held_out=True))
    assert (found.example_count, found.held_out_count) == (4, 1)
    assert list(found.class_counts.items()) == [("cat", 2), ("dog", 2)]
    assert len(found.digest) == 64


EXAMPLES = st.lists(
    st.builds(
        Example,
        content=st.sampled_from([b"1", b"2", b"3", "1"]),
        label=st.sampled_from(["cat", "dog", "emu"]),
        held_out=st.booleans(),
    ),
    max_size=8,
).map(lambda more: [CAT, DOG, example(b"5", "emu"), *more])


@given(EXAMPLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_digest_does_not_depend_on_the_order_nor_on_ids(examples: list[Example], random) -> None:
    moved = [
        Example(content=one.content, label=one.label, held_out=one.held_out, id=str(place))
        for place, one in enumerate(examples)
    ]
    random.shuffle(moved)
    assert summary(*moved).digest == summary(*examples).digest


@pytest.mark.parametrize(
    "changed",
    [
        example(b"4", "cat"),
        example(b"3", "dog"),
        example(b"3", "cat", held_out=True),
        example("3", "cat"),
    ],
)
def test_the_digest_depends_on_content_label_and_use(changed: Example) -> None:
    third = example(b"3", "cat")
    assert summary(CAT, DOG, changed).digest != summary(CAT, DOG, third).digest


def test_the_digest_tells_how_often_an_example_came() -> None:
    assert summary(CAT, DOG, DOG).digest != summary(CAT, CAT, DOG).digest != summary(CAT, DOG).digest
