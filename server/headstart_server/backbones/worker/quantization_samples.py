"""Samples in installed packages, on which quantization is calibrated and proven.

Photographs and handwritten digits are part of scikit-learn, which NNCF requires. Texts are part of Python:
the first paragraphs of docstrings in its standard library, labeled with their packages.
"""

import ast
import io
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from headstart_server.backbones.contract.backbone import Content, Modality

#: Media types by the suffix of a sample's file.
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
#: Packages of the standard library that become classes; every installation of Python has them.
_PACKAGES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)
_TEXTS_PER_CLASS = 150


def calibration_contents(modality: Modality, folder: Path | None, count: int) -> list[Content]:
    """Return contents on which quantization is calibrated.

    Args:
        folder: folder whose files are read, with its subfolders; None for samples of packages.

    Raises:
        ValueError: the modality cannot be quantized, or the folder has no file of the modality.
        OSError: a file cannot be read.
    """
    if modality is Modality.TENSOR:
        raise ValueError("A backbone for tensors cannot be quantized. Choose one for images or texts.")
    if folder is not None:
        return [content for content, _ in labeled_files(modality, folder)][:count]
    if modality is Modality.TEXT:
        texts = [text for text, _ in _docstrings()]
        return list(texts[:: max(1, len(texts) // count)][:count])
    return list(_crops(count))


def labeled_contents(modality: Modality, folder: Path | None) -> tuple[str, list[tuple[Content, str]]]:
    """Return the name of a labeled dataset and its contents with their classes; see `calibration_contents`.

    With a folder, the classes are the names of its subfolders.
    """
    if folder is not None:
        return folder.name, labeled_files(modality, folder)
    if modality is Modality.TEXT:
        return "docstrings of Python", list(_docstrings())
    return "handwritten digits", list(_digits())


def labeled_files(modality: Modality, folder: Path) -> list[tuple[Content, str]]:
    """Return the images or texts of a folder in a fixed mixed order, each with the name of its folder."""
    suffixes = {".txt"} if modality is Modality.TEXT else _IMAGE_SUFFIXES
    paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in suffixes and each.is_file())
    if not paths:
        raise ValueError(
            f"{folder} has no {modality.value} files ({', '.join(sorted(suffixes))}). Choose another folder."
        )
    order = np.random.default_rng(0).permutation(len(paths))
    return [
        (
            each.read_text(encoding="utf-8") if modality is Modality.TEXT else each.read_bytes(),
            each.parent.name,
        )
        for each in (paths[place] for place in order)
    ]


def _crops(count: int) -> Iterator[bytes]:
    """Yield crops of photographs, of several scales and some mirrored."""
    photographs = load_sample_images().images
    rng = np.random.default_rng(0)
    for place in range(count):
        photograph = photographs[place % len(photographs)]
        height, width, _ = photograph.shape
        side = int(rng.integers(height // 4, height + 1))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        crop = photograph[top : top + side, left : left + side]
        yield _png(crop[:, ::-1] if rng.random() < 0.5 else crop)


def _digits() -> Iterator[tuple[bytes, str]]:
    digits = load_digits()
    for image, label in zip(digits.images, digits.target, strict=True):
        enlarged = np.kron((image * (255 / 16)).astype(np.uint8), np.ones((8, 8), np.uint8))
        yield _png(np.repeat(enlarged[:, :, None], 3, axis=2)), str(label)


def _docstrings() -> list[tuple[str, str]]:
    """Return the first paragraphs of docstrings in a fixed mixed order, each with its package."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[str, str]] = []
    for package in _PACKAGES:
        texts = sorted(
            {text for file in sorted((root / package).rglob("*.py")) for text in _paragraphs(file)}
        )
        found.extend(
            (text, package) for text in texts[:: max(1, len(texts) // _TEXTS_PER_CLASS)][:_TEXTS_PER_CLASS]
        )
    order = np.random.default_rng(0).permutation(len(found))
    return [found[place] for place in order]


def _paragraphs(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # files that test the parser
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if len(paragraph) >= 20:
                yield paragraph


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()
