"""Inputs in the forms of other libraries, and the errors of inputs that cannot be used."""

import io
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart import URL, Text
from headstart.inputs import tensors
from headstart.inputs.contents import MAX_INPUT_BYTES, input_message

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def array_of(content: object) -> np.ndarray:
    return tensors.decode(input_message(content).tensor)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "HSV", "I;16", "F"])
def test_an_image_of_pillow_is_sent_as_png(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert("L").convert(mode) if mode == "I;16" else None
    image = image or Image.fromarray(PIXELS).convert(mode)
    sent = Image.open(io.BytesIO(input_message(image).image))
    assert (sent.format, sent.size) == ("PNG", (5, 4))
    assert np.array_equal(np.asarray(sent.convert("RGB")), np.asarray(image.convert("RGB")))


def test_an_image_of_pillow_keeps_the_orientation_of_its_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", exif=exif)
    sent = Image.open(io.BytesIO(input_message(Image.open(file)).image))
    assert sent.getexif()[0x0112] == 6


def test_an_open_file_is_read() -> None:
    assert input_message(io.BytesIO(b"image")).image == b"image"
    assert input_message(io.StringIO("a text")).text == "a text"


def test_an_open_file_at_its_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        file.read()
        with pytest.raises(ValueError, match=r"a\.jpg is empty, or was read to its end before\. Use seek"):
            input_message(file)


def test_rows_of_other_libraries_are_arrays() -> None:
    pandas = pytest.importorskip("pandas")
    torch = pytest.importorskip("torch")
    assert array_of(pandas.Series([1.5, 2.0])).tolist() == [1.5, 2]
    assert array_of(pandas.Series([1, 2], dtype="Int64")).tolist() == [1, 2]
    assert array_of(torch.tensor([1.5, 2.0], requires_grad=True)).tolist() == [1.5, 2]
    assert array_of([1, 2.5]).tolist() == [1, 2.5]
    assert array_of(np.array([True, False])).tolist() == [1, 0]
    assert array_of(np.array([1, 2], np.int16)).tolist() == [1, 2]


def test_an_image_of_torch_is_turned_into_pixels() -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert np.array_equal(array_of(image), PIXELS)
    assert np.array_equal(array_of(image.float() / 255), PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PIXELS / 255, r"uint8, 0 to 255\. Received: float64 of shape \[4, 5, 3\].*\(x \* 255\)\.astype"),
        (PIXELS.astype(np.float32), r"Convert them: x\.astype"),
        (URL("file:///etc/passwd"), "A URL must begin with http:// or https://"),
        (b"x" * (MAX_INPUT_BYTES + 1), r"the bytes is too large: 64\.0 MiB, at most 64 MiB"),
        (Text("\ud800"), r"A text must be valid Unicode\. Received: '\\ud800'"),
    ],
)
def test_a_content_that_cannot_be_sent_names_the_remedy(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        input_message(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, r"must be a path, bytes.*Received: int\. One row of features is a numpy array"),
        (np.float64(3), "One row of features is a numpy array"),
        (None, "Received: NoneType"),
        (["a.jpg"], "Received: list"),
    ],
)
def test_a_value_that_is_no_content_names_the_remedy(content: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        input_message(content)


def test_a_series_of_texts_is_not_one_input() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"Received: Series of .*Give texts as texts="):
        input_message(pandas.Series(["a", "b"]))


@pytest.mark.parametrize("text", [float("nan"), None, 3])
def test_a_text_that_is_no_str_is_refused_when_it_is_made(text: object) -> None:
    with pytest.raises(TypeError, match=f"A text must be a str. Received: {text}"):
        Text(text)  # type: ignore[arg-type]


def test_an_empty_cell_of_a_data_frame_is_explained() -> None:
    with pytest.raises(TypeError, match="Drop empty cells first"):
        Text(float("nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["word " * 1000, "two\0parts", "https://example.org/cat.jpg", "a/b" * 90])
def test_a_text_or_url_that_is_given_as_a_path_gets_a_hint(text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"wrap a (text|URL) as headstart\.(Text|URL)") as caught:
        input_message(text)
    assert len(str(caught.value)) < 400


def test_a_file_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "a.txt"
    latin.write_bytes("one\ntwo é\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt, line 2: the text is not UTF-8\. Save it as UTF-8"):
        input_message(latin)
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(70_000_000)
    with pytest.raises(ValueError, match=r"large\.jpg is too large: 66\.8 MiB, at most 64 MiB"):
        input_message(large)
    with pytest.raises(IsADirectoryError, match=r"Expected a file\. This is a folder"):
        input_message(tmp_path)


def _npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, PIXELS)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        _npz(),
        _npz()[:100],
        _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (3"),
        _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}"),
        _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}"),
        _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000,)}"),
        _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
    ],
    ids=[
        "empty",
        "text",
        "archive",
        "half an archive",
        "half a header",
        "huge",
        "endless",
        "short",
        "objects",
    ],
)
def test_a_file_of_another_or_of_no_array_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: a file of one numpy array is expected"):
        input_message(tmp_path / "a.npy")


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        contents = {"/cat.jpg": b"image", "/note.txt": b"a text"}
        content = contents.get(self.path.partition("?")[0])
        self.send_response(200 if content else 404)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def website() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_downloaded_by_the_client(website: str) -> None:
    assert input_message(URL(f"{website}/cat.jpg?size=3")).image == b"image"
    assert input_message(URL(f"{website}/note.txt")).text == "a text"
    with pytest.raises(OSError, match=r"HTTP status 404: .*/nothing"):
        input_message(URL(f"{website}/nothing"))


def test_a_url_that_does_not_answer_is_named() -> None:
    with pytest.raises(OSError, match=r"The URL cannot be read: .*127\.0\.0\.1:1/"):
        input_message(URL("http://127.0.0.1:1/cat.jpg"))


def test_a_url_of_a_server_that_does_not_speak_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"\x1b[2J nonsense\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match=r"The URL cannot be read: \[2J nonsense.*/cat\.jpg"):
            input_message(URL(f"http://127.0.0.1:{server.getsockname()[1]}/cat.jpg"))
        thread.join()


def test_an_image_that_is_open_in_text_mode_gets_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.fromarray(PIXELS).save(path)

    with (
        path.open(encoding="utf-8") as file,
        pytest.raises(ValueError, match="is open in text mode") as caught,
    ):
        input_message(file)

    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith("Open an image with open(path, 'rb')")
