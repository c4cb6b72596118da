"""What the parts of the comparison agree on: the names of variants, and where their files lie."""

from pathlib import Path

SIDE = 224
CLASSES = 10


def names(count: int) -> list[str]:
    """The names of so many variants, all of one length."""
    return [f"variant-{number:03}" for number in range(count)]


def body_path(folder: Path) -> Path:
    """The body that all variants share, as a Keras file: images in -1 to 1 in, pooled features out."""
    return folder / "body.keras"


def expected_path(folder: Path) -> Path:
    """What each variant has to answer to the first image, by its name."""
    return folder / "expected.json"
