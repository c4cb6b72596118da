"""Texts to rows of ids: each as long as it must be, and what is cut off is reported."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.processors import TemplateProcessing

from headstart_server.backbones.preprocessing.texts import CHARACTERS_PER_TOKEN, TextDecoder, lengths
from headstart_server.errors import UndecodableInput, WrongModality

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "##ish", "."]
PAD, UNKNOWN, BEGIN, END, RED, GREEN, ISH, DOT = range(len(WORDS))
MOST = 24


@pytest.fixture(scope="module")
def tokenizer() -> str:
    """A tokenizer of eight words, which says of truncation and padding what must not be heeded."""
    tokenizer = Tokenizer(WordPiece({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=7)
    return tokenizer.to_str()


@pytest.fixture(scope="module")
def decoder(tokenizer: str) -> TextDecoder:
    return TextDecoder(tokenizer, max_tokens=MOST)


def words(row: np.ndarray) -> list[int]:
    return [id for id in row.tolist() if id != PAD]


def test_a_text_becomes_its_ids_filled_up_to_the_shortest_length(decoder: TextDecoder) -> None:
    row = decoder.decode("Red greenish blue.")
    assert (row.dtype, row.shape) == (np.int32, (16,))
    assert words(row) == [BEGIN, RED, GREEN, ISH, UNKNOWN, DOT, END]
    assert row[7:].tolist() == [PAD] * 9


@pytest.mark.parametrize(("count", "length"), [(1, 16), (14, 16), (15, 24), (22, 24), (23, 24), (400, 24)])
def test_a_row_is_the_shortest_that_holds_the_text(decoder: TextDecoder, count: int, length: int) -> None:
    row = decoder.decode("red " * count)
    assert row.shape == (length,)
    # What ends a text is kept whatever is cut off.
    assert words(row) == [BEGIN, *[RED] * min(count, MOST - 2), END]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, (1,)),
        (16, (16,)),
        (17, (16, 17)),
        (256, (16, 32, 64, 128, 256)),
        (300, (16, 32, 64, 128, 256, 300)),
    ],
)
def test_lengths_are_powers_of_two_up_to_the_most_tokens(most: int, expected: tuple[int, ...]) -> None:
    assert lengths(most) == expected


def test_what_is_cut_off_is_reported_in_characters(decoder: TextDecoder) -> None:
    assert decoder.truncation("red " * 22) is None
    cut = decoder.truncation("red " * 23)
    assert cut is not None
    assert (cut.kept, cut.length) == (4 * 22 - 1, 4 * 23)


def test_characters_beyond_what_is_looked_at_are_reported_though_they_may_be_spaces(
    decoder: TextDecoder,
) -> None:
    looked_at = MOST * CHARACTERS_PER_TOKEN
    assert decoder.truncation("red" + " " * (looked_at - 3)) is None
    cut = decoder.truncation("red" + " " * looked_at)
    assert cut is not None
    assert (cut.kept, cut.length) == (3, looked_at + 3)


def test_a_text_of_megabytes_costs_what_its_beginning_does(decoder: TextDecoder) -> None:
    looked_at = MOST * CHARACTERS_PER_TOKEN
    text = "r" * (looked_at - 1) + " red" + " green" * 1_000_000
    # The one word before the end of what is looked at is unknown; nothing behind it is read.
    assert words(decoder.decode(text)) == [BEGIN, UNKNOWN, END]


@pytest.mark.parametrize("text", ["", " ", "\n\t  "])
def test_a_text_with_nothing_to_read_is_refused(decoder: TextDecoder, text: str) -> None:
    for look in (decoder.decode, decoder.truncation):
        if look is decoder.decode or len(text) > MOST - 2:
            with pytest.raises(
                UndecodableInput, match=r"Expected a text with something to read\. Received: "
            ):
                look(text)


def test_half_a_character_is_refused(decoder: TextDecoder) -> None:
    with pytest.raises(UndecodableInput, match="Expected a text of Unicode characters"):
        decoder.decode("red \ud800")


@pytest.mark.parametrize("content", [b"red", np.zeros(3, np.float32)])
def test_what_is_no_text_is_of_the_wrong_modality(decoder: TextDecoder, content: bytes | np.ndarray) -> None:
    with pytest.raises(WrongModality, match=r"Expected a text\. Received: "):
        decoder.decode(content)


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_decoded_alike_each_time_or_refused(text: str) -> None:
    decoder = DECODERS[0]
    try:
        row = decoder.decode(text)
    except UndecodableInput:
        assert not text.strip()
        return
    ids = words(row)
    assert ids[0] == BEGIN
    assert ids[-1] == END
    assert 3 <= len(ids) <= MOST
    assert len(row) in decoder.lengths
    # Padding is at the end alone: the network distinguishes it from text by its id.
    assert row[: len(ids)].tolist() == ids
    assert np.array_equal(decoder.decode(text), row)
    cut = decoder.truncation(text)
    if cut is not None:
        assert len(ids) == MOST
        assert 0 < cut.kept < cut.length == len(text)
        # What is kept is what is seen.
        assert np.array_equal(decoder.decode(text[: cut.kept]), row)


@pytest.mark.parametrize("text", ["red", "red " * 22, "red " * 23, "\u00e9 " * 40])
def test_a_row_and_its_truncation_take_one_tokenization(
    decoder: TextDecoder, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = decoder.decode(text), decoder.truncation(text)
    tokenized: list[str] = []

    class Counting:
        def encode(self, content: str) -> object:
            tokenized.append(content)
            return tokenizer.encode(content)

    tokenizer = decoder._tokenizer
    monkeypatch.setattr(decoder, "_tokenizer", Counting())
    row, truncation = decoder.decode_with_truncation(text)
    assert np.array_equal(row, expected[0])
    assert truncation == expected[1]
    assert tokenized == [text]


def test_many_threads_share_one_decoder(decoder: TextDecoder) -> None:
    texts = [f"{'red ' * (place % 30)}green" for place in range(200)]
    alone = [decoder.decode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decoder.decode, texts))
    assert all(map(np.array_equal, alone, together))


#: Hypothesis' tests take no fixture of a module by argument; this one is filled below.
DECODERS: list[TextDecoder] = []


@pytest.fixture(autouse=True, scope="module")
def _filled(decoder: TextDecoder) -> None:
    DECODERS[:] = [decoder]


def test_a_tokenizer_that_works_on_bytes_makes_several_tokens_of_a_character() -> None:
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({sign: id for id, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    decoder = TextDecoder(tokenizer.to_str(), max_tokens=16)
    text = "\N{GRINNING FACE}" * 10
    assert len(decoder.decode(text)) == 16
    cut = decoder.truncation(text)
    assert cut is not None
    assert (cut.kept, cut.length) == (4, 10)
    assert decoder.truncation("a" * 14) is None
