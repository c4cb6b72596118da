"""Sizes of the measurements."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What is measured.

    Attributes:
        solver: examples, features and classes of the head solver.
        fine_tunes: numbers of images.
        seconds: duration of each measurement of a rate.
        passes: passes in flight when the device alone is measured.
        callers: concurrent Predict calls.
        training_images: images of the fine-tunes that run while Predict is measured.
        image_size: width and height of the images in pixels.
    """

    solver: tuple[int, int, int]
    fine_tunes: tuple[int, ...]
    seconds: float
    passes: int
    callers: tuple[int, ...]
    training_images: int
    image_size: tuple[int, int]


FULL = Sizes(
    solver=(10_000, 2048, 100),
    fine_tunes=(2000, 10_000),
    seconds=6.0,
    passes=8,
    callers=(1, 8, 32),
    training_images=4000,
    image_size=(640, 480),
)
SMALL = Sizes(
    solver=(600, 64, 5),
    fine_tunes=(40, 80),
    seconds=1.0,
    passes=1,
    callers=(2,),
    training_images=60,
    image_size=(320, 240),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of a run.

    Attributes:
        sizes: what is measured.
        judged: whether goals are judged.
        folder: an empty folder, deleted afterwards.
        backbone: name of the backbone.
    """

    sizes: Sizes
    judged: bool
    folder: Path
    backbone: str

    def met(self, reached: bool) -> bool | None:
        """Return the verdict on a goal; None if goals are not judged."""
        return reached if self.judged else None
