"""The objects that capture inputs of predictions and list them for review."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headstart_server.capture.batches import BatchFiles
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_inputs import CapturedInputs, CapturedThumbnails
from headstart_server.capture.input_capture import InputCapture
from headstart_server.capture.prediction_ids import PredictionIds
from headstart_server.capture.review_lists import ReviewLists
from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.capture.selection import CaptureSelector
from headstart_server.database.database import Database
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models.registry import Registry
from headstart_server.observability.telemetry import Telemetry
from headstart_server.storage.thumbnail_store import ThumbnailStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Captures:
    """The captured inputs of a server."""

    inputs: InputCapture  # stores the inputs of predictions in the background
    stored: CapturedInputs  # finds stored inputs
    thumbnails: CapturedThumbnails
    review_lists: ReviewLists
    ranking: ReviewRanking  # ranks the inputs of review lists


def open_captures(
    database: Database,
    files: BatchFiles,
    registry: Registry,
    tenant_limits: Callable[[str], TenantLimits],
    telemetry: Telemetry,
    *,
    images: ThumbnailStore,
    max_pixels: int,
) -> Captures:
    """Return the captured inputs of a server.

    Args:
        images: stores the thumbnails of captured images.
        max_pixels: maximum pixels of an image that gets a thumbnail.
    """
    selector = CaptureSelector(registry, np.random.default_rng().random)
    ids = PredictionIds(registry.index.now)
    store = CaptureStore(database, files, tenant_limits)
    inputs = InputCapture(registry.index, selector, store, telemetry, ids=ids)
    stored = CapturedInputs(database, files, settle=inputs.settle, may_arrive=ids.may_arrive)
    ranking = ReviewRanking(registry, stored, files)
    return Captures(
        inputs=inputs,
        stored=stored,
        thumbnails=CapturedThumbnails(stored, images, max_pixels=max_pixels),
        review_lists=ReviewLists(database, registry, stored, ranking),
        ranking=ranking,
    )
