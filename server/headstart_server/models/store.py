"""The files of versions: a head in safetensors and a manifest in JSON, written once and never changed."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.embedding.tails import VersionTail
from headstart_server.errors import ArtifactDamaged, ServiceUnavailable, StorageFull
from headstart_server.learning.heads.head import Head, HeadMetadata
from headstart_server.models.evidence import (
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    InvalidEvidenceError,
    neighbors_of,
    typicality_model_from_bytes,
)
from headstart_server.models.resident import Evidence
from headstart_server.models.version import Manifest
from headstart_server.storage.directory import DirectoryFolder, Folder, old_entries

#: Name of the tail's file in the version's folder.
TAIL_FILE = "tail.safetensors"


def encode_tail(weights: TailWeights) -> bytes:
    """Return the content of the file; equal tails give equal bytes."""
    return save_tensors(dict(weights.tensors), metadata={"blocks": str(weights.blocks)})


def decode_tail(content: bytes, blocks: int) -> TailWeights:
    """Return the tail in the content of a file; raise ValueError if it is invalid."""
    try:
        return TailWeights(blocks=blocks, tensors=load_tensors(content))
    except SafetensorError as error:
        raise ValueError(f"Expected a file of tensors. Received: {error}.") from error


HEAD_FILE = "head.safetensors"
MANIFEST_FILE = "manifest.json"
#: Name of the file with the version's examples and its predictions for them.
EXAMPLES_FILE = "examples.json.gz"


class VersionStore:
    """Keeps each version's files under a separate name.

    Files belong to a version if it has a row in the database: other files are left over from a run that did
    not publish. Each file is checked against its digest when it is read.
    """

    def __init__(self, root: Folder | Path) -> None:
        self._folder: Folder = DirectoryFolder(root) if isinstance(root, Path) else root

    def write(
        self, artifact: str, head: Head, manifest: Manifest, files: Mapping[str, bytes] | None = None
    ) -> tuple[Manifest, int]:
        """Store a head, its manifest and the version's other files under a name.

        Args:
            artifact: the name, unique to the attempt of the job that writes it.

        Returns:
            The written manifest, and the size of the files in bytes.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        # One entry: several would be written in arbitrary order, but equal heads must be equal files.
        head_bytes = save_tensors(
            head.tensors(), metadata={"input": f"{head.scaling} {' '.join(head.views)}"}
        )
        further = dict(files or {})
        manifest = replace(
            manifest,
            head_digest=sha256(head_bytes).hexdigest(),
            files={name: sha256(content).hexdigest() for name, content in further.items()},
        )
        manifest_bytes = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False).encode()
        # The manifest last: where files appear one by one, all files that it names exist when it does.
        contents = {HEAD_FILE: head_bytes, **further, MANIFEST_FILE: manifest_bytes}
        self._folder.write(artifact, contents)
        return manifest, sum(map(len, contents.values()))

    def read(self, artifact: str, manifest: Manifest) -> Head:
        """Load the head of a version, checked against its manifest.

        Raise ArtifactDamaged if the file is missing, or not the one that was published, and
        StorageUnavailable if the bucket does not answer.
        """
        head_bytes = self._checked(artifact, manifest, HEAD_FILE, manifest.head_digest)
        facts = HeadMetadata(
            task=manifest.task,
            views=manifest.recipe.views,
            scaling=manifest.recipe.scaling,
            class_names=manifest.class_names,
        )
        try:
            return Head.from_tensors(load_tensors(head_bytes), facts)
        except (SafetensorError, KeyError, IndexError) as error:
            raise _damaged(manifest, "its head is not a head file") from error
        except ValueError as error:
            raise _damaged(manifest, "its head does not fit its class names") from error

    def read_tail(self, artifact: str, manifest: Manifest) -> VersionTail | None:
        """Load the tail of a version, checked against its manifest; None if the backbone's is used.

        Raise ArtifactDamaged if the file is missing, or not the one that was published.
        """
        if manifest.tail is None:
            return None
        content = self.read_file(artifact, manifest, TAIL_FILE)
        try:
            weights = decode_tail(content or b"", manifest.tail.blocks)
        except ValueError as error:
            raise _damaged(manifest, "its tail is not a file of tensors") from error
        return VersionTail(weights, manifest.tail.cut, manifest.model)

    def read_file(self, artifact: str, manifest: Manifest, name: str) -> bytes | None:
        """Return another file of a version, checked against its manifest; None if it has no such file.

        Raise ArtifactDamaged if the file is missing, or not the one that was published.
        """
        digest = manifest.files.get(name)
        return None if digest is None else self._checked(artifact, manifest, name, digest)

    def read_evidence(
        self, artifact: str, manifest: Manifest, known: Evidence, names: Collection[str]
    ) -> Evidence:
        """Return the evidence of a version: the known part, and the named files, which are read.

        Raise ArtifactDamaged if a file is missing, or not the one that was published.
        """
        contents = {name: self.read_file(artifact, manifest, name) for name in names}
        found = replace(known, files=known.files | set(names))
        try:
            if content := contents.get(TYPICALITY_FILE):
                found = replace(found, typicality_model=typicality_model_from_bytes(content))
            if content := contents.get(NEIGHBORS_FILE):
                found = replace(found, neighbors=neighbors_of(content))
        except InvalidEvidenceError as error:
            raise _damaged(manifest, str(error)) from error
        return found

    def _checked(self, artifact: str, manifest: Manifest, name: str, digest: str) -> bytes:
        try:
            content = self._folder.read(artifact, name)
        except OSError as error:
            raise _damaged(manifest, f"its {name} is missing") from error
        if sha256(content).hexdigest() != digest:
            raise _damaged(manifest, f"the digest of its {name} is not the one that was published")
        return content

    def read_manifest(self, artifact: str) -> Manifest:
        """Return the manifest of files that are not a version, such as the checkpoint of a job."""
        try:
            return Manifest.from_json(json.loads(self._folder.read(artifact, MANIFEST_FILE)))
        except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtifactDamaged(
                f"The files {artifact} have no readable manifest ({error}).",
                metadata={"artifact": artifact},
            ) from error

    def remove(self, artifact: str) -> None:
        """Remove a version's files, if they exist."""
        self._folder.remove(artifact)

    def discard(self, artifact: str) -> bool:
        """Remove a version's files as `remove`; if the storage fails, a later cleaning removes them.

        Return whether they are removed.
        """
        with suppress(ServiceUnavailable, StorageFull):
            self._folder.remove(artifact)
            return True
        return False

    def artifacts(self) -> Sequence[str]:
        """Return all names: of versions, of leftovers, and of files that are being written."""
        return self._folder.names()

    def older_artifacts(self, artifacts: Collection[str], older_than: float) -> Sequence[str]:
        """Return the artifacts that were not modified within so many seconds."""
        return [entry.name for entry in old_entries(self._folder, older_than, artifacts)]


def _damaged(manifest: Manifest, what: str) -> ArtifactDamaged:
    return ArtifactDamaged(
        f"A stored version of model '{manifest.model}' is damaged: {what}. Delete it and fine-tune again.",
        metadata={"model": manifest.model, "job_id": manifest.job_id},
    )
