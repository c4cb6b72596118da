"""Answers become named tensors: columns in the order of the classes, whatever the order of the prediction."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headstart_server.api.compat import open_inference_messages, tensor_protos
from headstart_server.api.compat.outputs import Kind, chosen, outputs_of, values_of
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task


def head(task: Task) -> Any:
    names = () if task is Task.REGRESSION else ("cat", "dog", "zèbre")
    return SimpleNamespace(task=task, class_names=names)


def answer(task: Task) -> Any:
    """Two inputs: the first is a zèbre most likely, the second a dog."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], np.float32)
    return SimpleNamespace(
        version=SimpleNamespace(head=head(task)),
        indexes=np.array([[2, 0, 1], [1, 2, 0]]),
        probabilities=probabilities,
        selected=probabilities > 0.25,
        values=np.array([1.5, -2.0]),
    )


def predicted_values(task: Task) -> dict[str, Any]:
    return {output.name: values_of(answer(task), output) for output in outputs_of(head(task))}


def test_a_label_and_a_probability_for_each_class_in_its_column() -> None:
    values = predicted_values(Task.SINGLE_LABEL)
    assert values["label"].tolist() == ["zèbre".encode(), b"dog"]
    np.testing.assert_array_equal(
        values["probabilities"], np.array([[0.2, 0.1, 0.7], [0.1, 0.6, 0.3]], np.float32)
    )


def test_of_several_labels_which_ones_apply() -> None:
    values = predicted_values(Task.MULTI_LABEL)
    assert list(values) == ["probabilities", "selected"]
    assert values["selected"].tolist() == [[False, False, True], [False, True, True]]


def test_of_a_regression_the_numbers() -> None:
    values = predicted_values(Task.REGRESSION)
    assert list(values) == ["value"]
    assert (values["value"].dtype, values["value"].tolist()) == (np.float32, [1.5, -2.0])


def test_outputs_come_as_requested() -> None:
    names = [each.name for each in chosen(head(Task.SINGLE_LABEL), ["label", "probabilities"], "outputs")]
    assert names == ["label", "probabilities"]


@pytest.mark.parametrize("names", [["logits"], ["label", "label"], ["selected"]])
def test_outputs_there_are_not_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidField, match="Expected outputs of probabilities, label, each once"):
        chosen(head(Task.SINGLE_LABEL), names, "outputs")


def test_strings_go_out_typed_raw_and_as_tensorflows() -> None:
    labels = predicted_values(Task.SINGLE_LABEL)["label"]
    raw: list[bytes] = []
    typed = open_inference_messages.output_message("label", Kind.STRING, labels, None)
    bare = open_inference_messages.output_message("label", Kind.STRING, labels, raw)
    assert list(typed.contents.bytes_contents) == labels.tolist()
    assert (bare.HasField("contents"), list(bare.shape), bare.datatype) == (False, [2], "BYTES")
    assert raw == [b"\x06\0\0\0z\xc3\xa8bre\x03\0\0\0dog"]
    assert list(tensor_protos.output_message(Kind.STRING, labels).string_val) == labels.tolist()
