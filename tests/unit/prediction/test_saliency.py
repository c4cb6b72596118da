"""Which parts speak for an answer: those whose loss lowers the score."""

import asyncio
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from fakes import make_head
from headstart_server.backbones.preprocessing.occlusion import Grid, Pixels, covered, overlay
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.prediction.predict_options import SaliencyOptions
from headstart_server.prediction.saliency import ROWS_AT_ONCE, class_index, saliency_of

HEAD = make_head(classes=2)
NUMBER = Head(
    views=("last",),
    weights=HEAD.weights[:, :1],
    bias=HEAD.bias[:1],
    calibration=Calibration(task=Task.REGRESSION),
    class_names=(),
)


def image(row: int = 1, column: int = 5) -> Pixels:
    """Grey with a bright spot in one cell of seven by seven."""
    pixels = np.full((70, 70, 3), 100, np.uint8)
    pixels[10 * row + 2 : 10 * row + 8, 10 * column + 2 : 10 * column + 8] = 250
    return pixels


class Brightness:
    """A network that reports the brightest pixel: as the probability of class 1, or as it is."""

    def __init__(self, *, number: bool = False) -> None:
        self.number = number
        self.batches: list[int] = []

    async def __call__(self, rows: Sequence[Pixels]) -> Float32:
        self.batches.append(len(rows))
        reported = np.array([row.max() for row in rows], np.float32)
        if self.number:
            return reported[:, None]
        share = reported / 256
        return np.stack([1 - share, share], axis=1)


async def test_the_part_whose_loss_lowers_the_score_most_is_highest() -> None:
    found = await saliency_of(image(), HEAD, SaliencyOptions(), Brightness(), Grid(reach=1.0))
    assert found.class_name == "class 1"
    assert found.values.dtype == np.float32
    assert np.unravel_index(found.values.argmax(), (7, 7)) == (1, 5)
    np.testing.assert_allclose(np.delete(found.values, 12), 0, atol=1e-6)
    assert found.overlay == b""


async def test_what_speaks_for_one_class_speaks_against_another() -> None:
    found = await saliency_of(image(), HEAD, SaliencyOptions(class_name="class 0"), Brightness())
    assert found.class_name == "class 0"
    assert found.values.min() < 0
    assert found.values.max() == 0


async def test_of_a_regression_the_number_falls() -> None:
    found = await saliency_of(image(), NUMBER, SaliencyOptions(), Brightness(number=True), Grid(reach=1.0))
    assert found.class_name == ""
    assert 50 < found.values.max() < 150


async def test_only_so_many_rows_wait_at_once() -> None:
    network = Brightness()
    await saliency_of(image(), HEAD, SaliencyOptions(), network)
    assert sum(network.batches) == 50
    assert max(network.batches) == ROWS_AT_ONCE


async def test_other_calls_get_their_turns_while_an_overlay_is_made() -> None:
    network, turns = Brightness(), 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += len(network.batches) == 8

    other = asyncio.create_task(take_turns())
    found = await saliency_of(image(), HEAD, SaliencyOptions(overlay=True), network)
    other.cancel()
    assert found.overlay.startswith(b"\x89PNG")
    assert turns > 10


def test_a_class_is_found_by_its_name_and_others_are_refused_with_those_there_are() -> None:
    assert class_index(HEAD, "class 1") == 1
    assert class_index(HEAD, "") is None
    assert class_index(NUMBER, "") == 0
    with pytest.raises(InvalidField, match=r"'class 0', 'class 1'.*'emu'"):
        class_index(HEAD, "emu")
    with pytest.raises(InvalidField, match="predicts a number"):
        class_index(NUMBER, "emu")


@pytest.mark.parametrize(("height", "width"), [(70, 70), (224, 224), (50, 90)])
def test_every_pixel_is_covered_and_the_rest_left_alone(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    changed = [np.any(row != pixels, axis=2) for row in covered(pixels, Grid())]
    assert len(changed) == 49
    assert np.mean(np.any(changed, axis=0)) > 0.99
    assert all(0 < one.mean() < 0.3 for one in changed)


def test_an_overlay_is_orange_where_it_speaks_for_and_blue_where_against() -> None:
    values = np.zeros((7, 7), np.float32)
    values[0, 0], values[6, 6] = 2.0, -1.0
    made = np.asarray(Image.open(io.BytesIO(overlay(np.full((224, 224, 3), 128, np.uint8), values))))
    assert made.shape == (448, 448, 3)
    red, _, blue = made[20, 20].astype(int)
    assert red > blue + 100
    red, _, blue = made[428, 428].astype(int)
    assert blue > red + 50
    assert np.ptp(made[224, 224].astype(int)) < 10


def test_an_overlay_of_a_flat_map_is_the_image_alone() -> None:
    made = overlay(np.full((224, 224, 3), 128, np.uint8), np.zeros((7, 7), np.float32))
    assert np.ptp(np.asarray(Image.open(io.BytesIO(made)))) == 0
