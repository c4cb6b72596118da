"""Objects in storage that hold the contents and features of some captured inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from headstart_server.capture.captured_input import CapturedInput
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.storage.directory import Folder

#: Maximum inputs, and bytes of contents, in one object; a single input may be larger.
MAX_BATCH, MAX_BATCH_BYTES = 100, 4 << 20
_CONTENTS, _FEATURES = "contents", "features"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchFeatures:
    """The features of the inputs of a batch."""

    backbone_digest: str
    views: Mapping[str, Float32]  # the views, [n, D of the view]

    def encoded(self) -> tuple[bytes, dict[str, Any]]:
        """Return the views side by side, ordered by name, and the columns of the batch about them."""
        names = sorted(self.views)
        rows = np.concatenate([self.views[name] for name in names], axis=1)
        content = np.ascontiguousarray(rows, "<f4").tobytes()
        return content, {
            "backbone_digest": self.backbone_digest,
            "views": {name: int(self.views[name].shape[1]) for name in names},
            "digest": sha256(content).hexdigest(),
        }

    @classmethod
    def decoded(cls, content: bytes, facts: Mapping[str, Any]) -> "BatchFeatures":
        """Return the features that `encoded` returned. Raise ValueError if the content is damaged."""
        if sha256(content).hexdigest() != facts["digest"]:
            raise ValueError("The features are damaged.")
        sizes: Mapping[str, int] = facts["views"]
        rows = np.frombuffer(content, "<f4").reshape(-1, sum(sizes.values()))
        views, start = {}, 0
        for name in sorted(sizes):
            views[name] = rows[:, start : start + sizes[name]]
            start += sizes[name]
        return cls(backbone_digest=facts["backbone_digest"], views=views)

    def rows(self, indexes: Sequence[int]) -> "BatchFeatures":
        """Return the features of some inputs."""
        return BatchFeatures(
            backbone_digest=self.backbone_digest,
            views={name: rows[list(indexes)] for name, rows in self.views.items()},
        )


class BatchFiles:
    """Writes and reads batches."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(
        self, batch: str, contents: Sequence[bytes], features: BatchFeatures
    ) -> tuple[int, dict[str, Any]]:
        """Write a batch; return its size in bytes, and the columns about its features."""
        encoded, facts = features.encoded()
        files = {_CONTENTS: b"".join(contents), _FEATURES: encoded}
        self._folder.write(batch, files)
        return sum(map(len, files.values())), facts

    def content(self, batch: str, start: int, nbytes: int, digest: str) -> bytes | None:
        """Return a content; None if the batch is missing."""
        try:
            content = self._folder.read(batch, _CONTENTS)[start : start + nbytes]
        except OSError:
            return None
        if sha256(content).hexdigest() != digest:
            raise ArtifactDamaged("The stored content of the captured input is damaged. Erase it.")
        return content

    def contents(self, batch: str, inputs: Sequence[CapturedInput]) -> dict[str, bytes]:
        """Return the contents of inputs by prediction ID; omit missing and damaged ones."""
        try:
            stored = self._folder.read(batch, _CONTENTS)
        except OSError:
            return {}
        found = {each.prediction_id: stored[each.start : each.start + each.nbytes] for each in inputs}
        return {
            each.prediction_id: found[each.prediction_id]
            for each in inputs
            if sha256(found[each.prediction_id]).hexdigest() == each.digest
        }

    def features(self, batch: str, facts: Mapping[str, Any]) -> BatchFeatures | None:
        """Return the features of a batch; None if they are missing or damaged."""
        try:
            return BatchFeatures.decoded(self._folder.read(batch, _FEATURES), facts)
        except (OSError, ValueError):
            return None

    def remove(self, batch: str) -> None:
        """Remove a batch, if it exists."""
        self._folder.remove(batch)

    def names(self, older_than: float) -> Sequence[str]:
        """Return the names of the batches that were not written to for `older_than` seconds."""
        before = self._folder.now() - older_than
        return [entry.name for entry in self._folder.entries() if entry.written <= before]
