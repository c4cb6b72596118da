"""Methods about captured inputs."""

from collections.abc import Iterator
from functools import partial

from headstart.calls import review_calls
from headstart.methods.base import Methods
from headstart.results import CapturedContent, CaptureStatus, ReviewEntry
from headstart.version_ref import version_ref

__all__ = ["ReviewMethods"]


class ReviewMethods(Methods):
    """List captured inputs for review, and read them."""

    def review(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> Iterator[ReviewEntry]:
        """Yield captured inputs without feedback, those whose label teaches the model the most first.

        The order is that of the first page. Pages are requested as needed.

        Args:
            model: the model, or ``model@version``.
            version: the number of the version whose uncertainty ranks the inputs. None: the newest.
            alias: the alias of that version.

        Raises:
            NotFound: the model or version does not exist.
        """
        target = version_ref(model, version, alias)
        return self._connection.pages(partial(review_calls.review_list, target))

    def captured_input(
        self, model: str, prediction_id: str, *, thumbnail_size: int | None = None
    ) -> CapturedContent:
        """Return a captured input with its content.

        Args:
            model: the model.
            prediction_id: the ID of the prediction.
            thumbnail_size: length of the longer side of a thumbnail: 64, 128, 256 or 512. None: the content.

        Raises:
            NotFound: the model has no captured input of this prediction.
            InvalidArgument: the size is not supported, or the input is not an image.
        """
        return self._connection.send(review_calls.captured_input(model, prediction_id, thumbnail_size))

    def capture_status(self, model: str) -> CaptureStatus:
        """Return how much a model has captured, and how much was lost.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.send(review_calls.capture_status(model))
