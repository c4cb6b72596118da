"""Files that list examples under column names of their own."""

import re
from pathlib import Path

import pytest

from headstart import Table, Text
from headstart.inputs.examples import open_examples
from headstart.inputs.prediction_inputs import open_inputs
from headstart.transport.chunks import chunks

pandas = pytest.importorskip("pandas")

CSV = 'review,verdict,text,stars\n"Fine, really",good,not this,5\nPoor,bad,nor this,1\n'
TSV = "review\tverdict\ttext\tstars\nFine, really\tgood\tnot this\t5\nPoor\tbad\tnor this\t1\n"
JSONL = (
    '{"review": "Fine, really", "verdict": "good", "stars": 5}\n'
    '{"review": "Poor", "verdict": "bad", "stars": 1}\n'
)


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "content"), [("l.csv", CSV), ("l.tsv", TSV), ("l.jsonl", JSONL)])
def test_columns_are_called_as_the_file_has_them(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path / name, content)
    examples = list(Table(path, {"text": "review", "label": "verdict"}))
    assert [(each.content, each.label) for each in examples] == [
        (Text("Fine, really"), "good"),
        (Text("Poor"), "bad"),
    ]
    numbers = list(open_examples(Table(path, {"text": "review", "value": "stars"})))
    assert [each.label.number for each in numbers] == [5.0, 1.0]


@pytest.mark.parametrize(("name", "content"), [("l.csv", CSV), ("l.tsv", TSV), ("l.jsonl", JSONL)])
def test_a_missing_column_is_reported_with_the_existing_ones(tmp_path: Path, name: str, content: str) -> None:
    table = Table(written(tmp_path / name, content), {"text": "opinion", "label": "verdict"})
    with pytest.raises(ValueError, match=r"line 1: a column `opinion` is expected.*review, verdict"):
        list(table)


def test_a_file_with_another_separator_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Is the separator a tab"):
        list(Table(written(tmp_path / "l.tsv", "path,label\na.jpg,cat\n")))


def test_errors_name_the_line_of_a_table_that_is_handed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "what,label\na.jpg,cat\n")
    with pytest.raises(OSError, match=r"l\.csv, line 2"):
        list(open_examples(Table(path, {"path": "what"})))


def test_invalid_names_and_endings_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"columns must be of path, text.*Received: 'texts'"):
        Table(tmp_path / "l.csv", {"texts": "review"})
    with pytest.raises(ValueError, match=r"ends in \.csv, \.tsv, \.jsonl"):
        Table(tmp_path / "l.xlsx")


def test_a_row_that_cannot_be_predicted_does_not_hinder_the_others(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "a,b\n1,2\n3,\n5,6\n")
    frame = pandas.DataFrame({"a": [1.0, 3.0, 5.0], "b": [2.0, None, 6.0]})
    for inputs, place in (
        (path, f"{path}, line 3"),
        (frame, "row 1"),
        (frame.to_dict("records"), "inputs[1]"),
    ):
        message = f"{place}: `b` must be a finite number. Received: an empty cell. Fill it in"
        (chunk,) = chunks(open_inputs(inputs).items, keep_errors=True)
        assert (len(chunk.inputs), chunk.places, list(chunk.errors)) == (2, [0, 2], [1])
        assert chunk.errors[1].message.startswith(message)
        with pytest.raises(ValueError, match=re.escape(message)):
            list(chunks(open_inputs(inputs).items))


def test_a_mapping_is_no_input() -> None:
    with pytest.raises(TypeError, match=r"Give a row as a list of one dict, \[row\]"):
        open_inputs({"a": 1.0, "b": 2.0})
