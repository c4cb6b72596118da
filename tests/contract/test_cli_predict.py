"""`headstart predict` of files, folders and tables, into a file."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from contract.fake_server import FakeServer, Fault, predicted, predicted_unless_bad
from headstart.cli.app import app
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as predicting

COMMAND = [sys.executable, "-m", "headstart"]
LOST = Fault(code=grpc.StatusCode.INTERNAL, message="lost")
BUSY = Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL", retry_after=0.01)


@pytest.fixture
def run(server: FakeServer):
    def run(*arguments, code=0):
        result = CliRunner().invoke(app, ["--server", server.target, *map(str, arguments)])
        assert result.exit_code == code, result.stderr
        return result

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.jpg", "deep/bad.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.stem.encode())
    return tmp_path / "photos"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_predicted_and_bad_inputs_are_named(run, server, photos, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    out = tmp_path / "out.csv"

    result = run("predict", "pets", photos, "-o", out, code=6)

    assert rows_of(out) == [
        {"input": str(photos / "a.jpg"), "predicted_label": "a", "probability": "0.75"},
        {"input": str(photos / "b.jpg"), "predicted_label": "b", "probability": "0.75"},
    ]
    assert f"Wrote 2 predictions to {out}." in result.stderr
    assert f"error: {photos}/deep/bad.jpg: Expected an image. Received: bytes." in result.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.csv", "photos"]


def test_a_file_in_the_folder_of_the_inputs_is_not_an_input(run, server, photos, monkeypatch):
    server.standing["Predict"] = predicted
    monkeypatch.chdir(photos)
    for output in ("out.csv", photos / "out.csv"):
        run("predict", "pets", ".", "-o", output)

        assert [row["input"] for row in rows_of(photos / "out.csv")] == ["a.jpg", "b.jpg", "deep/bad.jpg"]


def test_the_predictions_do_not_replace_their_inputs(run, tmp_path):
    (tmp_path / "l.csv").write_text("text\na joy\n")

    said = run("predict", "reviews", tmp_path / "l.csv", "-o", tmp_path / "l.csv", code=2).stderr

    assert said == f"error: {tmp_path / 'l.csv'} is an input. Write the predictions to another file\n"
    assert (tmp_path / "l.csv").read_text() == "text\na joy\n"


def test_a_folder_is_shown_as_a_table_without_a_file(run, server, photos):
    server.standing["Predict"] = predicted_unless_bad
    result = run("predict", "pets", photos, photos / "a.jpg", code=6)
    assert result.stdout.count("a.jpg") == 2
    document = json.loads(run("predict", "pets", photos, "--json", code=6).stdout)
    predictions = document["results"][0]["predictions"]
    labels = {
        Path(name).name: each.get("label") for name, each in zip(document["inputs"], predictions, strict=True)
    }
    assert labels == {"a.jpg": {"className": "a"}, "b.jpg": {"className": "b"}, "bad.jpg": None}
    (fault,) = document["faults"]
    assert document["inputs"][fault["index"]] == str(photos / "deep" / "bad.jpg")
    assert fault["reason"] == "ERROR_REASON_UNDECODABLE_INPUT"


def test_an_archive_that_is_named_as_an_array_is_skipped(run, server, tmp_path):
    for name, save in (("a.npy", np.save), ("b.npy", np.savez), ("c.npy", np.save)):
        with (tmp_path / name).open("wb") as file:
            save(file, np.zeros(2))

    result = run(
        "predict", "m", *(tmp_path / f"{name}.npy" for name in "abc"), "-o", tmp_path / "o.csv", code=6
    )

    assert len(rows_of(tmp_path / "o.csv")) == 2
    assert f"error: {tmp_path}/b.npy: a file of one numpy array is expected" in result.stderr


def test_the_first_bad_input_may_end_it(run, server, photos, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    result = run("predict", "pets", photos, "-o", tmp_path / "out.csv", "--errors", "fail", code=1)
    assert result.stderr.splitlines()[-1].startswith(f"error: {photos}/deep/bad.jpg: Expected an image.")
    assert not (tmp_path / "out.csv").exists()


def test_only_bad_inputs_are_a_failure(run, server, photos, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    result = run("predict", "pets", photos / "deep", photos / "deep" / "bad.jpg", "-o", "out.csv", code=1)
    assert "(2 of 2 inputs cannot be used.)" in result.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"There are no inputs in {empty}" in run("predict", "pets", empty, "-o", "out.csv", code=2).stderr


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_table_keeps_its_columns(run, tmp_path, suffix):
    table = tmp_path / "rows.csv"
    table.write_text('review,key\n"good, really",1\nbad,2\n')
    out = tmp_path / f"out.{suffix}"

    run("predict", "reviews", table, "--text-column", "review", "-o", out)

    if suffix == "jsonl":
        first = json.loads(out.read_text().splitlines()[0])
        assert first["row"] == {"review": "good, really", "key": "1"}
        assert (first["input"], first["label"]) == (f"{table}, line 2", {"className": "good, really"})
        return
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab" if suffix == "tsv" else "excel"))
    assert rows[0] == {
        "review": "good, really",
        "key": "1",
        "predicted_label": "good, really",
        "probability": "0.75",
    }


def test_rows_of_numbers_without_their_label_are_inputs(run, server, tmp_path):
    table = tmp_path / "iris.csv"
    table.write_text("a,b,kind\n1,2.5,x\n3,4,y\n")
    run("predict", "iris", table, "--label-column", "kind", "-o", tmp_path / "out.csv")
    run("predict", "iris", table, "--feature-columns", "b, a", "-o", "-")
    first, second = server.requests["Predict"]
    assert [list(each.tensor.shape) for each in first.inputs] == [[2], [2]]
    assert first.inputs[0].tensor.data != second.inputs[0].tensor.data
    assert [each["kind"] for each in rows_of(tmp_path / "out.csv")] == ["x", "y"]


def test_predictions_can_be_piped(run, photos):
    lines = run("predict", "pets", photos / "a.jpg", "-o", "-").stdout.splitlines()
    assert lines == ["input,predicted_label,probability", f"{photos / 'a.jpg'},a,0.75"]
    line = json.loads(run("predict", "pets", photos / "a.jpg", "-o", "-", "--json").stdout)
    assert line["label"] == {"className": "a"}


@pytest.mark.parametrize("output", ["-", "out.csv"])
def test_a_table_says_of_each_input_whether_it_is_unknown(run, server, monkeypatch, tmp_path, output):
    def unknown_dog(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)  # without a typicality, as versions with few examples
        for sent, each in zip(request.inputs, response.results[0].predictions, strict=True):
            each.abstained = sent.text == "dog"
        return response

    server.standing["Predict"] = unknown_dog
    monkeypatch.chdir(tmp_path)
    arguments = ["predict", "m", "--text", "cat", "dog", "-o", output]

    for options, column in ((["--abstain", "--min-probability", "0.9"], True), ([], False)):
        printed = run(*arguments, *options).stdout
        lines = (printed if output == "-" else (tmp_path / output).read_text()).splitlines()
        if column:
            assert lines == [
                "input,predicted_label,probability,unknown",
                "cat,cat,0.75,false",
                "dog,dog,0.75,true",
            ]
        else:
            assert lines == ["input,predicted_label,probability", "cat,cat,0.75", "dog,dog,0.75"]


def test_rows_with_other_columns_are_not_cut_on_stdout(run, photos, tmp_path):
    (tmp_path / "rows.csv").write_text("text,key\na joy,7\n")
    arguments = ["predict", "m", photos / "a.jpg", tmp_path / "rows.csv", "-o"]

    result = run(*arguments, "-", code=2)
    lines = run(*arguments, "-", "--json").stdout.splitlines()
    run(*arguments, tmp_path / "out.csv")

    assert f"{tmp_path}/rows.csv, line 2 has columns that the first input lacks: text, key." in result.stderr
    assert json.loads(lines[1])["row"] == {"text": "a joy", "key": "7"}
    assert [row["key"] for row in rows_of(tmp_path / "out.csv")] == ["", "7"]


def test_an_input_that_is_given_twice_has_two_rows(run, server, tmp_path):
    out = tmp_path / "out.csv"
    assert "Wrote 3 predictions" in run("predict", "m", "--text", "good", "bad", "good", "-o", out).stderr
    summary = run("predict", "m", "--text", "good", "bad", "good", "-o", out, "--json").stdout
    assert json.loads(summary)["predictions"] == len(rows_of(out)) == 3

    many = ["predict", "m", "--text", *["same"] * 1000, "-o", out]
    server.script("Predict", server.standing["Predict"], LOST)
    assert "256 predictions kept" in run(*many, code=1).stderr
    assert "Continuing after 256 predictions" in run(*many).stderr
    assert len(rows_of(out)) == 1000


def test_a_busy_server_is_waited_for(run, server, photos, tmp_path):
    server.script("Predict", BUSY, BUSY)
    run("predict", "pets", photos, "-o", tmp_path / "out.csv")
    assert len(rows_of(tmp_path / "out.csv")) == 3


def test_regressions_and_several_labels_have_columns_of_their_own(run, server, photos, tmp_path):
    def answer(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.results[0].task = input_pb2.TASK_REGRESSION
        for each in response.results[0].predictions:
            del each.classes[:]
            each.label.number, each.interval_low, each.interval_high = 2.5, 1, 4
        return response

    def several(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.results[0].task = input_pb2.TASK_MULTI_LABEL
        for each in response.results[0].predictions:
            each.label.classes.class_names.extend(one.name for one in each.classes)
            for one in each.classes:
                one.selected = True
        return response

    out = tmp_path / "out.csv"
    server.standing["Predict"] = answer
    run("predict", "pets", photos / "a.jpg", "-o", out)
    (row,) = rows_of(out)
    assert (row["predicted_value"], row["interval_low"], row["interval_high"]) == ("2.5", "1.0", "4.0")
    server.standing["Predict"] = several
    run("predict", "pets", photos / "a.jpg", "-o", out)  # replaces what another command wrote
    assert rows_of(out)[0]["predicted_labels"] == "a|other"


def long_table(folder: Path, count: int = 1100) -> Path:
    table = folder / "rows.csv"
    table.write_text("text\n" + "".join(f"row {place}\n" for place in range(count)))
    return table


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "-", None])
def test_names_of_files_need_not_be_utf_8(run, server, photos, tmp_path, monkeypatch, output):
    # A table cuts long paths.
    monkeypatch.setenv("COLUMNS", "300")
    server.standing["Predict"] = predicted_unless_bad
    for name, content in ((b"caf\xe9.jpg", b"cat"), (b"bad\xe9.jpg", b"bad")):
        (photos / os.fsdecode(name)).write_bytes(content)
    out = tmp_path / "out.csv" if output is None else tmp_path / output
    arguments = [] if output is None else ["-o", "-" if output == "-" else out]

    result = run("predict", "pets", photos, *arguments, code=6)
    document = run("predict", "pets", photos, *arguments, "--json", code=6).stdout

    written = out.read_text(encoding="utf-8") if out.exists() else result.stdout
    assert f"{photos}/caf?.jpg" in written
    assert "\ufffd" not in written
    assert f"error: {photos}/bad?.jpg: Expected an image." in result.stderr
    if output != "-":
        faults = json.loads(document)["faults"]
        assert f"{photos}/bad?.jpg: Expected an image. Received: bytes." in [
            each["message"] for each in faults
        ]


def test_an_interrupted_run_continues_after_names_that_are_not_utf_8(run, server, tmp_path):
    folder, out = tmp_path / "folder", tmp_path / "out.csv"
    folder.mkdir()
    for place in range(300):
        (folder / os.fsdecode(b"%d\xe9.jpg" % place)).write_bytes(b"%d" % place)
    server.script("Predict", server.standing["Predict"], LOST)

    assert "256 predictions kept" in run("predict", "m", folder, "-o", out, code=1).stderr
    run("predict", "m", folder, "-o", out)

    expected = {(f"{folder}/{place}?.jpg", str(place)) for place in range(300)}
    assert {(row["input"], row["predicted_label"]) for row in rows_of(out)} == expected
    assert sum(len(each.inputs) for each in server.requests["Predict"]) == 300 + 44


def test_an_interrupted_run_continues_with_the_same_version(run, server, tmp_path):
    table, out = long_table(tmp_path), tmp_path / "out.csv"
    steps = [server.standing["Predict"]] * 2
    server.script("Predict", *steps, LOST)

    assert (
        "512 predictions kept. Run the command again" in run("predict", "m", table, "-o", out, code=1).stderr
    )
    assert not out.exists()
    before = len(server.requests["Predict"])
    result = run("predict", "m", table, "-o", out)

    assert "Continuing after 512 predictions of an interrupted run." in result.stderr
    again = server.requests["Predict"][before:]
    assert sum(len(request.inputs) for request in again) == 1100 - 512
    assert again[0].targets[0].version == 3
    assert [row["predicted_label"] for row in rows_of(out)] == [f"row {place}" for place in range(1100)]
    assert not out.with_name("out.csv.partial").exists()


def test_another_command_does_not_continue(run, server, tmp_path):
    table, out = long_table(tmp_path, 300), tmp_path / "out.csv"
    server.script("Predict", server.standing["Predict"], LOST)
    run("predict", "m", table, "-o", out, code=1)
    result = run("predict", "other", table, "-o", out)
    assert "Continuing" not in result.stderr
    assert len(rows_of(out)) == 300


def test_a_changed_table_is_predicted_from_its_start(run, server, tmp_path):
    table, out = long_table(tmp_path, 300), tmp_path / "out.csv"
    server.script("Predict", server.standing["Predict"], LOST)
    run("predict", "m", table, "-o", out, code=1)
    new = ["inserted", *(f"new {place}" for place in range(300))]
    table.write_text("\n".join(["text", *new]))

    result = run("predict", "m", table, "-o", out)

    assert "Starting again: the command or a file changed after the interrupted run." in result.stderr
    assert [row["predicted_label"] for row in rows_of(out)] == new


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_changed_image_is_predicted_again(run, server, tmp_path, is_listed, is_replaced):
    folder, out = tmp_path / "images", tmp_path / "out.csv"
    folder.mkdir()
    images = [folder / f"{place:03}.jpg" for place in range(300)]
    for place, image in enumerate(images):
        image.write_bytes(b"old %d" % place)
    source = tmp_path / "images.csv" if is_listed else folder
    if is_listed:
        source.write_text("\n".join(["path", *map(str, images)]))
    server.script("Predict", server.standing["Predict"], LOST)
    run("predict", "m", source, "-o", out, code=1)
    changed, unchanged = images[7], images[8].stat()
    if is_replaced:
        changed.write_bytes(b"new 7")
        os.utime(changed, ns=(unchanged.st_atime_ns, unchanged.st_mtime_ns + 10**9))
    else:
        changed.unlink()

    result = run("predict", "m", source, "-o", out, code=6 if is_listed and not is_replaced else 0)

    assert "Starting again" in result.stderr
    labels = [row["predicted_label"] for row in rows_of(out)]
    expected = [f"old {place}" for place in range(300)]
    expected[7:8] = ["new 7"] if is_replaced else []
    assert labels == expected


def test_a_table_that_is_missing_for_a_moment_keeps_the_predictions(run, server, tmp_path):
    table, out = long_table(tmp_path, 300), tmp_path / "out.csv"
    server.script("Predict", server.standing["Predict"], LOST)
    run("predict", "m", table, "-o", out, code=1)
    moved = table.rename(tmp_path / "moved.csv")

    assert f"No such file or directory: {table}" in run("predict", "m", table, "-o", out, code=2).stderr

    moved.rename(table)
    assert "Continuing after 256 predictions" in run("predict", "m", table, "-o", out).stderr


def test_inputs_from_stdin_are_never_continued(server, tmp_path):
    out, folder = tmp_path / "out.csv", tmp_path / "images"
    folder.mkdir()
    for place in range(300):
        (folder / f"{place}.jpg").write_bytes(b"%d" % place)
    arguments = ["--server", server.target, "predict", "m", "-", str(folder), "-o", str(out)]
    server.script("Predict", server.standing["Predict"], LOST)

    interrupted = CliRunner().invoke(app, arguments, input=b"old")
    result = CliRunner().invoke(app, arguments, input=b"new")

    assert interrupted.exit_code == 1
    assert "kept" not in interrupted.stderr
    assert result.exit_code == 0, result.stderr
    assert rows_of(out)[0] == {"input": "-", "predicted_label": "new", "probability": "0.75"}
    assert len(rows_of(out)) == 301


def test_predictions_of_a_deleted_version_do_not_block_later_runs(run, server, tmp_path):
    table, out = long_table(tmp_path, 300), tmp_path / "out.csv"
    deleted = Fault(code=grpc.StatusCode.NOT_FOUND, message="m has no version 3.", reason="VERSION_NOT_FOUND")
    server.script("Predict", server.standing["Predict"], LOST, deleted)
    run("predict", "m", table, "-o", out, code=1)

    result = run("predict", "m", table, "-o", out, code=4)

    assert "256 predictions of the deleted version 3 discarded." in result.stderr
    assert "again to continue" not in result.stderr
    before = len(server.requests["Predict"])
    run("predict", "m", table, "-o", out)
    assert not server.requests["Predict"][before].targets[0].version
    assert len(rows_of(out)) == 300


@pytest.mark.parametrize("output", ["out.csv", "-"])
def test_a_carriage_return_in_a_cell_does_not_end_a_row(run, tmp_path, output):
    table, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    table.write_bytes(b'text,note\na joy,"first\rsecond"\nboring,\n')

    printed = run("predict", "m", table, "-o", out if output == "out.csv" else "-").stdout_bytes

    written = out.read_bytes() if output == "out.csv" else printed
    rows = list(csv.DictReader(io.StringIO(written.decode(), newline="")))
    assert [(row["note"], row["predicted_label"]) for row in rows] == [
        ("first\rsecond", "a joy"),
        ("", "boring"),
    ]
    assert b"\r\n" not in written


def test_a_row_that_was_cut_off_is_predicted_again(run, server, tmp_path):
    table, out = long_table(tmp_path, 300), tmp_path / "out.csv"
    partial = out.with_name("out.csv.partial")
    server.script("Predict", server.standing["Predict"], LOST)
    run("predict", "m", table, "-o", out, code=1)
    partial.write_bytes(partial.read_bytes()[:-7])

    result = run("predict", "m", table, "-o", out)

    assert "Continuing after 255 predictions" in result.stderr
    assert [row["predicted_label"] for row in rows_of(out)] == [f"row {place}" for place in range(300)]


def test_a_killed_run_continues(run, server, tmp_path):
    table, out = long_table(tmp_path), tmp_path / "out.csv"
    killed: list[subprocess.Popen[bytes]] = []

    def kill(request: predicting.PredictRequest) -> predicting.PredictResponse:
        os.kill(killed[0].pid, signal.SIGKILL)
        return predicted(request)

    server.script("Predict", *[server.standing["Predict"]] * 3, kill)
    server.standing["Predict"] = kill  # should gRPC repeat the call
    arguments = [*COMMAND, "--server", server.target, "predict", "m", str(table), "-o", str(out)]
    # The child waits for a line, so that its number is known before it sends anything.
    child = ["sh", "-c", 'read line; exec "$@"', "sh", *arguments]
    killed.append(subprocess.Popen(child, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))
    killed[0].communicate(b"\n")
    assert killed[0].returncode == -signal.SIGKILL
    assert not out.exists()
    server.standing["Predict"] = predicted

    result = run("predict", "m", table, "-o", out)

    assert "Continuing after 768 predictions" in result.stderr
    assert [row["predicted_label"] for row in rows_of(out)] == [f"row {place}" for place in range(1100)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg", "-o", "out.xlsx"], "a file that ends in .csv, .tsv, .jsonl, or to -"),
        (["a.jpg", "-o", "out.csv", "--saliency", "a.png"], "cannot be combined with --output"),
        (["nothing here"], "error: No such file (a text needs --text): nothing here"),
        (["word " * 100], "No such file (a text needs --text)"),
        (["a.jpg", "--errors", "ignore"], "'ignore'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(run, arguments, message):
    assert message in run("predict", "pets", *arguments, code=2).stderr
