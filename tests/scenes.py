"""A made image in which no corner, side or color is like another, and what to do with it."""

import io
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards, blue is high in the upper left quarter: no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    blue = np.where((y < height / 2) & (x < width / 2), 230, 20)
    return np.stack([255 * x / width, 255 * y / height, blue], axis=-1).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a file of one kind, with Pillow's options for it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean absolute difference."""
    return float(np.abs(one.astype(int) - other).mean())


def memory_of_decoding(data: bytes, *, max_pixels: int = 64_000_000) -> int:
    """Bytes by which a new process grows at most while it decodes or refuses an image."""
    code = """
import pathlib, sys
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.errors import InputTooLarge, UndecodableInput
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
data, before = sys.stdin.buffer.read(), peak()
try:
    ImageDecoder(224, max_pixels=int(sys.argv[1])).decode(data)
except (InputTooLarge, UndecodableInput):
    pass
print(peak() - before)
"""
    command = [sys.executable, "-c", code, str(max_pixels)]
    return int(subprocess.run(command, input=data, capture_output=True, check=True).stdout)
