"""The files of versions: a head in safetensors and a manifest in JSON, written once and never changed."""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from headstart_server.embedding.tails import VersionTail
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.head import Head, HeadFacts
from headstart_server.models.evidence import (
    FAMILIARITY_FILE,
    NEIGHBORS_FILE,
    NotEvidence,
    familiarity_of,
    neighbors_of,
)
from headstart_server.models.resident import Evidence
from headstart_server.models.storage import storage_errors, sync_folder
from headstart_server.models.tail_file import TAIL_FILE, decode
from headstart_server.models.version import Manifest

HEAD_FILE = "head.safetensors"
MANIFEST_FILE = "manifest.json"
#: The list of the version's examples, with what it told about each.
EXAMPLES_FILE = "examples.json.gz"


class VersionStore:
    """Keeps each version's files in a folder of its own.

    A folder is written aside, synced and then renamed, so it is whole or not there. Whether it is a version
    is for the registry's rows to say: a folder without a row is left over from a run that did not publish.

    Args:
        root: the folder of all; made if need be.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Never emptied as a whole: other replicas may be writing.
        self._staging = root / ".staging"
        self._staging.mkdir(parents=True, exist_ok=True)

    def write(
        self, artifact: str, head: Head, manifest: Manifest, files: Mapping[str, bytes] | None = None
    ) -> tuple[Manifest, int]:
        """Store a head, its manifest and what else belongs to the version under a name.

        Args:
            artifact: the name, unique to the attempt of the job that writes it.
            head: the head.
            manifest: its manifest; `head_digest` and `files` are filled in here.
            files: further files of the version by their names.

        Returns:
            The manifest as it was written, and the size of the files in bytes.

        Raises:
            StorageFull: the disk is full.
        """
        # One entry: several would come in any order, and equal heads must be equal files.
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
        contents = {HEAD_FILE: head_bytes, MANIFEST_FILE: manifest_bytes, **further}
        try:
            with storage_errors():
                self._place(artifact, contents)
        except Exception:
            # A full disk needs the room.
            shutil.rmtree(self._staging / artifact, ignore_errors=True)
            raise
        return manifest, sum(map(len, contents.values()))

    def _place(self, artifact: str, files: Mapping[str, bytes]) -> None:
        aside, final = self._staging / artifact, self._root / artifact
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name, content in files.items():
            _write_synced(aside / name, content)
        sync_folder(aside)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(aside, final)
        sync_folder(self._root)

    def read(self, artifact: str, manifest: Manifest) -> Head:
        """Load the head of a version, checked against its manifest.

        Raises:
            ArtifactDamaged: the file is missing, or not the one that was published.
        """
        head_bytes = self._checked(artifact, manifest, HEAD_FILE, manifest.head_digest)
        facts = HeadFacts(
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
        """Load the tail of a version, checked against its manifest; None if it has none of its own.

        Raises:
            ArtifactDamaged: the file is missing, or not the one that was published.
        """
        if manifest.tail is None:
            return None
        content = self.read_file(artifact, manifest, TAIL_FILE)
        try:
            weights = decode(content or b"", manifest.tail.blocks)
        except ValueError as error:
            raise _damaged(manifest, "its tail is not a file of tensors") from error
        return VersionTail(weights, manifest.tail.cut, manifest.model)

    def read_file(self, artifact: str, manifest: Manifest, name: str) -> bytes | None:
        """A further file of a version, checked against its manifest; None if it has none of this name.

        Raises:
            ArtifactDamaged: the file is missing, or not the one that was published.
        """
        digest = manifest.files.get(name)
        return None if digest is None else self._checked(artifact, manifest, name, digest)

    def read_evidence(
        self, artifact: str, manifest: Manifest, known: Evidence, names: Collection[str]
    ) -> Evidence:
        """What a version's answers rest on: what is known of it, and some files that are read.

        Raises:
            ArtifactDamaged: a file is missing, or not the one that was published.
        """
        contents = {name: self.read_file(artifact, manifest, name) for name in names}
        found = replace(known, files=known.files | set(names))
        try:
            if content := contents.get(FAMILIARITY_FILE):
                found = replace(found, familiarity=familiarity_of(content))
            if content := contents.get(NEIGHBORS_FILE):
                found = replace(found, neighbors=neighbors_of(content))
        except NotEvidence as error:
            raise _damaged(manifest, str(error)) from error
        return found

    def _checked(self, artifact: str, manifest: Manifest, name: str, digest: str) -> bytes:
        try:
            content = (self._root / artifact / name).read_bytes()
        except OSError as error:
            raise _damaged(manifest, f"its {name} cannot be read ({error.strerror})") from error
        if sha256(content).hexdigest() != digest:
            raise _damaged(manifest, f"the digest of its {name} is not the one that was published")
        return content

    def read_manifest(self, artifact: str) -> Manifest:
        """The manifest of files that are no version, such as a head that a job has put aside.

        Raises:
            ArtifactDamaged: it is missing, or no manifest.
        """
        try:
            return Manifest.from_json(json.loads((self._root / artifact / MANIFEST_FILE).read_bytes()))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactDamaged(
                f"The files {artifact} have no manifest that can be read ({error}).",
                metadata={"artifact": artifact},
            ) from error

    def remove(self, artifact: str) -> None:
        """Remove a version's files; nothing happens if there are none."""
        for folder in (self._staging, self._root):
            shutil.rmtree(folder / artifact, ignore_errors=True)

    def artifacts(self) -> Iterator[str]:
        """The names of all folders: versions, left over, or just being written."""
        staged = {path.name for path in self._staging.iterdir()}
        whole = {path.name for path in self._root.iterdir() if path != self._staging}
        return iter(staged | whole)


def _damaged(manifest: Manifest, what: str) -> ArtifactDamaged:
    return ArtifactDamaged(
        f"A stored version of model '{manifest.model}' is damaged: {what}. Delete it and fine-tune again.",
        metadata={"model": manifest.model, "job_id": manifest.job_id},
    )


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
