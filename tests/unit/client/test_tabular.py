"""Files whose columns of numbers are the features."""

from pathlib import Path

import pytest

from headstart.inputs import tensors
from headstart.inputs.examples import open_examples
from headstart.inputs.prediction_inputs import InputSettings, open_inputs

IRIS = ",sepal length,sepal width,name,target\n0,5.1,3.5,a,setosa\n1,4.9,3.0,b,other\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path, **settings: object) -> list[tuple[list[float], str]]:
    found = open_examples(path, settings=settings)  # type: ignore[arg-type]
    return [(tensors.decode(each.input.tensor).tolist(), each.label.class_name) for each in found]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".CSV"])
def test_columns_of_numbers_are_features_but_not_the_index_of_pandas(tmp_path: Path, suffix: str) -> None:
    content = IRIS.replace(",", "\t") if suffix == ".tsv" else IRIS
    path = written(tmp_path / f"iris{suffix}", content)
    assert rows(path, label_column="target") == [([5.1, 3.5], "setosa"), ([4.9, 3], "other")]
    only = rows(path, label_column="target", feature_columns=["sepal width"])
    assert only == [([3.5], "setosa"), ([3], "other")]


def test_a_line_of_json_may_have_features_or_columns_of_numbers(tmp_path: Path) -> None:
    listed = '{"features": [1, 2.5], "label": "a"}\n{"features": [true, 0], "label": "b"}\n'
    assert rows(written(tmp_path / "l.jsonl", listed)) == [([1, 2.5], "a"), ([1, 0], "b")]
    flat = '{"x": 1, "y": 2.5, "kind": "a"}\n{"y": 3, "x": 4, "kind": "b"}\n'
    assert rows(written(tmp_path / "f.jsonl", flat), label_column="kind") == [([1, 2.5], "a"), ([4, 3], "b")]


def test_a_column_is_numeric_if_all_its_first_cells_are(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "a,b,c,label\n,1,1,x\n2,one,2,y\n")
    with pytest.raises(ValueError, match=r"l\.csv, line 2: `a` must be a finite number\. Received: an empty"):
        rows(path)
    assert rows(path, feature_columns=["c"]) == [([1], "x"), ([2], "y")]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("a,label\n1,x\nnan,y\n", {}, r"l\.csv, line 3: `a` must be a finite number\. Received: 'nan'\."),
        (
            "a,label\n" + "1,x\n" * 1000 + "z,x\n",
            {},
            r"line 1002: `a` must be a finite number.*feature_columns",
        ),
        ("a,b,label\n1,2\n", {}, "line 2: a label is expected"),
        (
            "a,label\nx,y\n",
            {},
            r"has the columns a, label\. Expected path, text, features or columns of numb",
        ),
        ("a,label\n1,y\n", {"feature_columns": ["z"]}, r"line 1: a column `z` is expected"),
        (
            "text,a,label\nt,1,y\n",
            {"feature_columns": ["a"]},
            "line 2: exactly one of .*text and columns of f",
        ),
        ("a,target\n1,y\n", {}, r"the columns a, target\. Expected one of label.*\(--label-column\)"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(
    tmp_path: Path, content: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rows(written(tmp_path / "l.csv", content), **settings)


@pytest.mark.parametrize("line", [2, 3000])
def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path, line: int) -> None:
    lines = ["text,label", *("good,yes" for _ in range(line - 2)), "caf\xe9,yes", "fine,yes"]
    path = written(tmp_path / "l.csv", "\n".join(lines).encode("latin-1"))
    with pytest.raises(
        ValueError, match=rf"l\.csv, line {line}: the text is not UTF-8\. Save the file as UTF-8"
    ):
        open_examples(path)


@pytest.mark.parametrize("content", ["5.1,3.5\n4.9,3.0\n", "0.2,0.2\n", "5.1,3.5,1.4,setosa\n", "0\n1\n"])
def test_a_list_without_a_header_does_not_lose_its_first_row(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "l.csv", content)
    message = r"l\.csv, line 1: names of columns are expected\. Received the numbers .*Add a line"
    with pytest.raises(ValueError, match=message):
        list(open_inputs(path).items)
    with pytest.raises(ValueError, match=message):
        open_examples(path)


@pytest.mark.parametrize(
    ("header", "settings"),
    [
        ("0,1,2", {}),  # of a DataFrame
        (",0,1", {}),
        ("400,402,id", {}),
        ("400,402,404", {"feature_columns": ["400", "402"]}),
        ("400,402,sample", {"id_column": "sample"}),
        ("y2020,y2021,2022", {}),
    ],
)
def test_names_of_columns_may_be_numbers(tmp_path: Path, header: str, settings: InputSettings) -> None:
    path = written(tmp_path / "l.csv", f"{header}\n1,2,3\n4,5,6\n")
    assert len(list(open_inputs(path, settings).items)) == 2
