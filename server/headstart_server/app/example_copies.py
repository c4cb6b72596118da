"""The copies of examples and captured inputs that a process holds outside the shared storage."""

from collections.abc import Collection

from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.datasets.example_archive import archive_name
from headstart_server.datasets.example_reader import ExampleReader
from headstart_server.embedding.cache import FeatureCache
from headstart_server.evaluation.influence_models import InfluenceModels
from headstart_server.export.exporter import Exporter
from headstart_server.learning.features.result_cache import RESULT_CACHE
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
        self._features.remove(digests)
        self._influence.clear()
        RESULT_CACHE.clear()
        self._examples.forget(digests)
        # The folder has exports of versions that were deleted or replaced.
        self._exporter.sweep()
        if self._archives is not None:
            for archive in archives:
                self._archives.remove(archive_name(archive))

    def drop_captured(self, prediction_id: str) -> None:
        """Remove the copies of an erased captured input."""
        self._captured_images.remove([prediction_id])
        self._ranking.remove_gone()
