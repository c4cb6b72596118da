"""JSON that is read a token at a time: as Python's reader, and within limits."""

import asyncio
import gc
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http import json_text
from headstart_server.api.http.json_text import (
    FEW_VALUES,
    MAX_DEPTH,
    MAX_VALUES,
    in_json_thread,
    load_json,
    load_row,
)
from headstart_server.api.http.long_strings import LongString

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
#: Characters as strings of JSON may have them.
PAIR = r"\ud83d\ude00"
ESCAPED = [r"\n", r"\"", r"\\", r"\/", r"\u00e9", PAIR, PAIR[:6], PAIR[6:], "é", "😀", "a" * 100]
LARGE = json_text.SMALL_BYTES + 1


def escaped(text: str) -> str:
    """Return a text as it is within a string of JSON."""
    return json.dumps(text)[1:-1]


def padded(text: bytes) -> bytes:
    """Return the same JSON, too large for Python's reader."""
    return text + b" " * LARGE


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_it_reads_what_python_writes(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    assert load_json(padded(text)) == value


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='{}[],:"\\ntrue0-.eE \t', max_size=30).map(str.encode))
def test_it_takes_and_refuses_the_same_texts_as_python(text: bytes) -> None:
    def read(of: bytes) -> Any:
        try:
            return ("taken", load_json(of))
        except ValueError:
            return "refused"

    # Python has its words for numbers that JSON does not have.
    if b"NaN" not in text and b"Infinity" not in text:
        assert read(padded(text)) == read(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[" * 1000, f"nested more than {MAX_DEPTH}"),
        (b'{"a":' * 1000, f"nested more than {MAX_DEPTH}"),
        (b"[" * 100_000, f"nested more than {MAX_DEPTH}"),
        (b"[" + b"0," * (MAX_VALUES + 1), f"more than {MAX_VALUES} values"),
        (b"[" + b'"\\n",' * (MAX_VALUES + 1), f"more than {MAX_VALUES} values"),
        (b'["' + b'\\"' * (MAX_VALUES + 1), "end of a string"),
        (b'"a\\n\\"', "end of a string"),
        (b'"\\q"', "invalid .escape in a string"),
        (b'"\\u12G4"', "escape in a string"),
        (b'"\\n\x01"', "control character"),
        (b'"\\n\xc3"', "utf-8"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": 1 "b": 2}', "a comma"),
        (b"[1, 2", "a comma or the end"),
        (b"[1] 2", "the end"),
        (b"{1: 2}", "a name in quotes"),
        (b'"abc', "end of a string"),
        (b'"a\nb"', "control character"),
        (b"9" * 5000, "no JSON"),
    ],
)
def test_other_texts_are_refused_with_their_reason(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_json(padded(text))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(ESCAPED) | st.text(max_size=5).map(escaped), max_size=30), st.integers(1, 9000)
)
def test_a_long_string_of_escapes_is_read_as_python_reads_it(units: list[str], count: int) -> None:
    # Parts of the string end at different places of the unit.
    text = f'"{"".join(units) * (count // max(1, len(units)))}\\n"'.encode()
    value = json.loads(text)
    try:
        value.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            load_json(padded(text))
    else:
        assert load_json(padded(text)) == value


@pytest.mark.parametrize("text", [f'["{PAIR[:6]}"]', f'{{"{PAIR[6:]}": 1}}', f'"{PAIR[6:]}{PAIR[:6]}"'])
def test_half_of_a_surrogate_pair_is_refused_in_texts_of_any_size(text: str) -> None:
    for content in (text.encode(), padded(text.encode())):
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            load_json(content)
    backslash = rf'["\\{PAIR[1:6]}"]'.encode()
    assert load_json(backslash) == load_json(padded(backslash)) == ["\\ud83d"]


def test_a_repeated_key_among_many_is_found_in_time_of_their_number() -> None:
    class Counted(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    pairs = [(Counted(f"k{place}"), place) for place in range(1000)]
    with pytest.raises(ValueError, match="the key 'k999' twice"):
        json_text._object([*pairs, (Counted("k999"), 0)])
    assert Counted.compared < 10_000


@pytest.mark.parametrize("quotes", [1, MAX_VALUES + 1])
def test_a_text_may_have_many_escaped_quotes(quotes: int) -> None:
    assert load_json(padded(b'["' + b'\\"' * quotes + b'"]')) == ['"' * quotes]


@pytest.mark.parametrize("unit", ["a", "é", r"\n", r"\u00e9", PAIR, r"😀\n"])
def test_a_string_longer_than_a_text_is_a_long_string(unit: str) -> None:
    value = json.loads(f'"{unit}"')
    count = MAX_TEXT // len(value)
    text = load_json(f'"{unit * count}"'.encode())
    assert isinstance(text, str)
    assert len(text) == MAX_TEXT
    string = load_json(f'"{unit * (count + 1)}"'.encode())
    assert isinstance(string, LongString)
    assert string.content.decode() == value * (count + 1)


def test_large_values_are_short_in_errors() -> None:
    values = load_json(b'{"a": [' + b'"' + b"\x7f" * MAX_TEXT + b'"], "b": "' + b"A" * (5 * MAX_TEXT) + b'"}')
    assert len(f"{values} {values['a']} {values['b']}") < 100


SIZE = 16 << 20
#: Seconds of processor time between two turns of the event loop.
MOST_PAUSE = 0.05
COSTLY = {
    "one string": b'{"a": "' + b"a" * SIZE + b'"}',
    "escapes": b'{"a": "' + b"\\n" * (SIZE // 2) + b'"}',
    "characters of four bytes": b'{"a": "' + "😀".encode() * (SIZE // 4) + b'\\n"}',
    "surrogate pairs": b'{"a": "' + b"\\ud83d\\ude00" * (SIZE // 12) + b'"}',
    "broken escapes": b'{"a": "' + b"\\u" * (SIZE // 2) + b'"}',
    "escaped quotes": b'{"a": "' + b'\\"' * (SIZE // 2) + b'"}',
    "backslashes": b'{"a": "' + b"\\\\" * (SIZE // 2) + b'"}',
    "empty lists": b"[" + b"[]," * (SIZE // 3) + b"0]",
    "depth": b"[" * SIZE,
    "spaces": b" " * SIZE + b"0",
    "numbers": b"[" + b"1e1," * (SIZE // 4) + b"0]",
    "digits": b"1" * SIZE,
    "strings": b"[" + b'"",' * (SIZE // 3) + b"0]",
    "objects": b"[" + b'{"a":0},' * (SIZE // 8) + b"0]",
}


@pytest.mark.parametrize("count", [FEW_VALUES // 2, 2 * MAX_VALUES])
@pytest.mark.parametrize("value", [[], {}, 0, "a"])
def test_a_row_is_read_with_any_number_of_values_that_it_has_room_for(count: int, value: object) -> None:
    row = {"text": "a, [b] {c}", "more": [value] * count, "ü": 1.5}
    assert load_row(json.dumps(row) + "\n") == row


@pytest.fixture
def frozen_heap() -> None:
    """Keep the garbage collector from going through the objects of other tests, as the server does."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("kind", COSTLY)
async def test_the_most_costly_texts_leave_the_event_loop_its_turns(kind: str) -> None:
    text = COSTLY[kind]

    async def longest_pause(during: "asyncio.Task[Any]") -> float:
        longest, last = 0.0, time.process_time()
        while not during.done():
            await asyncio.sleep(0.001)
            # This process' own time: other programs may hold the cores.
            longest, last = max(longest, time.process_time() - last), time.process_time()
        return longest

    def read() -> None:
        try:
            load_json(text)
        except ValueError:
            return

    # Python's own reader holds the lock for a second or more. One long pause is noise of the machine.
    pauses: list[float] = []
    while len(pauses) < 3 and min(pauses, default=MOST_PAUSE) >= MOST_PAUSE:
        pauses.append(await longest_pause(asyncio.create_task(in_json_thread(read))))
    assert min(pauses) < MOST_PAUSE
