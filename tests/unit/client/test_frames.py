"""Examples in the forms of pandas, polars, Hugging Face, PyTorch and scikit-learn."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart import Example, Text
from headstart.inputs import tensors
from headstart.inputs.examples import open_examples
from headstart.inputs.prediction_inputs import open_inputs

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

X = np.array([[5.1, 3.5], [4.9, 3.0], [6.2, 2.9]])
COLUMNS = {"length": [5.1, 4.9, 6.2], "name": ["a", "b", "c"], "wide": [True, False, True]}


def learned(source: Any, y: Any = None, task: str | None = None, **settings: Any) -> list[tuple[Any, Any]]:
    """Return what each example is learned from and what it shows."""
    found = open_examples(source, y, task=task, settings=settings)  # type: ignore[arg-type]
    messages = list(found)
    assert found.total in (None, len(messages))
    assert [each.SerializeToString() for each in found] == [each.SerializeToString() for each in messages]
    pairs = []
    for each in messages:
        kind = each.input.WhichOneof("content")
        content = getattr(each.input, kind)
        target = getattr(each.label, each.label.WhichOneof("value") or "class_name")
        pairs.append((tensors.decode(content).tolist() if kind == "tensor" else content, target))
    return pairs


@pytest.fixture
def datasets() -> Any:
    """Hugging Face's library; each worker would import it and PyTorch at collection, for seconds."""
    return pytest.importorskip("datasets")


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def dataset_of(columns: dict[str, list[Any]]) -> Any:
    """Return a dataset of Hugging Face."""
    return pytest.importorskip("datasets").Dataset.from_dict(columns)


def tensor_of(rows: np.ndarray) -> Any:
    """Return a tensor of PyTorch."""
    return pytest.importorskip("torch").from_numpy(rows)


FRAMES = [pandas.DataFrame, polars.DataFrame, dataset_of]


@pytest.mark.parametrize("make", FRAMES)
def test_columns_of_numbers_are_the_features_of_a_frame(make: Any) -> None:
    frame = make({**COLUMNS, "target": [0, 1, 0]})
    assert learned(frame, label_column="target") == [([5.1, 1], "0"), ([4.9, 0], "1"), ([6.2, 1], "0")]
    assert learned(frame, label_column="name", feature_columns=["target", "length"]) == [
        ([0, 5.1], "a"),
        ([1, 4.9], "b"),
        ([0, 6.2], "c"),
    ]


@pytest.mark.parametrize("make", FRAMES)
def test_texts_of_a_frame(make: Any) -> None:
    frame = make({"review": ["good", "bad"], "stars": [5.0, 1.0], "key": [7, 8]})
    assert learned(frame, text_column="review", value_column="stars") == [("good", 5.0), ("bad", 1.0)]
    (first, _) = open_examples(
        frame, settings={"text_column": "review", "value_column": "stars", "id_column": "key"}
    )
    assert first.example_id == "7"


def test_a_dataset_s_class_names_and_images(datasets: Any) -> None:
    image = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
    dataset = datasets.Dataset.from_dict(
        {"image": [image, image], "label": [1, 0]},
        features=datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        ),
    )
    (content, first), (_, second) = learned(dataset)
    assert (Image.open(io.BytesIO(content)).size, first, second) == ((3, 2), "dog", "cat")
    undecoded = dataset.cast_column("image", datasets.Image(decode=False))
    assert Image.open(io.BytesIO(learned(undecoded)[0][0])).size == (3, 2)


def test_the_splits_of_a_dataset_are_not_classes(datasets: Any) -> None:
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]})})
    with pytest.raises(ValueError, match=r"the splits of a dataset: train\. Give one of them"):
        open_examples(splits)
    assert learned(splits["train"]) == [("a", "b")]
    streamed = splits["train"].to_iterable_dataset()
    assert learned(streamed) == [("a", "b")]


@pytest.mark.parametrize("make", [np.asarray, tensor_of, list, pandas.DataFrame, lambda x: x.tolist()])
def test_inputs_and_their_targets_apart(make: Any) -> None:
    rows = X.tolist()
    assert learned(make(X), ["a", "b", "a"]) == list(zip(rows, ["a", "b", "a"], strict=True))
    assert learned(None, pandas.Series([0, 1, 0]), features=make(X)) == list(
        zip(rows, ["0", "1", "0"], strict=True)
    )
    assert learned(make(X), np.array([0.5, 1, 2])) == list(zip(rows, [0.5, 1, 2], strict=True))
    assert learned(make(X), np.array([[0], [1], [2]]), task="regression") == list(
        zip(rows, [0, 1, 2], strict=True)
    )


def test_texts_and_images_with_their_targets() -> None:
    frame = pandas.DataFrame({"text": ["good", "bad"], "label": ["yes", "no"]})
    assert learned(None, frame["label"], texts=frame["text"]) == [("good", "yes"), ("bad", "no")]
    assert learned(None, ["a"], images=[b"image"]) == [(b"image", "a")]
    assert learned(frame["text"].map(Text), frame["label"]) == [("good", "yes"), ("bad", "no")]


def test_generators_of_inputs_and_targets() -> None:
    assert learned((row for row in X), (name for name in "aba")) == list(zip(X.tolist(), "aba", strict=True))


def test_datasets_of_torch(torch: Any) -> None:
    class Squares(torch.utils.data.Dataset):  # type: ignore[misc]
        classes = ("even", "odd")

        def __len__(self) -> int:
            return 2

        def __getitem__(self, place: int) -> tuple[Any, int]:
            if place >= 2:
                raise AssertionError("read past its end")
            return torch.full((3,), float(place)), place % 2

    assert learned(Squares()) == [([0, 0, 0], "even"), ([1, 1, 1], "odd")]
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.tensor([1, 0, 1]))
    assert learned(pairs) == list(zip(X.tolist(), ["1", "0", "1"], strict=True))


def test_dicts_are_examples() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"text": "good", "label": "yes", "weight": 2, "id": "a"}
        yield {"input": Text("bad"), "label": "no"}
        yield {"features": [1, 2], "label": 3}
        yield {"image": b"image", "labels": ["a", "b"], "held_out": True}

    first, second, third, fourth = open_examples(rows())
    assert (first.input.text, first.label.class_name, first.weight, first.example_id) == (
        "good",
        "yes",
        2,
        "a",
    )
    assert (second.input.text, second.label.class_name) == ("bad", "no")
    assert (tensors.decode(third.input.tensor).tolist(), third.label.class_name) == ([1, 2], "3")
    assert (fourth.input.image, list(fourth.label.classes.class_names), fourth.held_out) == (
        b"image",
        ["a", "b"],
        True,
    )
    assert learned([{"q": "good", "a": "yes"}], text_column="q", label_column="a") == [("good", "yes")]


EMPTY = pandas.DataFrame({"age": [1.0, np.nan], "label": ["a", "b"]}, index=["x7", "x8"])


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((EMPTY,), {}, r"row x8: `age` must be a finite number\. Received: an empty cell\. Fill it in"),
        ((EMPTY,), {"text_column": "txt"}, r"row x7: a column `txt` is expected.*columns: age, label"),
        (
            (EMPTY[["label"]],),
            {},
            "The columns are label. Expected text, image, path, features or columns of",
        ),
        ((EMPTY.rename(columns={"label": "lable"}),), {}, "the column 'lable' is misspelled"),
        (
            (pandas.DataFrame({"text": ["a", None], "label": ["a", "b"]}),),
            {},
            r"row 1: exactly one of .* not empty",
        ),
        (
            (pandas.DataFrame({"text": ["a", "b"], "label": ["a", None]}),),
            {},
            r"row 1: a label is expected in the column `label`\. Received: (None|nan)",
        ),
        (
            (pandas.DataFrame({"text": ["a"], "label": [1.5]}),),
            {},
            r"row 0: .*Received the number 1\.5\. Set the task to regression",
        ),
        (
            (pandas.DataFrame({"age": [1.0], "species": ["a"]}),),
            {},
            "The columns are age, species. Expected one of label, labels, value and probabilities; name the",
        ),
        ((X, ["a"]), {}, r"one target for each input\. Received: 3 inputs and 1 targets"),
        ((X, np.zeros((3, 2))), {}, r"one-dimensional\. Received: shape \[3, 2\]"),
        ((X, ["a", "b", np.nan]), {}, r"examples\[2\]: the target is NaN"),
        (({"text": ["a"], "label": ["b"]},), {}, "Its keys look like columns: text, label"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_place(
    arguments: tuple[Any, ...], settings: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(open_examples(*arguments, settings=settings))


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (
            ({"cat": "cat.jpg"},),
            {},
            r"examples\['cat'\] must be several inputs, such as a list. Received: 'cat.j",
        ),
        ((X,), {}, r"An array needs its targets, as in fine_tune\(X, y, model"),
        (((X, [0, 1, 0]),), {}, "Give X and y as two arguments"),
        ((None,), {"texts": ["a"]}, "need their targets: y="),
        ((None, ["a"]), {"texts": "a"}, "texts must be several texts"),
        ((None, ["a"]), {"texts": [np.nan]}, r"texts\[0\]: A text must be a str\. Received: nan"),
        ((None, ["a"]), {"texts": ["a"], "images": [b"a"]}, "Give only one of texts, images and features"),
        ((X, ["a"]), {"texts": ["a"]}, "Give either examples or one of texts"),
        (("folder", ["a"]), {}, "y gives the targets of inputs in memory. Received: 'folder'"),
        ((list(X),), {}, r"examples\[0\]: .*scikit-learn's X needs its y.*Received: ndarray"),
        (([(b"x", "a")],), {"label_column": "l"}, "Column names apply only to a DataFrame, a table or dicts"),
        (([],), {"lable_column": "l"}, "Examples are described by texts, .*Received: lable_column"),
    ],
)
def test_arguments_that_do_not_fit_name_the_remedy(
    arguments: tuple[Any, ...], settings: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        list(open_examples(*arguments, settings=settings))


def test_a_column_that_is_used_by_name_may_have_a_name_with_a_meaning() -> None:
    fish = pandas.DataFrame({"Weight": [1.0, 2.0], "value": [3, 4], "species": ["a", "b"]})
    assert learned(fish, label_column="species", feature_columns=["value", "Weight"]) == [
        ([3, 1], "a"),
        ([4, 2], "b"),
    ]


def test_an_example_of_a_path_has_its_path_as_id(tmp_path: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    messages = [*open_examples([(path, "a")]), *open_examples([Example(path, "a", id="b")])]
    assert [each.example_id for each in messages] == [path.as_posix(), "b"]


def test_rows_with_an_input_are_read_one_by_one() -> None:
    read = []

    def rows() -> Iterator[dict[str, Any]]:
        for place in range(5):
            read.append(place)
            yield {"image": b"image", "label": "a"}

    messages = iter(open_examples(rows()))
    next(messages)
    assert read == [0]


def test_sparse_rows() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_matrix(X), sparse.csc_array(X), sparse.coo_matrix(X)):
        assert learned(matrix, ["a", "b", "a"]) == list(zip(X.tolist(), "aba", strict=True))
        with pytest.raises(TypeError, match="An array needs its targets"):
            open_examples(matrix)
        items = [each.content.tolist() for each in open_inputs(matrix).items]
        assert items == X.tolist()


def test_a_frame_as_x_holds_numbers_only() -> None:
    assert learned(pandas.DataFrame({"a": pandas.array([1, 2], "Int64")}), ["x", "y"]) == [
        ([1], "x"),
        ([2], "y"),
    ]
    with pytest.raises(TypeError, match=r"X must hold numbers only.*columns a, b.*texts=df"):
        open_examples(pandas.DataFrame({"a": [1], "b": ["text"]}), ["x"])
