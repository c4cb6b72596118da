"""JSON with long lists, written and read in parts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server import column_json
from headstart_server.column_json import dump_columns, load_columns

NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAME, inner),
    max_leaves=5,
)
#: Texts that look like the outline of the format.
HOSTILE = st.sampled_from(["[", "]", "],", "\n]", '"],\n"a": [', "[\n", '{"\\u0000": 0}', "é"])


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(NAME, st.tuples(st.lists(VALUE | HOSTILE), st.sampled_from([0, 1, 1024, 1025, 2500]))),
    st.dictionaries(NAME, VALUE | HOSTILE, max_size=3),
)
def test_the_values_come_back_and_are_json_to_every_reader(
    lists: dict[str, tuple[list[Any], int]], others: dict[str, Any]
) -> None:
    columns = {name: entries * (count // max(1, len(entries))) for name, (entries, count) in lists.items()}
    fields = {"first": others, **columns, "nested": {**others, **columns}, "last": [columns]}
    text = dump_columns(fields)
    assert json.loads(text) == fields
    assert load_columns(text.encode()) == fields
    assert load_columns(json.dumps(fields, ensure_ascii=False).encode()) == fields


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[\n",
        b"[\n1,\n2",
        b'{"a": [\n1 2\n]}',
        b'{"a": [\n[\n]\n]}',
        b'{"a": {"\\u0000": 0}}',
        b'{"a": {"\\u0000": "b"}}',
        b'{"a": {"\\u0000": -9}}',
        b'{"a": [\n1\n]',
    ],
)
def test_a_damaged_text_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_columns(text)


def test_no_part_of_a_large_document_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is kept for one call of `json` at a time."""
    sizes: list[int] = []

    class Counted:
        @staticmethod
        def dumps(*arguments: Any, **named: Any) -> str:
            text = json.dumps(*arguments, **named)
            sizes.append(len(text))
            return text

        @staticmethod
        def loads(text: bytes, **named: Any) -> Any:
            sizes.append(len(text))
            return json.loads(text, **named)

    monkeypatch.setattr(column_json, "json", Counted)
    names = [f"{place:064d}" for place in range(50_000)]
    fields = {"digest": names, "outcomes": {"labels": [[place] for place in range(50_000)]}}
    assert load_columns(dump_columns(fields).encode()) == fields
    assert max(sizes) < 100_000
