"""The copies of examples and captured inputs that a process holds outside the shared storage."""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.datasets.example_archive import archive_name
from headstart_server.datasets.example_reader import ExampleReader
from headstart_server.embedding.cache import FeatureCache
from headstart_server.evaluation.influence_models import InfluenceModels
from headstart_server.export.exporter import Exporter
from headstart_server.learning.features.result_cache import RESULT_CACHE
from headstart_server.storage.attempts import Attempts
from headstart_server.storage.copies import LocalCopies
from headstart_server.storage.thumbnail_store import ThumbnailStore


class ExampleCopies:
    """Removes the copies of erased contents.

    Args:
        archives: copies of the archives of a bucket; None without a bucket.
        ranking: ranks captured inputs.
        captured_images: thumbnails of captured inputs.
    """

    def __init__(
        self,
        features: FeatureCache,
        influence: InfluenceModels,
        examples: ExampleReader,
        exporter: Exporter,
        archives: LocalCopies | None,
        *,
        ranking: ReviewRanking,
        captured_images: ThumbnailStore,
    ) -> None:
        self._features = features
        self._influence = influence
        self._examples = examples
        self._exporter = exporter
        self._archives = archives
        self._ranking = ranking
        self._captured_images = captured_images

    def drop(self, digests: Collection[str], archives: Collection[str] = ()) -> None:
        """Remove the copies of erased examples, given their digests and the jobs whose archives had them."""
        copies: dict[str, Callable[[], object]] = {
            "features": partial(self._features.remove, digests),
            "influence": self._influence.clear,
            "results": RESULT_CACHE.clear,
            "examples": partial(self._examples.forget, digests),
            # The folder has exports of versions that were deleted or replaced.
            "exports": self._exporter.sweep,
        }
        if self._archives is not None:
            for archive in archives:
                name = archive_name(archive)
                copies[name] = partial(self._archives.remove, name)
        _run_all(copies)

    def drop_captured(self, prediction_id: str) -> None:
        """Remove the copies of an erased captured input."""
        _run_all(
            {
                "images": partial(self._captured_images.remove, [prediction_id]),
                "features": self._ranking.remove_gone,
            }
        )


def _run_all(removals: Mapping[str, Callable[[], object]]) -> None:
    """Run each removal, even if others fail; raise the first error at the end."""
    Attempts().run_all(list(removals), lambda name: removals[name]())
