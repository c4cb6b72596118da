"""The stored files of versions, read as values: heads, predictions, evaluations."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.example_list import ExampleList, read_examples, read_outcomes
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.models.evidence import MAP_FILE, NEIGHBORS_FILE, InvalidEvidenceError, map_from_bytes
from headstart_server.models.model_index import ModelIndex
from headstart_server.models.resident import ResidentVersion, ResidentVersions
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from headstart_server.models.version import Version

_Read = TypeVar("_Read")

EVALUATION_FILE = "evaluation.json"


class VersionFiles:
    """Reads the files of versions. A version without a row was deleted, so its files are not damaged.

    Args:
        read_version: returns the row of a version, or raises `VersionNotFound`.
    """

    def __init__(
        self,
        store: VersionStore,
        resident: ResidentVersions,
        index: ModelIndex,
        read_version: Callable[[str, int], Version],
    ) -> None:
        self._store = store
        self._resident = resident
        self._index = index
        self._read_version = read_version

    def resident(self, model: str, number: int) -> ResidentVersion | None:
        """Return a version that `resolve` found; None if it is not in memory."""
        return self._resident.get(model, number)

    def load(self, model: str, number: int) -> ResidentVersion:
        """Return a version that `resolve` found, read from disk if it is not in memory.

        Raise VersionNotFound if it was deleted meanwhile, and ArtifactDamaged if its files are damaged or
        missing.
        """
        found = self._resident.get(model, number)
        if found is not None:
            return found
        version = self._read_version(model, number)
        try:
            head = self._store.read(version.artifact, version.manifest)
            tail = self._store.read_tail(version.artifact, version.manifest)
        except ArtifactDamaged:
            # A deletion removes the row before the files: without a row the version is deleted, not damaged.
            self._read_version(model, number)
            raise
        loaded = ResidentVersion(
            model=model,
            number=number,
            artifact=version.artifact,
            backbone=version.manifest.backbone,
            backbone_digest=version.manifest.backbone_digest,
            head=head,
            tail=tail,
        )
        self._resident.put(loaded)
        # It may have been deleted since its row was read. A deleted version is dropped only once, after its
        # entry was removed: either that drop follows the put, or the missing entry is detected here.
        if not self._index.has(model, number):
            self._resident.drop(model, number)
        return loaded

    def with_evidence(self, version: ResidentVersion, files: Collection[str]) -> ResidentVersion:
        """Return a version with the files that explain its predictions; read those that are not in memory.

        They stay in memory with the version, but a neighbor index only up to a quarter of the memory for all
        versions. Raise VersionNotFound if the version was deleted meanwhile, and ArtifactDamaged if a file is
        damaged or missing.
        """
        missing = set(files) - version.evidence.files
        if not missing:
            return version
        stored = self._read_version(version.model, version.number)
        try:
            evidence = self._store.read_evidence(stored.artifact, stored.manifest, version.evidence, missing)
        except ArtifactDamaged:
            self._read_version(version.model, version.number)
            raise
        kept = evidence
        if evidence.nbytes > self._resident.max_bytes // 4:
            kept = replace(evidence, neighbors=None, files=evidence.files - {NEIGHBORS_FILE})
        self._resident.replace(replace(version, evidence=kept))
        return replace(version, evidence=evidence)

    def examples(self, version: Version) -> ExampleList | None:
        """Return the examples of a version with its prediction for each; None if no list is stored.

        Raise VersionNotFound if it was deleted meanwhile.
        """
        return self._listed(version, ExampleList.from_bytes)

    def examples_alone(self, version: Version, having: str = "") -> ExampleList | None:
        """Return examples without predictions; empty if they do not include `having`."""
        return self._listed(version, lambda content: read_examples(content, having))

    def outcomes(self, version: Version) -> Sequence[PredictionOutcome | None]:
        """Return only the predictions of a version for its examples; empty if no list is stored.

        Raise VersionNotFound if it was deleted meanwhile.
        """
        return self._listed(version, read_outcomes) or ()

    def positions(self, version: Version) -> Float32 | None:
        """Return the positions of the examples of a version on their map, [N, 2]; None if none are stored.

        Raise VersionNotFound if it was deleted meanwhile.
        """
        content = self.file(version, MAP_FILE)
        try:
            return None if content is None else map_from_bytes(content)
        except InvalidEvidenceError as error:
            raise ArtifactDamaged(
                f"The map of the examples of version {version.number} of model '{version.model}' cannot be "
                "read by this release.",
                metadata={"model": version.model, "version": str(version.number)},
            ) from error

    def _listed(self, version: Version, read: Callable[[bytes], _Read]) -> _Read | None:
        content = self.file(version, EXAMPLES_FILE)
        if content is None:
            return None
        try:
            return read(content)
        except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtifactDamaged(
                f"The list of the examples of version {version.number} of model '{version.model}' cannot be "
                "read by this release.",
                metadata={"model": version.model, "version": str(version.number)},
            ) from error

    def evaluation(self, version: Version) -> tuple[Evaluation | None, DatasetFindings | None]:
        """Return the evaluation of a version and the findings in its examples; None if not stored."""
        content = self.file(version, EVALUATION_FILE)
        if content is None:
            return None, None
        try:
            return decode_evaluation(content)
        except ValueError as error:
            raise ArtifactDamaged(
                f"The evaluation of version {version.number} of model '{version.model}' cannot be read by "
                "this release.",
                metadata={"model": version.model, "version": str(version.number)},
            ) from error

    def file(self, version: Version, name: str) -> bytes | None:
        """Return another file of a version; None if it has no file of this name.

        Raise VersionNotFound if it was deleted meanwhile.
        """
        try:
            return self._store.read_file(version.artifact, version.manifest, name)
        except ArtifactDamaged:
            # As in `load`.
            self._read_version(version.model, version.number)
            raise


def encode_evaluation(evaluation: Evaluation, findings: DatasetFindings) -> bytes:
    """Return the content of the file with the evaluation of a version and the findings in its examples."""
    fields = {"evaluation": evaluation.to_json(), "findings": findings.to_json()}
    return json.dumps(fields, ensure_ascii=False).encode()


def decode_evaluation(content: bytes) -> tuple[Evaluation | None, DatasetFindings | None]:
    """Decode the result of `encode_evaluation`, with None for a missing part; raise ValueError if invalid."""
    try:
        fields: dict[str, Any] = json.loads(content)
        evaluation, findings = fields.get("evaluation"), fields.get("findings")
        return (
            Evaluation.from_json(evaluation) if evaluation else None,
            DatasetFindings.from_json(findings) if findings else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected an evaluation and findings. Received: {error!r}.") from error
