"""Methods about captured inputs."""

from collections.abc import AsyncIterator
from functools import partial

from headstart.async_methods.base import AsyncMethods
from headstart.calls import review_calls
from headstart.results import CapturedContent, CaptureStatus, ReviewEntry
from headstart.version_ref import version_ref

__all__ = ["AsyncReviewMethods"]


class AsyncReviewMethods(AsyncMethods):
    """List captured inputs for review, and read them."""

    def review(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> AsyncIterator[ReviewEntry]:
        """Yield captured inputs for review; as `Client.review`."""
        target = version_ref(model, version, alias)
        return self._connection.pages(partial(review_calls.review_list, target))

    async def captured_input(
        self, model: str, prediction_id: str, *, thumbnail_size: int | None = None
    ) -> CapturedContent:
        """Return a captured input with its content; as `Client.captured_input`."""
        call = review_calls.captured_input(model, prediction_id, thumbnail_size)
        return await self._connection.send(call)

    async def capture_status(self, model: str) -> CaptureStatus:
        """Return how much a model has captured; as `Client.capture_status`."""
        return await self._connection.send(review_calls.capture_status(model))
