import numpy as np
import pytest

from headstart.inputs import tensors
from headstart.inputs.inputs import Text, input_message


def test_a_file_s_ending_determines_what_it_holds(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"image")
    (tmp_path / "a.txt").write_text("grüße", encoding="utf-8")
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.float32))

    assert input_message(tmp_path / "a.webp").image == b"image"
    assert input_message(tmp_path / "a.txt").text == "grüße"
    assert tensors.decode(input_message(tmp_path / "a.npy").tensor).tolist() == [0, 1, 2]


def test_a_pickle_in_an_array_s_file_is_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(ValueError, match="allow_pickle=False"):
        input_message(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_of_any_kind_are_an_image(content):
    assert input_message(content).image == b"x"


def test_a_text_is_a_text():
    assert input_message(Text("a.jpg")).text == "a.jpg"


def test_a_text_that_was_not_wrapped_gets_a_hint():
    with pytest.raises(FileNotFoundError, match=r"wrap a text as headstart\.Text.*what a nice day"):
        input_message("what a nice day")


def test_a_path_that_cannot_be_a_text_gets_no_hint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file: .*a\.jpg"):
        input_message(tmp_path / "a.jpg")
