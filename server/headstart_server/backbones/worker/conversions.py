"""Networks converted for OpenVINO: shipped with an image, or prepared at first use."""

from pathlib import Path

from headstart_server.backbones.contract.runtimes import RuntimeKind
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker.optional_packages import keras_missing
from headstart_server.backbones.worker.preparation_progress import Progress
from headstart_server.backbones.worker.prepared_cache import (
    QUANTIZED,
    folder_of,
    folder_without_source,
    prepare_into,
    prepared_in,
    quantize_into,
)
from headstart_server.backbones.worker.worker_process import Preparations
from headstart_server.errors import BackboneNotFound


class Conversions:
    """Find the converted network of a backbone, and prepare it if it is missing.

    Args:
        cache: folder of downloads and prepared backbones.
        shipped: read-only folder of backbones prepared in advance, searched first; None without one.
    """

    def __init__(self, cache: Path, shipped: Path | None) -> None:
        self._cache = cache
        self._shipped = shipped
        self._preparations = Preparations()
        #: Progress of each backbone that is being converted.
        self._progress: dict[str, Progress] = {}
        #: Whether a backbone is loaded, so that serving has priority.
        self.yields = False

    def find(self, declaration: Declaration, *, low_priority: bool = False) -> tuple[Card, Path]:
        """Return the card of a backbone and the folder of its converted network.

        Args:
            low_priority: whether to convert at low priority, because no call waits for it.

        Raises:
            BackboneNotFound: the package with its weights is not installed.
            SourceError: its source is unavailable, invalid, or needs Keras, which is not installed.
            BackboneUnavailable: the conversion process failed.
            Draining: the server is stopping.
            OSError: a folder cannot be read or written.
        """
        try:
            fingerprint = source_of(declaration).fetch(declaration, self._cache)
        except BackboneNotFound:
            found = self._without_source(declaration)
            if found is None:
                _check_convertible(declaration)
                raise
            return found
        if self._shipped is not None:
            folder = folder_of(declaration, fingerprint, self._shipped, RuntimeKind.OPENVINO)
            if card := prepared_in(folder):
                return card, folder
        folder = folder_of(declaration, fingerprint, self._cache, RuntimeKind.OPENVINO)
        card = prepared_in(folder) or self._make(declaration, fingerprint, folder, low_priority=low_priority)
        return card, folder

    def has(self, declaration: Declaration) -> bool:
        """Return whether the converted network of a backbone is present, without reading its source."""
        folders = (folder_without_source(declaration, each) for each in (self._shipped, self._cache) if each)
        return any(folder is not None and prepared_in(folder) is not None for folder in folders)

    def quantized(self, declaration: Declaration) -> tuple[Card, Path] | None:
        """Return the card and the folder of the quantized form of a backbone; None if it is not prepared."""
        for cache in filter(None, (self._shipped, self._cache)):
            folder = folder_without_source(declaration, cache, QUANTIZED)
            if folder and (card := prepared_in(folder)):
                return card, folder
        return None

    def quantize(self, declaration: Declaration, samples: Path | None) -> tuple[Card, Path]:
        """Quantize a backbone, unless done before, and return card and folder of its quantized form.

        Args:
            samples: folder of samples to calibrate on; None for samples of packages.

        Raises:
            BackboneNotFound, SourceError, BackboneUnavailable, Draining or OSError: as `find`, or the
                package that quantizes is missing.
        """
        done = self.quantized(declaration)
        if done is not None:
            return done
        fingerprint = source_of(declaration).fetch(declaration, self._cache)
        _, prepared = self.find(declaration)
        folder = self._cache / (prepared.name + QUANTIZED)
        card = quantize_into(
            folder,
            prepared,
            declaration,
            samples,
            fingerprint=fingerprint,
            preparations=self._preparations,
        )
        return card, folder

    def remaining(self, backbone: str) -> float | None:
        """Estimate the seconds until a backbone is converted; None if it is not being converted."""
        progress = self._progress.get(backbone)
        return None if progress is None else progress.remaining

    def stop(self) -> None:
        """Cancel conversions, and start no more."""
        self._preparations.stop()

    def _without_source(self, declaration: Declaration) -> tuple[Card, Path] | None:
        folder = self._shipped and folder_without_source(declaration, self._shipped)
        card = folder and prepared_in(folder)
        return (card, folder) if folder and card else None

    def _make(self, declaration: Declaration, fingerprint: str, folder: Path, *, low_priority: bool) -> Card:
        _check_convertible(declaration)
        self._progress[declaration.name] = progress = Progress(declaration.name)
        try:
            return prepare_into(
                folder,
                declaration,
                self._cache,
                fingerprint=fingerprint,
                preparations=self._preparations,
                progress=progress,
                low_priority=low_priority or self.yields,
            )
        finally:
            self._progress.pop(declaration.name, None)


def _check_convertible(declaration: Declaration) -> None:
    """Raise a SourceError if the conversion of a backbone needs Keras, which is not installed."""
    if source_of(declaration).in_keras and (lacking := keras_missing("Converting it from Keras")):
        raise SourceError(
            f"{lacking} Or convert it on another machine, and pass its folder as --prepared-backbones."
        )
