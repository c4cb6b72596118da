"""Datasets that a list in a folder names: what comes of them, and each way to be refused."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import ManualClock
from headstart_server.api.grpc.messages.dataset_manifest import MAX_ROW, read_dataset_list
from headstart_server.datasets.uris import reader as reading
from headstart_server.datasets.uris.policy import DatasetUriPolicy
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.errors import (
    Cancelled,
    DatasetTooLarge,
    DataUnreadable,
    DeadlineExceeded,
    HeadstartError,
    InputTooLarge,
    InvalidField,
)
from headstart_server.learning.examples.dataset import Example


class Publisher:
    """A folder that may be read, with images, and a reader of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sets"
        self.clock = ManualClock()
        (self.folder / "images").mkdir(parents=True)
        for place in range(40):
            (self.folder / "images" / f"{place}.jpg").write_bytes(b"image %d" % place)
        (folder / "elsewhere.jpg").write_bytes(b"secret")
        self.reader = DatasetReader(
            DatasetUriPolicy([str(self.folder)]), read_dataset_list, max_input_bytes=100, clock=self.clock
        )

    def uri(self, content: str | bytes, name: str = "labels.csv") -> str:
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"file://{self.folder}/{name}"

    def read(self, content: str | bytes, name: str = "labels.csv") -> list[Example]:
        return list(self.reader.examples(self.uri(content, name), lambda: None))

    def refusal(self, content: str | bytes, name: str = "labels.csv") -> HeadstartError:
        with pytest.raises(HeadstartError) as caught:
            self.read(content, name)
        assert "secret" not in caught.value.message
        return caught.value


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    return Publisher(tmp_path)


def test_examples_come_in_the_order_of_the_list_with_all_it_says(publisher: Publisher) -> None:
    (publisher.folder / "a.txt").write_text("a text, grüß dich")
    rows = "".join(f"images/{place}.jpg,label {place % 3},id{place},yes,0.5\n" for place in range(40))
    found = publisher.read(f"path,label,id,held_out,weight\n{rows}a.txt,b,,,\n")
    assert [example.content for example in found[:40]] == [b"image %d" % place for place in range(40)]
    first, last = found[0], found[-1]
    assert (first.target.label, first.id, first.held_out, first.weight) == ("label 0", "id0", True, 0.5)
    assert (last.content, last.id, last.held_out, last.weight) == ("a text, grüß dich", "a.txt", False, 1.0)


def test_lists_of_json_name_uris_texts_and_every_kind_of_target(publisher: Publisher) -> None:
    uri = f"file://{publisher.folder}/images/3.jpg"
    (one,) = publisher.read(f'{{"path": "{uri}", "probabilities": {{"a": 0.25, "b": 0.75}}}}\n', "a.jsonl")
    assert (one.content, one.id, dict(one.target.shares)) == (b"image 3", uri, {"a": 0.25, "b": 0.75})
    (two,) = publisher.read('{"text": "t", "labels": ["a", "b"]}', "b.jsonl")
    assert (two.content, set(two.target.shares)) == ("t", {"a", "b"})
    (three,) = publisher.read("text\tvalue\nt\t1.5\n", "c.tsv")
    assert three.target.value == 1.5


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("../elsewhere.jpg,a", InvalidField, r"labels.csv, line 2: .*'\.\.'"),
        ("/etc/passwd,a", InvalidField, "line 2: .*empty"),
        ("file:///etc/passwd,a", InvalidField, "line 2: .*--allow-dataset-uri"),
        ("https://169.254.169.254/latest,a", InvalidField, "line 2: .*--allow-dataset-uri"),
        ("s3://bucket/a.jpg,a", InvalidField, "line 2: .*--allow-dataset-uri"),
        ("http://localhost/,a", InvalidField, "line 2: .*unknown scheme"),
        ("images/none.jpg,a", DataUnreadable, "line 2: .*none.jpg cannot be read: it is not there"),
        ("images,a", DataUnreadable, "line 2: .*not a file"),
        ("big.jpg,a", InputTooLarge, "line 2: .*101 bytes, more than 100"),
        ("bad.txt,a", InvalidField, "line 2: .*UTF-8"),
        ("link.jpg,a", DataUnreadable, "line 2: .*link"),
        ("images/1.jpg,", InvalidField, "line 2: a label is expected"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(
    publisher: Publisher, line: str, kind: type[HeadstartError], message: str
) -> None:
    (publisher.folder / "big.jpg").write_bytes(b"x" * 101)
    (publisher.folder / "bad.txt").write_bytes(b"\xff")
    (publisher.folder / "link.jpg").symlink_to(publisher.folder.parent / "elsewhere.jpg")
    error = publisher.refusal(f"path,label\n{line}\nimages/1.jpg,b\n")
    assert isinstance(error, kind)
    assert re.search(message, error.message)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("", "a.csv"),
        ("path,label\n", "a.parquet"),
        ("nothing,here\n1,2\n", "a.csv"),
        (b"\xff\xfe\x00", "a.csv"),
        ("[1, 2]\n", "a.jsonl"),
        ("[" * 100_000, "a.jsonl"),
        ('{"text": "t", "value": ' + "1" * 5000 + "}", "a.jsonl"),
        ('{"text": "t", "label": "\\ud800"}', "a.jsonl"),
        ('{"text": "\\ud800", "label": "a"}', "a.jsonl"),
        ('{"text": "t", "labels": ["a", "a"]}', "a.jsonl"),
        ('{"text": "t", "probabilities": {"\\ud800": 1}}', "a.jsonl"),
        ("text,label\n" + "a" * (MAX_ROW + 1), "a.csv"),
        # One row over many lines.
        ('text,label\n"' + "\n" * (MAX_ROW + 1), "a.csv"),
        ("text,label\n" + '"\n",' * (MAX_ROW // 4), "a.csv"),
    ],
)
def test_what_is_no_list_is_refused(publisher: Publisher, content: str | bytes, name: str) -> None:
    assert isinstance(publisher.refusal(content, name), InvalidField)


def test_a_list_has_bounds(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_MANIFEST_BYTES", 30)
    assert isinstance(publisher.refusal("path,label\n" + "a" * 40), DatasetTooLarge)


def test_a_list_that_is_not_there_is_reported(publisher: Publisher) -> None:
    uri = publisher.uri("path,label\n")
    (publisher.folder / "labels.csv").unlink()
    with pytest.raises(DataUnreadable, match=r"The list .* cannot be read: it is not there"):
        list(publisher.reader.examples(uri, lambda: None))


def test_reading_ends_when_its_time_is_over_or_its_caller_left(publisher: Publisher) -> None:
    rows = "".join(f"images/{place}.jpg,{place % 3}\n" for place in range(40))
    uri = publisher.uri(f"path,label\n{rows}")
    found = publisher.reader.examples(uri, lambda: None)
    next(found)
    publisher.clock.advance(reading.READ_SECONDS + 1)
    with pytest.raises(DeadlineExceeded, match="line 3 was not reached"):
        next(found)

    def left() -> None:
        raise Cancelled("The caller left.")

    with pytest.raises(Cancelled):
        next(publisher.reader.examples(uri, left))
