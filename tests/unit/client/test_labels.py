"""The one rule of integer labels, in every form of examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import Example
from headstart.inputs.examples import open_examples

Make = Callable[[Path, list[Any]], Any]


def _csv(folder: Path, labels: list[Any]) -> Path:
    path = folder / "l.csv"
    path.write_text("\n".join(["text,label", *(f"t,{label}" for label in labels)]))
    return path


def _jsonl(folder: Path, labels: list[Any]) -> Path:
    path = folder / "l.jsonl"
    path.write_text("\n".join(json.dumps({"text": "t", "label": label}) for label in labels))
    return path


def _npz(folder: Path, labels: list[Any]) -> Path:
    np.savez(folder / "l.npz", features=np.zeros((len(labels), 2)), labels=np.array(labels))
    return folder / "l.npz"


def _frame(_: Path, labels: list[Any]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"text": ["t"] * len(labels), "label": labels})


FORMS: list[Make] = [
    _csv,
    _jsonl,
    _npz,
    _frame,
    lambda _, labels: [(b"x", label) for label in labels],
    lambda _, labels: [Example(b"x", label) for label in labels],
    lambda _, labels: {label: [b"x"] * labels.count(label) for label in labels},
    lambda _, labels: (np.zeros((len(labels), 2)), np.array(labels)),
    lambda _, labels: [{"text": "t", "label": label} for label in labels],
]


def opened(form: Any, task: str | None = None) -> Any:
    examples = form if isinstance(form, tuple) else (form,)
    return open_examples(*examples, task=task)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", FORMS)
def test_few_integers_name_classes(tmp_path: Path, make: Make) -> None:
    assert sorted(each.label.class_name for each in opened(make(tmp_path, [0, 1, 12, 0]))) == [
        "0",
        "0",
        "1",
        "12",
    ]
    many = [label % 30 for label in range(300)]
    assert len(list(opened(make(tmp_path, many)))) == 300


@pytest.mark.parametrize("make", FORMS)
def test_many_different_integers_are_refused_unless_the_task_is_given(tmp_path: Path, make: Make) -> None:
    form = make(tmp_path, list(range(25)) * 2)
    with pytest.raises(ValueError, match=r"25 different integers among 50 examples.*Set the task to regres"):
        list(opened(form))
    assert {each.label.class_name for each in opened(form, "single_label")} == {
        str(label) for label in range(25)
    }
    values = [each.label.number for each in opened(form, "regression")]
    assert sorted(values) == sorted(map(float, list(range(25)) * 2))


@pytest.mark.parametrize("make", [_csv, _jsonl, _frame, FORMS[-1]])
def test_decimal_numbers_in_a_column_of_labels_are_refused_unless_the_task_is_given(
    tmp_path: Path, make: Make
) -> None:
    form = make(tmp_path, [1.5, 2.25])
    with pytest.raises(ValueError, match=r"Received the number 1\.5\. Set the task to regression"):
        list(opened(form))
    assert [each.label.number for each in opened(form, "regression")] == [1.5, 2.25]


def test_whole_floats_are_classes_if_the_task_says_so() -> None:
    y = np.array([1.0, 2.0])
    assert [each.label.number for each in open_examples(np.zeros((2, 2)), y)] == [1, 2]
    assert [each.label.class_name for each in open_examples(np.zeros((2, 2)), y, task="single_label")] == [
        "1",
        "2",
    ]
    with pytest.raises(ValueError, match=r"examples\[0\]: The task is single_label.*number 1\.5"):
        list(open_examples([(b"x", 1.5)], task="single_label"))


@pytest.mark.parametrize("text", ["007", "v1.2", "nan", "1_000", "1,5", "inf", "½"])
def test_texts_are_classes_as_they_are_written(tmp_path: Path, text: str) -> None:
    path = _csv(tmp_path, [f'"{text}"'])
    assert [each.label.class_name for each in open_examples(path)] == [text]
    assert [each.label.class_name for each in open_examples([(b"x", text)], task="single_label")] == [text]
