import json
from pathlib import Path

import numpy as np
import pytest

from headstart.inputs import records
from headstart.inputs.dataset_manifest import read_list
from headstart.inputs.examples import ExampleWarning, open_examples
from headstart.inputs.inputs import Example, Text
from headstart.inputs.records import Layout


def write(path: Path, content: str | bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def labels(examples) -> list[tuple[str, str]]:
    return [(each.example_id, each.label.class_name) for each in open_examples(examples)]


def test_a_folder_has_one_class_for_each_sub_folder_in_sorted_order(tmp_path):
    for name in ("dog/b.jpg", "dog/a.jpg", "cat/10.jpg", "cat/deep/er/9.jpg"):
        write(tmp_path / name, name)

    source = open_examples(tmp_path)

    assert source.total == 4
    assert [(each.example_id, each.label.class_name, each.input.image) for each in source] == [
        ("cat/10.jpg", "cat", b"cat/10.jpg"),
        ("cat/deep/er/9.jpg", "cat", b"cat/deep/er/9.jpg"),
        ("dog/a.jpg", "dog", b"dog/a.jpg"),
        ("dog/b.jpg", "dog", b"dog/b.jpg"),
    ]


def test_hidden_files_and_folders_are_skipped(tmp_path):
    for name in (
        "cat/1.jpg",
        "cat/.DS_Store",
        "cat/.thumbs/1.jpg",
        ".git/config",
        "cat/Thumbs.db",
        "cat/desktop.ini",
    ):
        write(tmp_path / name)

    assert labels(str(tmp_path)) == [("cat/1.jpg", "cat")]


def test_a_folder_whose_class_folders_are_empty_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()

    with pytest.raises(ValueError, match=r"Expected files in the sub-folders of .*Received: no file in cat"):
        open_examples(tmp_path)


@pytest.mark.parametrize("column", ["weigth", "Weights", "held-out"])
def test_a_misspelt_column_is_refused_and_not_ignored(tmp_path, column):
    table = write(tmp_path / "list.csv", f"path,label,{column}\na.jpg,cat,1\n")

    with pytest.raises(ValueError, match=rf"the column '{column}' is misspelled"):
        open_examples(table)


def test_rows_take_time_for_their_own_cells_and_not_for_each_column_of_the_header():
    header = ",".join(["text", "label", *(f"c{place}" for place in range(1000))])

    rows = list(read_list([f"{header}\n", "a joy,good\n", "\n", "a,b,c,d\n"], name="l.csv", suffix=".csv"))

    assert [dict(row.row) for row in rows] == [
        {"text": "a joy", "label": "good"},
        {"text": "a", "label": "b", "c0": "c", "c1": "d"},
    ]


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_row_with_more_cells_than_columns_is_refused_because_a_separator_is_not_quoted(suffix, separator):
    lines = [f"text{separator}label\n", f"Fun{separator} mostly{separator}good\n"]

    with pytest.raises(ValueError, match=f"l{suffix}, line 2: the row has more cells than the header"):
        list(read_list(lines, name=f"l{suffix}", suffix=suffix))


def test_a_row_to_predict_with_more_cells_than_columns_does_not_end_the_others():
    lines = ["text\n", "Fun, mostly\n", "Fun\n"]

    long, good = read_list(lines, name="l.csv", suffix=".csv", layout=Layout(labeled=False))

    assert str(long.error).startswith("l.csv, line 2: the row has more cells than the header has columns")
    assert (good.text, good.error) == ("Fun", None)


def test_empty_cells_after_the_last_column_are_ignored():
    rows = list(read_list(["text,label\n", "Fun,good,,\n"], name="l.csv", suffix=".csv"))

    assert [dict(row.row) for row in rows] == [{"text": "Fun", "label": "good"}]


def test_a_typing_error_in_a_cell_does_not_drop_its_column():
    lines = ["length,width,house,label\n", "1,2,3a,x\n", "1,2,3,y\n", "?,2,4b,y\n"]

    problem = r"l\.csv, line 4: `length` must be a finite number\. Received: '\?'\. Correct it, or name"
    with pytest.raises(ValueError, match=problem):
        list(read_list(lines, name="l.csv", suffix=".csv"))
    rows = list(read_list(lines, name="l.csv", suffix=".csv", layout=Layout(labeled=False)))
    assert [None if row.features is None else list(row.features) for row in rows] == [[1, 2], [1, 2], None]


@pytest.mark.parametrize("labeled", [True, False])
def test_two_columns_of_one_name_are_refused(labeled):
    lines = ["length,length,,,label\n", "1,2,,,x\n"]

    with pytest.raises(
        ValueError, match=r"l\.csv, line 1: two columns are named 'length'\. Rename or remove"
    ):
        list(read_list(lines, name="l.csv", suffix=".csv", layout=Layout(labeled=labeled)))


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["label,text\n", 'good,"a joy\n', "bad,awful\n"], 2),
        (["label,text\n", 'good,"a joy"\n', "\n", 'bad,"awful'], 4),
        (['label,"text\n', "good,fun\n"], 1),
    ],
)
def test_a_quote_that_is_not_closed_does_not_swallow_the_rows_after_it(lines, line, labeled):
    with pytest.raises(ValueError, match=rf"l\.csv, line {line}: a quote is not closed\. Close it"):
        list(read_list(lines, name="l.csv", suffix=".csv", layout=Layout(labeled=labeled)))


def test_a_closed_quote_at_the_end_is_read():
    lines = ["label,text\n", 'good,"a\n', 'joy"\n', 'bad,"awful"']

    assert [row.text for row in read_list(lines, name="l.csv", suffix=".csv")] == ["a\njoy", "awful"]


def test_spaces_around_a_label_of_a_csv_file_make_no_other_class():
    lines = ["text,label\n", "fun, good\n", "a joy,good \n", "awful,1 \n"]

    labels = [row.settings["label"] for row in read_list(lines, name="l.csv", suffix=".csv")]

    assert labels == ["good", "good", "1"]
    with pytest.raises(ValueError, match="a label is expected"):
        list(read_list(["text,label\n", "fun,  \n"], name="l.csv", suffix=".csv"))


def test_a_uri_that_no_server_reads_is_refused():
    with pytest.raises(
        ValueError, match=r"begins with s3://, gs://, https://, file://\. Received: http://x/y"
    ):
        open_examples("http://x/y.csv")


def test_each_cell_is_read_once_to_find_the_columns_of_numbers(monkeypatch):
    read = []
    is_missing = records.is_missing
    monkeypatch.setattr(records, "is_missing", lambda value: read.append(value) or is_missing(value))
    rows = [{f"c{row}_{place}": place for place in range(10)} for row in range(20)]
    rows += [{"c0_1": "", "c0_2": "a"}, {"c0_2": 1, "": 1, "label": 2}, {"empty": None}]

    found = records.feature_columns_of(rows, {})

    assert found == tuple(name for row in rows[:20] for name in row)
    assert len(read) <= 204


def test_the_spelling_of_each_column_is_compared_once(monkeypatch):
    compared = []
    letters = records._letters
    monkeypatch.setattr(records, "_letters", lambda name: compared.append(name) or letters(name))
    row = {"text": "a joy", "label": "good", **{f"c{place}": 1 for place in range(100)}}

    list(read_list([json.dumps(row)], name="l.jsonl", suffix=".jsonl"))

    assert len(compared) == 100


@pytest.mark.parametrize("column", ["height", "split", "uid", "note"])
def test_columns_of_other_names_are_ignored(tmp_path, column):
    table = write(tmp_path / "list.csv", f"path,label,{column}\na.jpg,cat,1\n")

    assert open_examples(table).total == 1


def test_a_folder_without_sub_folders_is_refused(tmp_path):
    write(tmp_path / "1.jpg")

    with pytest.raises(
        ValueError,
        match=r"has no sub-folders\. Put the files of each class into one "
        "sub-folder: .*",
    ):
        open_examples(tmp_path)


def test_an_id_that_would_be_too_long_keeps_its_end(tmp_path):
    write(tmp_path / "cat" / ("d" * 200) / ("é" * 100 + "7.jpg"))

    ((example_id, _),) = labels(tmp_path)

    assert len(example_id.encode()) <= 256
    assert example_id.endswith("é7.jpg")


def test_a_folder_can_be_read_again(tmp_path):
    write(tmp_path / "cat" / "1.jpg")
    source = open_examples(tmp_path)

    assert list(source) == list(source) != []


def test_files_are_read_when_it_is_their_turn(tmp_path):
    write(tmp_path / "cat" / "1.jpg")
    second = write(tmp_path / "cat" / "2.jpg")
    messages = iter(open_examples(tmp_path))

    next(messages)
    second.unlink()
    with pytest.raises(FileNotFoundError):
        next(messages)


def test_a_csv_lists_paths_from_its_own_folder(tmp_path):
    write(tmp_path / "images" / "a.jpg", b"A")
    write(tmp_path / "images" / "b.jpg", b"B")
    table = write(
        tmp_path / "list.csv",
        "﻿path,label,id,held_out,note\nimages/a.jpg,cat,first,true,x\nimages/b.jpg,dog,,,\n",
    )

    source = open_examples(table)

    assert source.total == 2
    first, second = source
    assert (first.input.image, first.label.class_name, first.example_id, first.held_out) == (
        b"A",
        "cat",
        "first",
        True,
    )
    assert (second.input.image, second.label.class_name, second.example_id, second.held_out) == (
        b"B",
        "dog",
        "images/b.jpg",
        False,
    )


def test_a_csv_may_hold_texts_with_line_breaks(tmp_path):
    table = write(tmp_path / "list.csv", 'label,text\ngood,"nice,\nvery"\nbad,awful\n')

    assert [(each.input.text, each.label.class_name) for each in open_examples(str(table))] == [
        ("nice,\nvery", "good"),
        ("awful", "bad"),
    ]


def test_a_jsonl_has_an_object_in_each_line(tmp_path):
    image = write(tmp_path / "elsewhere" / "a.jpg", b"A")
    rows = [
        {"path": str(image), "label": "cat", "held_out": True},
        {"text": "hello", "label": "dog", "id": 7, "held_out": False},
    ]
    table = write(tmp_path / "list.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n")

    first, second = open_examples(table)

    assert (first.input.image, first.held_out) == (b"A", True)
    assert (second.input.text, second.example_id, second.held_out) == ("hello", "7", False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "l.csv",
            "path,class\na.jpg,cat\n",
            r"l\.csv has the columns path, class\. Expected one of label, labels and value; rename the",
        ),
        ("l.csv", "file,label\na.jpg,cat\n", r"columns file, label. Expected path.*\(--text-column\)"),
        ("l.csv", "path;label\na;b\n", r"columns path;label\..* Is the separator a comma\?"),
        ("l.csv", "", "has no columns"),
        ("l.csv", "path,label\na.jpg,\n", r"l\.csv, line 2: a label is expected in the column `label`"),
        ("l.csv", "path,text,label\na,b,cat\n", "line 2: exactly one of .* Received path and text"),
        ("l.csv", "path,label,held_out\na,cat,maybe\n", "line 2: `held_out` must be true or false.*'maybe'"),
        ("l.csv", "text,label\n" + "x" * 200_000 + ",a\n", "line 2: field larger than field limit"),
        ("l.jsonl", '{"path": "a"\n', r"l\.jsonl, line 1: a JSON object is expected"),
        ("l.jsonl", "\n[1]\n", r"line 2: a JSON object is expected\. Received: \[1\]"),
        ("l.jsonl", '{"path": "a", "label": 3.5}\n', "line 1: .* Received the number 3.5. Set the task to"),
        ("l.csv", "path,label,value\na,cat,1\n", "columns path, label, value. Expected one of label"),
        ("l.csv", "path,value\na,three\n", r"l\.csv, line 2: `value` must be a number\. Received: 'three'"),
        ("l.csv", "path,value\na,\n", "line 2: `value` must be a number. Received: ''"),
        ("l.csv", "path,value\na,nan\n", "line 2: `value` must be a finite number. Received: 'nan'"),
        ("l.csv", "path,labels\na,x||y\n", r"line 2: `labels` must be labels separated by \|.*'x\|\|y'"),
        ("l.csv", "path,label,weight\na,x,0\n", "line 2: `weight` must be a number above 0. Received: '0'"),
        (
            "l.jsonl",
            '{"path": "a", "labels": "", "value": 1}\n',
            "line 1: only one of labels, value is allowed",
        ),
        (
            "l.jsonl",
            '{"path": "a", "labels": [3.5]}\n',
            r"line 1: `labels` must be labels.*Received: \[3.5\]",
        ),
        ("l.jsonl", '{"path": "a", "value": true}\n', "line 1: `value` must be a number. Received: True"),
        ("l.jsonl", '{"path": "a", "probabilities": 1}\n', "line 1: `probabilities` must be an object"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_before_anything_is_sent(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        open_examples(write(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [("l.csv", "path,label\n\nno.jpg,cat\n", 3), ("l.jsonl", '{"path": "no.jpg", "label": "cat"}\n', 1)],
)
def test_a_missing_listed_file_is_reported_with_its_line(tmp_path, name, content, line):
    source = open_examples(write(tmp_path / name, content))

    with pytest.raises(FileNotFoundError, match=rf"{name}, line {line}: No such file: .*no\.jpg"):
        list(source)


def test_an_unreadable_listed_array_is_reported_with_its_line(tmp_path):
    write(tmp_path / "a.npy", b"no array")

    with pytest.raises(ValueError, match=r"l\.csv, line 2: "):
        list(open_examples(write(tmp_path / "l.csv", "path,label\na.npy,cat\n")))


def test_a_path_that_is_not_there_or_no_list_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such folder or file:"):
        open_examples(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"ends in \.csv, \.tsv, \.jsonl or \.npz\. Received: .*\.jpg"):
        open_examples(write(tmp_path / "a.jpg"))
    with pytest.raises(ValueError, match=r"Received: .*a\.zip\. Unpack the archive first$"):
        open_examples(write(tmp_path / "a.zip"))


def test_a_mapping_goes_from_labels_to_contents():
    source = open_examples({"a": [b"1", b"2"], "b": (Text("x"),)})

    assert source.total == 3
    assert [each.label.class_name for each in source] == ["a", "a", "b"]


def test_a_mapping_of_generators_can_be_read_again():
    source = open_examples({"a": (bytes([n]) for n in range(3)), "b": [b"x"]})

    assert source.total is None
    assert list(source) == list(source)
    assert len(list(source)) == 4


def test_an_iterator_can_be_read_again_and_is_read_only_once():
    read = []

    def examples():
        for n in range(5):
            read.append(n)
            yield Example(np.full((2, 2), n, np.uint8), "ab"[n % 2], id=str(n))

    source = open_examples(examples())
    half = [message.example_id for message, _ in zip(source, range(3), strict=False)]

    assert half == ["0", "1", "2"]
    assert [message.example_id for message in source] == ["0", "1", "2", "3", "4"]
    assert [message.example_id for message in source] == ["0", "1", "2", "3", "4"]
    assert read == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            (3, "cat"),
            r"examples\[1\]: An input must be a path, bytes, a numpy array, .* Received: int",
        ),
        ((b"x", None), r"examples\[1\]: Expected an Example or .* Received: \(bytes, NoneType\)"),
        ((b"x", 1j), r"examples\[1\]: Expected an Example or .* Received: \(bytes, complex\)"),
        ((b"x", ["a", 3.5]), r"examples\[1\]: A label must be a str, an integer or a bool\. Received: 3.5"),
        ((b"x", {"a": "much"}), r"examples\[1\]: probabilities\['a'\] must be a number\. Received: 'much'"),
        (
            Example(b"x", labels="ab"),
            r"examples\[1\]: labels must be a list or a set of labels\. Received: 'ab'",
        ),
        (b"x", r"examples\[1\]: Expected an Example or .* Received: bytes"),
        (Example(b"x", 3.5), r"examples\[1\]: A label must be a str, .* For regression, pass a value"),
    ],
)
def test_an_example_of_the_wrong_kind_is_named(item, message):
    with pytest.raises(TypeError, match=message):
        list(open_examples([(b"x", "a"), item]))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (3, "3"),
        (np.int64(3), "3"),
        (np.uint8(3), "3"),
        (True, "True"),
        (np.bool_(True), "True"),
        (np.str_("a"), "a"),
    ],
)
def test_an_integer_and_a_bool_name_a_class_on_every_path(tmp_path, target, name):
    ways = [
        [(b"x", target)],
        [Example(b"x", target)],
        {target: [b"x"]},
    ]
    assert [[one.label.class_name for one in open_examples(way)] for way in ways] == [[name]] * 3
    (several,) = open_examples([(b"x", [target])])
    assert list(several.label.classes.class_names) == [name]
    (soft,) = open_examples([(b"x", {target: 1.0})])
    assert dict(soft.label.probabilities.probabilities) == {name: 1.0}
    np.savez(tmp_path / "x.npz", features=np.zeros((1, 2)), labels=np.array([target]))
    assert [one.label.class_name for one in open_examples(tmp_path / "x.npz")] == [name]


def test_a_json_list_takes_integers_and_bools_as_classes(tmp_path):
    (tmp_path / "l.jsonl").write_text('{"text": "a", "label": 3}\n{"text": "b", "label": true}\n')
    assert [one.label.class_name for one in open_examples(tmp_path / "l.jsonl")] == ["3", "True"]


@pytest.mark.parametrize("value", [3.0, np.float32(3), np.float64(3)])
def test_a_float_is_a_value_and_never_a_class(tmp_path, value):
    (message,) = open_examples([(b"x", value)])
    assert (message.label.WhichOneof("value"), message.label.number) == ("number", 3.0)
    np.savez(tmp_path / "x.npz", features=np.zeros((1, 2)), labels=np.array([value]))
    with pytest.raises(ValueError, match="texts, integers or bools are expected in labels"):
        open_examples(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("Train", "VAL", "test"), ("training", "validation", "notes"), ("train",), ("test",)],
)
def test_the_parts_of_a_data_set_are_no_classes(tmp_path, names):
    for name in names:
        (tmp_path / name / "cat").mkdir(parents=True)
        (tmp_path / name / "cat" / "1.jpg").write_bytes(b"1")
    with pytest.raises(
        ValueError,
        match=r"look like the parts of a data set, not like classes: .*Fine-tune on the "
        "training part",
    ):
        open_examples(tmp_path)


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "VAL", "cat"), ("train",)])
def test_the_parts_of_a_data_set_in_a_mapping_are_no_classes(names):
    with pytest.raises(ValueError, match="The keys of the mapping look like the parts of a data set"):
        open_examples({name: [b"1", b"2"] for name in names})


def test_keys_of_a_mapping_may_be_called_train_where_others_are_no_parts():
    for names in (("train", "plane"), (0, 1)):
        examples = list(open_examples({name: [b"1"] for name in names}))
        assert [one.label.class_name for one in examples] == list(map(str, names))


def test_a_class_may_be_called_train_where_others_are_no_parts(tmp_path):
    for name in ("train", "plane"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"1")
    assert sorted(one.label.class_name for one in open_examples(tmp_path)) == ["plane", "train"]


def test_an_array_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"examples\[0\]: A tensor's elements must be one of"):
        list(open_examples([(np.zeros(3, complex), "a")]))


@pytest.mark.parametrize("examples", [3, b"x", None])
def test_what_is_no_examples_at_all_is_refused(examples):
    with pytest.raises(TypeError, match="examples must be a path, a DataFrame, a mapping"):
        open_examples(examples)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(b"x"), r"examples\[0\]: An example must have exactly one of .*probabilities"),
        (Example(b"x", "a", value=1), r"exactly one of .* Received: label, value"),
        ((b"x", float("inf")), r"examples\[0\]: value must be a finite number\. Received: inf"),
        (Example(b"x", "a", weight=0), r"examples\[0\]: weight must be above 0\. Received: 0"),
    ],
)
def test_an_example_that_shows_nothing_or_too_much_is_named(example, message):
    with pytest.raises(ValueError, match=message):
        list(open_examples([example]))


def test_a_pair_s_target_says_what_is_learned():
    one, several, none, number, soft = open_examples(
        [(b"1", "a"), (b"2", {"b", "a"}), (b"3", []), (b"4", np.float32(2.5)), (b"5", {"a": 0.75, "b": 0.25})]
    )

    assert one.label.class_name == "a"
    assert list(several.label.classes.class_names) == ["a", "b"]
    assert (none.label.WhichOneof("value"), list(none.label.classes.class_names)) == ("classes", [])
    assert number.label.number == 2.5
    assert dict(soft.label.probabilities.probabilities) == {"a": 0.75, "b": 0.25}
    assert not one.HasField("weight")


def test_the_value_zero_is_a_value():
    (example,) = open_examples([(b"1", 0.0)])

    assert example.label.WhichOneof("value") == "number"


def test_labels_in_a_csv_are_separated_and_may_be_none(tmp_path):
    table = write(tmp_path / "l.csv", "text,labels,weight\na,red | round,2\nb,,\n")

    several, none = open_examples(table)

    assert list(several.label.classes.class_names) == ["red", "round"]
    assert several.weight == 2
    assert none.label.WhichOneof("value") == "classes"
    assert not none.HasField("weight")


def test_numbers_and_probabilities_can_be_listed(tmp_path):
    rows = [{"text": "a", "value": -1.5}, {"text": "b", "value": 2}]
    numbers = write(tmp_path / "l.jsonl", "\n".join(map(json.dumps, rows)))
    soft = write(tmp_path / "s.jsonl", json.dumps({"text": "a", "probabilities": {"x": 0.5, "y": 0.5}}))
    several = write(tmp_path / "m.jsonl", json.dumps({"text": "a", "labels": ["x|y", "z"]}))

    assert [each.label.number for each in open_examples(numbers)] == [-1.5, 2]
    assert [dict(each.label.probabilities.probabilities) for each in open_examples(soft)] == [
        {"x": 0.5, "y": 0.5}
    ]
    assert [list(each.label.classes.class_names) for each in open_examples(several)] == [["x|y", "z"]]


def test_a_path_that_comes_twice_names_only_its_first_example(tmp_path):
    image = write(tmp_path / "a.jpg")
    assert [each.example_id for each in open_examples([(image, "x"), (image, "x"), (b"1", "y")])] == [
        image.as_posix(),
        "",
        "",
    ]
    table = write(tmp_path / "l.csv", "path,label,id\na.jpg,x,\na.jpg,x,\na.jpg,y,own\n")
    assert [each.example_id for each in open_examples(table)] == ["a.jpg", "", "own"]


def test_files_of_another_kind_and_outside_of_the_classes_are_skipped_and_named(tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "cat/notes.txt", "dog/3.jpg", "dog/4.xml", "__MACOSX/cat/1.jpg"):
        write(tmp_path / name)
    for name in ("labels.csv", ".hidden"):
        write(tmp_path / name)

    with pytest.warns(ExampleWarning) as warned:
        source = open_examples(tmp_path)

    assert [each.example_id for each in source] == ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]
    assert [str(each.message) for each in warned] == [
        f"{tmp_path}: skipped 2 files that are no images: cat/notes.txt, dog/4.xml",
        f"{tmp_path}: skipped 1 file outside of the class folders: labels.csv",
    ]


def test_the_kind_of_a_folder_is_that_of_most_files(tmp_path):
    for name in ("good/1.txt", "good/2.txt", "bad/3.txt", "bad/scan.png"):
        write(tmp_path / name)
    with pytest.warns(ExampleWarning, match=r"skipped 1 file that is no text: bad/scan\.png"):
        source = open_examples(tmp_path)
    assert source.total == 3
