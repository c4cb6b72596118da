"""The activations of a job's examples at a cut, on disk while the job runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Views
from headstart_server.backbones.contract.tail import Cut, Float32, TailWeights
from headstart_server.backbones.contract.tail_training import Ints, TailEpoch
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.tails import VersionTail, trained_views
from headstart_server.errors import DatasetTooLarge
from headstart_server.learning.heads.partial import TailTrainer
from headstart_server.learning.heads.recipe import Partial, Recipe
from headstart_server.storage.disk import storage_errors

#: Half the size of the backbone's output, and more precise than bfloat16, in which it usually computes.
_STORED = np.dtype("<f2")
#: Examples whose activations are read and passed through a tail in one batch.
_AT_ONCE = 256
#: Largest number of that type: larger ones are clipped to it, so that none becomes infinite.
_LARGEST = np.float32(np.finfo(np.float16).max)


def check_room(cut: Cut, count: int, max_bytes: int) -> None:
    """Raise DatasetTooLarge if the activations of `count` examples exceed `max_bytes`."""
    needed = count * cut.size * _STORED.itemsize
    if needed > max_bytes:
        each = cut.size * _STORED.itemsize
        raise DatasetTooLarge(
            f"Expected at most {max_bytes // each} different examples for the recipe partial: their "
            f"activations of {each / 1024:.0f} KiB each may take {max_bytes / 2**20:.0f} MiB "
            "(half of --max-dataset-size). "
            f"Received: {count}, which take {needed / 2**20:.0f} MiB. Use auto or mlp, or fewer blocks.",
            metadata={"limit": str(max_bytes // each)},
        )


class ActivationFile:
    """Activations of different contents at a cut, written one after another as a ``.npy`` file."""

    def __init__(self, path: Path, cut: Cut, count: int) -> None:
        self.path = path
        self.cut = cut
        self._count = count
        self._row_of: dict[str, int] = {}
        header = {"descr": _STORED.str, "fortran_order": False, "shape": (count, *cut.shape)}
        with storage_errors():
            self._file: IO[bytes] = path.open("wb")
            np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Stop writing. Buffered data, which may not fit on a full disk, is no longer needed."""
        with suppress(OSError):
            self._file.close()

    def add(self, digest: str, activation: Float32) -> None:
        """Write the activation of a content, [height, width, channels]."""
        with storage_errors():
            self._file.write(np.clip(activation, -_LARGEST, _LARGEST).astype(_STORED).tobytes())
        self._row_of[digest] = len(self._row_of)

    def finish(self) -> None:
        """End the file; contents that were not added are rows of zeros."""
        with storage_errors():
            missing = self._count - len(self._row_of)
            for _ in range(missing):
                self._file.write(bytes(self.cut.size * _STORED.itemsize))
            self._file.close()

    @property
    def rows(self) -> Mapping[str, int]:
        """The row of each added content."""
        return self._row_of

    def read(self, rows: NDArray[np.int64]) -> Float32:
        """Return rows, [n, height, width, channels]."""
        with storage_errors(writes=False):
            stored = np.load(self.path, mmap_mode="r")
        return np.asarray(stored[rows], np.float32)


class JobActivations:
    """The activations at the cut of a job's recipe; none if the job only trains a head.

    Args:
        memory_bytes: maximum memory of a process that trains on them; None for no limit.
    """

    def __init__(self, recipe: Recipe, max_bytes: int, memory_bytes: int | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._blocks = recipe.blocks if isinstance(recipe, Partial) else 0
        self._max_bytes = max_bytes
        self._folder = Path()
        self._file: ActivationFile | None = None

    @contextmanager
    def folder(self, scratch: Path, job_id: str) -> Iterator[None]:
        """Provide a folder for the activations in the block."""
        if not self._blocks:
            yield
            return
        with storage_errors():
            # The scratch folder is emptied at each start, so a file that cannot be removed fails no job.
            temporary = TemporaryDirectory(dir=scratch, prefix=f"{job_id}.", ignore_cleanup_errors=True)
        with temporary as name:
            self._folder = Path(name)
            try:
                yield
            finally:
                # A job that failed during its features did not close the file.
                if self._file is not None:
                    self._file.close()

    def begin(self, info: BackboneInfo, count: int) -> frozenset[str]:
        """Begin to collect activations of at most `count` contents; return the names of the needed cuts."""
        if not self._blocks:
            return frozenset()
        cut = info.tails[self._blocks].cut
        check_room(cut, count, self._max_bytes)
        self._file = ActivationFile(self._folder / "activations.npy", cut, count)
        return frozenset({cut.name})

    def add(self, digest: str, views: Views) -> None:
        """Store the activation of a content, from its views."""
        if self._file is not None:
            self._file.add(digest, views[self._file.cut.name])

    def finish(self) -> None:
        """End the collection."""
        if self._file is not None:
            self._file.finish()

    def tools(
        self,
        embedder: Embedder,
        digests: Sequence[str],
        report: Callable[[TailEpoch], None],
        checkpoint: Callable[[], None],
    ) -> TailTrainer | None:
        """Return a trainer of tails on examples of these contents; None if the recipe trains no tail."""
        file = self._file
        if file is None:
            return None
        return TailTrainer(
            activations=file.path,
            rows=self._rows(file, digests),
            train=lambda request: embedder.train_tail(
                replace(request, memory_bytes=self._memory_bytes), report, checkpoint
            ),
        )

    def tail(self, weights: TailWeights | None, model: str) -> VersionTail | None:
        """Return the tail of a model's version; None without weights."""
        if weights is None or self._file is None:
            return None
        return VersionTail(weights, self._file.cut.name, model)

    def own_views(
        self,
        tail: VersionTail | None,
        embedder: Embedder,
        views: Mapping[str, Float32],
        digests: Sequence[str],
        checkpoint: Callable[[], None],
    ) -> Mapping[str, Float32]:
        """Return the views of examples of these contents, with the tail's own last view."""
        if tail is None or self._file is None or not digests:
            return views
        rows = self._rows(self._file, digests)
        parts = []
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            of_part = {LAST: views[LAST][part]}
            activations = self._file.read(rows[part])
            parts.append(trained_views(tail, embedder, of_part, activations, checkpoint)[LAST])
        return {**views, LAST: np.concatenate(parts)}

    @staticmethod
    def _rows(file: ActivationFile, digests: Sequence[str]) -> Ints:
        return np.array([file.rows[digest] for digest in digests], np.int64)
