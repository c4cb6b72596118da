"""Saliency of the parts of an image: occlusion sensitivity (Zeiler and Fergus 2014, section 4.2).

Each part of the image, as preprocessed for the backbone, is covered in turn. The decrease of the score is the
part's contribution. It only needs passes of the network, so it works for every backbone, runtime and head.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.backbones.preprocessing.occlusion import Grid, Pixels, covered, overlay
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import stacked
from headstart_server.embedding.tails import with_tail
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.input_faults import gathered
from headstart_server.prediction.input_features import begin_tail, cuts_of
from headstart_server.prediction.predict_options import SaliencyOptions

#: Maximum rows that wait for the backbone at a time, because other Predicts wait behind them.
ROWS_AT_ONCE = 8
#: Seven by seven parts, each over its cell and its neighbors. docs/lab/heads.md has less accurate grids
#: and fillings.
GRID = Grid()
#: Minimum distance of probabilities from 0 and 1, so that their log odds stay finite.
_CERTAIN = 1e-7

#: From rows [n, height, width, 3] to a head's outputs [n, C].
Outputs = Callable[[Sequence[Pixels]], Awaitable[Float32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Saliency:
    """The saliency map of an image."""

    # decrease of the score when a part is covered, [rows, columns] over the square that the backbone
    # sees; negative if the part reduces the score
    values: Float32
    class_name: str  # the explained class; empty for regression
    overlay: bytes = b""  # the image with the map laid over it, as PNG; empty unless requested


def check_saliency(options: SaliencyOptions, version: ResidentVersion, embedder: Embedder) -> None:
    """Check that a version can have saliency maps.

    Raise InvalidField if its backbone does not accept images, or it has no such class.
    """
    if embedder.info.modality is not Modality.IMAGE:
        raise InvalidField(
            f"Expected saliency for a backbone that takes images. Received: '{embedder.info.name}', which "
            f"takes {embedder.info.modality.value}s.",
            field="saliency",
        )
    class_index(version.head, options.class_name)


async def saliency_maps(
    options: SaliencyOptions,
    version: ResidentVersion,
    embedder: Embedder,
    contents: Sequence[Content],
    deadline: float | None,
) -> list[Saliency]:
    """Return the maps of images, computed one after another in small batches: other calls run in between."""
    cuts = cuts_of([version]).get(version.backbone, frozenset())

    async def outputs(images: Sequence[Pixels]) -> Float32:
        rows = await gathered(embedder.predict_rows(images, deadline, cuts))
        begun = await begin_tail(version, embedder, rows, deadline)
        views = stacked(rows, version.head.views)
        return version.head.outputs(with_tail(views, await gathered(begun)) if begun else views)

    maps = []
    for content in contents:
        row = await asyncio.to_thread(embedder.decode, content)
        maps.append(await saliency_of(np.asarray(row, np.uint8), version.head, options, outputs))
    return maps


def class_index(head: Head, name: str) -> int | None:
    """Return the index of the requested class; None for each input's most probable class; 0 for regression.

    Raise InvalidField if the version has no such class.
    """
    if head.task is Task.REGRESSION:
        if name:
            raise InvalidField(
                f"Expected no class for a version that predicts a number. Received: {name[:80]!r}.",
                field="saliency.class_name",
            )
        return 0
    if not name:
        return None
    if name not in head.class_names:
        listed = ", ".join(map(repr, head.class_names[:20])) + (", ..." if len(head.class_names) > 20 else "")
        raise InvalidField(
            f"Expected a class of the version: {listed}. Received: {name[:80]!r}.",
            field="saliency.class_name",
        )
    return head.class_names.index(name)


async def saliency_of(
    image: Pixels, head: Head, options: SaliencyOptions, outputs: Outputs, grid: Grid = GRID
) -> Saliency:
    """Return the saliency of one image.

    Args:
        image: the preprocessed image, uint8 [height, width, 3].
        head: the head that predicts.
        options: the class, and whether to return an overlay.
        outputs: returns the head's outputs for rows.
        grid: the parts to cover.
    """
    whole = await outputs([image])
    index = class_index(head, options.class_name)
    index = int(whole[0].argmax()) if index is None else index
    # In threads: a blur takes milliseconds, an overlay 100 ms, and all other calls need the event loop.
    rows = await asyncio.to_thread(lambda: list(covered(image, grid)))
    predicted = [await outputs(part) for part in _in_parts(iter(rows), ROWS_AT_ONCE)]
    falls = _scores(head, whole, index) - _scores(head, np.concatenate(predicted), index)
    values = falls.reshape(grid.rows, grid.columns)
    return Saliency(
        values=values,
        class_name="" if head.task is Task.REGRESSION else head.class_names[index],
        overlay=await asyncio.to_thread(overlay, image, values) if options.overlay else b"",
    )


def _scores(head: Head, outputs: Float32, index: int) -> Float32:
    """Return the log odds of a class, or the numbers, [n]."""
    predicted = outputs[:, index]
    if head.task is Task.REGRESSION:
        return predicted
    sure = np.clip(predicted.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
    odds: Float32 = (np.log(sure) - np.log1p(-sure)).astype(np.float32)
    return odds


def _in_parts(rows: Iterator[Pixels], size: int) -> Iterator[list[Pixels]]:
    while part := list(islice(rows, size)):
        yield part
