"""What a dataset may be, what is said when it is not, and its digest."""

from collections.abc import Callable, Sequence
from hashlib import sha256

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
    WrongTask,
)
from headstart_server.learning.examples.dataset import DatasetCount, DatasetLimits, DatasetSummary, Example
from headstart_server.learning.examples.example_checks import MAX_VALUE, check_id
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task

SMALL = DatasetLimits(max_examples=5, max_bytes=100, max_input_bytes=40, max_classes=3)


def example(content: object = b"image", label: str = "cat", **fields: object) -> Example:
    return Example(content=content, target=Target.of_label(label), **fields)


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
    "make", [Target.of_labels, lambda names: Target.of_shares(dict.fromkeys(names, 0.25))]
)
def test_the_classes_of_all_labels_together_are_limited_and_one_of_each_is_free(
    make: Callable[[Sequence[str]], Target],
) -> None:
    limits = DatasetLimits(max_further_classes=6)
    several = [
        Example(content=b"", target=make(["cat", "dog", "emu", "owl"]), id=str(place)) for place in range(3)
    ]
    count = counted(several[:2], limits)
    assert count.further_classes == 6
    with pytest.raises(
        DatasetTooLarge, match=r"first 3 examples have more than 6 classes.*Send fewer"
    ) as refused:
        count.add(several[2], "digest")
    assert refused.value.metadata == {"limit": "6", "subject": "classes of labels"}
    assert counted([CAT, DOG] * 20, limits).summary().further_classes == 0


def test_labels_share_the_names_of_their_classes() -> None:
    def added(target: Target) -> Target:
        return count.add(Example(content=b"", target=target), "digest").target

    count = DatasetCount(limits=DatasetLimits())
    first, second = (added(Target.of_shares({" cat"[1:]: 0.5, " dog"[1:]: 0.5})) for _ in range(2))
    assert [id(name) for name in first.shares] == [id(name) for name in second.shares]
    assert added(Target.of_label(" cat"[1:])) is added(Target.of_label(" cat"[1:]))


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
        ("a\u202eb", "The label of example 2 has a control character. Received: 'a\\u202eb'."),
        ("\u2066a", "The label of example 2 has a control character. Received: '\\u2066a'."),
    ],
)
def test_a_label_that_cannot_be_is_refused_with_its_example(label: str, message: str) -> None:
    error = refusal(InvalidLabel, CAT, DOG, example(b"3", label))
    assert error.message == message
    assert error.field == "examples[2].label.class_name"


@pytest.mark.parametrize("label", ["ä" * 128, "日本語", "a b", "👩‍👩‍👧", "0"])
def test_any_other_label_passes(label: str) -> None:
    assert label in summary(CAT, example(b"3", label)).class_counts


def test_an_id_too_long_is_refused_with_its_example() -> None:
    error = refusal(InvalidField, CAT, example(b"2", "dog", id="i" * 257))
    assert error.message == "The id of example 1 is too long. Expected at most 256 bytes. Received: 257."
    assert error.field == "examples[1].example_id"


@pytest.mark.parametrize("content", [bytes(41), "ä" * 21, np.zeros(6, np.float64)])
def test_an_input_too_large_is_refused_with_its_example(content: object) -> None:
    size = {bytes: 41, str: 42}.get(type(content), 48)
    for name, shown in (("", ""), ("a/0.png", " ('a/0.png')")):
        error = refusal(InputTooLarge, CAT, example(content, id=name))
        assert error.message == (
            f"Example 1{shown} is too large. Expected at most 40 bytes. Received: {size}. Scale it down, or "
            "leave it out."
        )
        assert error.field == "examples[1].input"


def test_inputs_of_exactly_the_limits_pass() -> None:
    contents = [bytes(40), bytes(40), bytes(18), b"2", b"1"]
    examples = [example(content, "abcab"[place]) for place, content in enumerate(contents)]
    assert counted(examples).summary().example_count == 5


def test_too_many_examples_are_refused() -> None:
    error = refusal(DatasetTooLarge, *[example(bytes([place]), "ab"[place % 2]) for place in range(6)])
    assert error.message == (
        "The dataset has more than the 5 examples that the server allows. Send fewer or smaller examples."
    )
    assert error.metadata == {"limit": "5", "subject": "examples"}


def test_too_many_bytes_are_refused() -> None:
    error = refusal(DatasetTooLarge, *[example(bytes(40), "ab"[place % 2]) for place in range(3)])
    assert (
        error.message
        == "The dataset has more than the 100 bytes that the server allows. Send fewer or smaller examples."
    )
    assert error.metadata == {"limit": "100", "subject": "bytes"}


def test_too_many_classes_are_refused_with_the_example_that_opens_one_too_many() -> None:
    error = refusal(TooManyClasses, *[example(bytes([place]), f"c{place}") for place in range(4)])
    assert error.message == (
        "The dataset has more than the 3 classes that the server allows: example 3 has class 4. Merge "
        "classes. "
        "If the labels are numbers to predict, send them as values."
    )
    assert error.metadata == {"limit": "3"}


def test_no_example_is_refused() -> None:
    error = refusal(EmptyDataset)
    assert error.message == "There are no examples. Send examples of at least two classes to train on."


def test_examples_that_are_all_held_out_are_refused() -> None:
    error = refusal(EmptyDataset, example(b"1", "cat", held_out=True), example(b"2", "dog", held_out=True))
    assert error.message == ("All examples are held out. Send examples of at least two classes to train on.")


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
        target=st.sampled_from(["cat", "dog", "emu"]).map(Target.of_label),
        held_out=st.booleans(),
    ),
    max_size=8,
).map(lambda more: [CAT, DOG, example(b"5", "emu"), *more])


@given(EXAMPLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_digest_does_not_depend_on_the_order_nor_on_ids(examples: list[Example], random) -> None:
    moved = [
        Example(content=one.content, target=one.target, held_out=one.held_out, id=str(place))
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


def test_the_digest_depends_on_the_count_of_an_example() -> None:
    assert summary(CAT, DOG, DOG).digest != summary(CAT, CAT, DOG).digest != summary(CAT, DOG).digest


def test_a_mix_of_tasks_is_refused_with_the_example_that_differs() -> None:
    error = refusal(WrongTask, CAT, Example(content=b"2", target=Target.of_labels(["dog"])))
    assert error.message == (
        "Example 1 has a set of labels, but the first example has one label. Give all examples the same "
        "kind of label."
    )
    assert error.field == "examples[1].label.classes"
    with pytest.raises(WrongTask, match="Example 0 has one label, but the task requires a number"):
        DatasetCount(limits=SMALL, task=Task.REGRESSION).add(CAT, "d")


@pytest.mark.parametrize(
    ("target", "message", "field"),
    [
        (Target.of_value(float("nan")), "Expected a finite number", "label.number"),
        (Target.of_value(float("inf")), "Expected a finite number", "label.number"),
        (Target.of_value(-1.1 * MAX_VALUE), "up to 1e+30", "label.number"),
        (Target.of_shares({"a": 0.5, "b": 0.4}), "Expected shares that sum up to 1", "label.probabilities"),
        (Target.of_shares({"a": 1.5, "b": -0.5}), "Expected shares of 0 or more", "label.probabilities"),
        (
            Target.of_shares({"a": float("nan"), "b": 0.5}),
            "Expected shares of 0 or more",
            "label.probabilities",
        ),
    ],
)
def test_targets_that_cannot_be_are_refused(target: Target, message: str, field: str) -> None:
    error = refusal(InvalidField, Example(content=b"1", target=target))
    assert message in error.message
    assert error.field == f"examples[0].{field}"


@pytest.mark.parametrize("target", [Target.of_labels(["ok", " "]), Target.of_shares({"a": 0.5, "": 0.5})])
def test_each_name_of_a_class_is_checked(target: Target) -> None:
    assert "Example 0 has no label." in refusal(InvalidLabel, Example(content=b"1", target=target)).message


def test_no_share_at_all_is_a_missing_label() -> None:
    assert refusal(InvalidLabel, Example(content=b"1", target=Target.of_shares({}))).field == (
        "examples[0].label.class_name"
    )


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), 1.1e6])
def test_a_weight_that_cannot_be_is_refused(weight: float) -> None:
    error = refusal(InvalidField, example(b"1", "cat", weight=weight))
    assert "Expected a weight above 0" in error.message
    assert error.field == "examples[0].weight"


def test_shares_are_brought_to_a_sum_of_one_and_none_is_zero() -> None:
    sent = Example(content=b"1", target=Target.of_shares({"a": 0.5, "b": 0.5 + 5e-7, "c": 0.0}))
    kept = DatasetCount(limits=SMALL).add(sent, "d").target
    assert set(kept.shares) == {"a", "b"}
    assert sum(kept.shares.values()) == pytest.approx(1.0, abs=1e-15)


def test_nothing_to_learn_is_refused_for_each_task() -> None:
    both = [Example(content=bytes([place]), target=Target.of_labels(["a", "b"])) for place in range(2)]
    assert "some examples to train on have and others lack" in refusal(TooFewClasses, *both).message
    same = [Example(content=bytes([place]), target=Target.of_value(2.5)) for place in range(2)]
    assert refusal(InvalidField, *same).message == (
        "Expected examples of at least two different values to train on. "
        "Received: 2 examples, all of value 2.5."
    )
    none = [Example(content=b"1", target=Target.of_labels([])), both[0]]
    assert counted(none).summary().class_counts == {"a": 1, "b": 1}


def test_the_digest_of_plain_labels_is_that_of_the_first_release() -> None:
    assert (
        summary(CAT, DOG).digest
        == sha256(
            b"".join(
                sorted(
                    sha256(f"{content_digest(content)}\0{label}\x000".encode()).digest()
                    for content, label in ((b"1", "cat"), (b"2", "dog"))
                )
            )
        ).hexdigest()
    )


@pytest.mark.parametrize(
    "changed",
    [
        example(b"3", "cat", weight=2.0),
        Example(content=b"3", target=Target.of_shares({"cat": 0.9, "dog": 0.1})),
    ],
)
def test_the_digest_depends_on_weights_and_shares(changed: Example) -> None:
    assert summary(CAT, DOG, changed).digest != summary(CAT, DOG, example(b"3", "cat")).digest


@pytest.mark.parametrize("name", ["\x1b[2J", "a\tb", "two\nlines", "\x00"])
def test_an_id_that_a_terminal_would_obey_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="The id of example 3 has a control character"):
        check_id(name, 3)
