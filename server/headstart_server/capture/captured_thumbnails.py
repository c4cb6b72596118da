"""Thumbnails of captured inputs, which never outlive the inputs."""

from collections.abc import Collection

from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.capture.captured_input import CapturedInput, not_found_error
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.stored_example import decode
from headstart_server.storage.thumbnail_store import ThumbnailStore, check_side


class CapturedThumbnails:
    """Thumbnails of captured inputs, each made once and stored within a limit.

    Args:
        max_pixels: maximum pixels of an image that gets a thumbnail.
    """

    def __init__(self, inputs: CapturedInputs, store: ThumbnailStore, *, max_pixels: int) -> None:
        self._inputs = inputs
        self._store = store
        self._max_pixels = max_pixels

    def get(self, model: str, prediction_id: str, side: int) -> tuple[CapturedInput, bytes]:
        """Return a captured input and its thumbnail.

        Args:
            side: the longer side of the thumbnail in pixels.

        Raises:
            CapturedInputNotFound: it was erased, or has expired.
            InvalidField: it is not an image, or the side is not one of those of thumbnails.
        """
        check_side(side)
        captured = self._inputs.require(model, prediction_id)
        made = self._store.get(prediction_id, side, lambda: self._made(captured, side))
        if self._inputs.find(model, prediction_id) is None:
            # It was erased while the thumbnail was made, and after the thumbnails were removed.
            self.remove([prediction_id])
            raise not_found_error(model, prediction_id)
        return captured, made

    def remove(self, prediction_ids: Collection[str]) -> None:
        """Remove the thumbnails of some captured inputs."""
        self._store.remove(prediction_ids)

    def remove_gone(self) -> int:
        """Remove the thumbnails of inputs that are not stored any more; return the number of these inputs."""
        images = self._store.images
        gone = images - self._inputs.stored(images)
        self.remove(gone)
        return len(gone)

    def _made(self, captured: CapturedInput, side: int) -> bytes:
        content = self._inputs.content(captured)
        if content is None:
            raise not_found_error(captured.model, captured.prediction_id)
        made = thumbnail(decode(captured.kind, content), max_pixels=self._max_pixels, side=side)
        if made is None:
            raise InvalidField(
                "The captured input is not an image, so it has no thumbnail. Read the content without "
                "thumbnail_size.",
                field="thumbnail_size",
            )
        return made
