"""What a job has fitted and not yet published, for its next attempt."""

import io
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np

from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.heads.fitting import FittedHead
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.recipe import Partial
from headstart_server.models.store import TAIL_FILE, VersionStore, decode_tail, encode_tail
from headstart_server.models.version import Manifest

#: Out-of-fold outputs and which of them count, in addition to the head.
OUTPUTS_FILE = "outputs.npz"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitCheckpoint:
    """A fit of an earlier attempt."""

    fitted: FittedHead
    seconds: float


class FitCheckpoints:
    """Puts fits aside as folders of the version store that no version's row names, and finds them again."""

    def __init__(self, versions: VersionStore) -> None:
        self._versions = versions

    def write(self, artifact: str, fitted: FittedHead, manifest: Manifest) -> None:
        """Put a fit aside under a name, with what is known of the version to be."""
        outputs = io.BytesIO()
        arrays: dict[str, Any] = {"counted": fitted.counted}
        if fitted.outputs is not None:
            arrays["outputs"] = fitted.outputs
        np.savez(outputs, **arrays)
        files = {OUTPUTS_FILE: outputs.getvalue()}
        if fitted.tail is not None:
            files[TAIL_FILE] = encode_tail(fitted.tail)
        self._versions.write(artifact, fitted.head, manifest, files)

    def read(self, artifact: str, count: int) -> FitCheckpoint | None:
        """Return a stored fit; None if it is missing, damaged, or of another number of examples."""
        try:
            manifest = self._versions.read_manifest(artifact)
            head = self._versions.read(artifact, manifest)
            content = self._versions.read_file(artifact, manifest, OUTPUTS_FILE) or b""
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                counted, outputs = arrays["counted"], arrays.get("outputs")
            tail = None
            if isinstance(manifest.recipe, Partial):
                weights = self._versions.read_file(artifact, manifest, TAIL_FILE)
                tail = None if weights is None else decode_tail(weights, manifest.recipe.blocks)
        except (ArtifactDamaged, BadZipFile, EOFError, KeyError, ValueError):
            return None
        if len(counted) != count:
            return None
        fitted = FittedHead(
            head=head,
            recipe=manifest.recipe,
            metrics=manifest.metrics,
            stop_reason=StopReason(manifest.stop_reason) if manifest.stop_reason else None,
            outputs=outputs,
            counted=counted,
            tail=tail,
            note=manifest.note,
        )
        return FitCheckpoint(fitted=fitted, seconds=manifest.fit_seconds)
