"""Reads the examples of versions for callers: pages of records, contents and thumbnails."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256

from headstart_server.auth.tenants import own_name
from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing.content_files import file_of, media_type_of
from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.datasets.dataset_catalog import DatasetCatalog
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_index import ExampleIndex, ListedExample
from headstart_server.errors import (
    ArtifactDamaged,
    ExampleNotFound,
    ExamplesNotKept,
    InvalidField,
    UndecodableInput,
)
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.lru import LruCache
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version
from headstart_server.storage.thumbnail_store import JPEG, ThumbnailStore, check_side

#: Maximum bytes of the lists in memory; a single list may be larger.
INDEX_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExampleSource:
    """The examples of a version or dataset."""

    key: str  # identifies the list; a changed list has a new key
    name: str  # description of the source for messages
    index: ExampleIndex
    has_contents: bool
    uploaded: str | None = None  # the archive of the examples that came with the fine-tune; None for all
    version: Version | None = None  # the version; None for a dataset
    dataset: str = ""  # the full name of the dataset; empty for a version


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleContent:
    """The content of an example as it is sent."""

    content: bytes
    media_type: str
    etag: str


class ExampleReader:
    """Reads examples; decodes images of at most `max_pixels`. Safe to use from many threads."""

    def __init__(
        self,
        registry: Registry,
        catalog: DatasetCatalog,
        datasets: DatasetStore,
        thumbnails: ThumbnailStore,
        *,
        max_pixels: int,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._datasets = datasets
        self._thumbnails = thumbnails
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        # One list is read at a time, so that concurrent callers need the memory of one read only.
        self._turn = threading.Lock()
        self._indexes: LruCache[str, ExampleIndex] = LruCache(INDEX_BYTES, lambda index: index.nbytes)

    def version(self, selector: Selector) -> ExampleSource:
        """Return the examples of a version."""
        version = self._registry.selected(selector)
        index = self.cached(version.artifact, lambda: self._version_index(version))
        return ExampleSource(
            key=version.artifact,
            name=f"version {version.number} of model '{version.model}'",
            index=index,
            has_contents=version.has_examples,
            uploaded=version.manifest.job_id,
            version=version,
        )

    def dataset(self, name: str) -> ExampleSource:
        """Return the examples of a named dataset, finished or not."""
        dataset = self._catalog.get(name)
        key = dataset.etag
        index = self.cached(key, lambda: ExampleIndex(ExampleList(examples=self._catalog.written(name))))
        shown = own_name(name)
        return ExampleSource(key=key, name=f"dataset '{shown}'", index=index, has_contents=True, dataset=name)

    def cached(self, key: str, read: Callable[[], ExampleIndex]) -> ExampleIndex:
        """Return a list from memory, or read it."""
        with self._lock:
            found = self._indexes.get(key)
        if found is not None:
            return found
        with self._turn:
            with self._lock:
                found = self._indexes.get(key)
            if found is None:
                found = read()
                with self._lock:
                    self._indexes.add(key, found)
            return found

    def forget(self, digests: Collection[str]) -> None:
        """Remove the thumbnails of erased contents, and the lists in memory."""
        with self._lock:
            for key in self._indexes:
                self._indexes.pop(key)
        self._thumbnails.remove(digests)

    def positions(self, source: ExampleSource) -> Float32:
        """Return the positions of the examples of a version on their map, [N, 2]."""
        version = source.version
        found = None if version is None else self._registry.files.positions(version)
        if found is None or len(found) != len(source.index):
            raise ExamplesNotKept(f"The {source.name} has no map of its examples. Train the model again.")
        return found

    def listed(self, source: ExampleSource, indexes: Collection[int]) -> list[tuple[ListedExample, bool]]:
        """Return examples by their indexes, each with whether its content is stored."""
        found = [source.index.at(index) for index in indexes]
        erased = set(self._datasets.erased({each.example.archive for each in found}))
        return [(each, source.has_contents and _member(each.example) not in erased) for each in found]

    def content(
        self, source: ExampleSource, *, example_id: str, index: int | None, side: int | None
    ) -> ExampleContent:
        """Return the content of an example, or a thumbnail.

        Args:
            example_id: the ID of the example; empty if `index` is given.
            index: the index of the example; None if `example_id` is given.
            side: the longer side of a thumbnail in pixels; None for the content.

        Raises:
            ExamplesNotKept: the content was erased or discarded.
            StorageUnavailable: the bucket does not answer.
        """
        if side is not None:
            check_side(side)
        example = source.index.stored(_find(source, example_id, index))
        self._check_stored(source, example)
        etag = sha256(f"{example.digest}\0{side}".encode()).hexdigest()[:32]
        if side is None:
            content = self._read(source, example)
            return ExampleContent(content=file_of(content), media_type=media_type_of(content), etag=etag)
        made = self._thumbnails.get(
            example.digest, side, lambda: self._thumbnail(self._read(source, example), side)
        )
        try:
            # It may have been erased while the thumbnail was made, and after the thumbnails were removed.
            self._check_stored(source, example)
        except ExamplesNotKept:
            self._thumbnails.remove([example.digest])
            raise
        return ExampleContent(content=made, media_type=JPEG, etag=etag)

    def _version_index(self, version: Version) -> ExampleIndex:
        listed = self._registry.files.examples(version)
        if listed is None:
            raise ExamplesNotKept(
                f"Version {version.number} of model '{version.model}' has no list of its examples. Train "
                "the model again.",
                metadata={"model": version.model, "version": str(version.number)},
            )
        _, findings = self._registry.files.evaluation(version)
        return ExampleIndex(listed, findings)

    def _check_stored(self, source: ExampleSource, example: StoredExample) -> None:
        if not source.has_contents or _member(example) in set(self._datasets.erased({example.archive})):
            raise _not_kept(source, example)

    def _read(self, source: ExampleSource, example: StoredExample) -> Content:
        try:
            return self._datasets.read(example)
        except ArtifactDamaged:
            # The archive may be removed during the read, because nothing needs it. Check that afterwards.
            self._check_still_stored(source)
            raise

    def _check_still_stored(self, source: ExampleSource) -> None:
        if source.version is not None:
            self._registry.reader.version(source.version.model, source.version.number)
        else:
            self._catalog.get(source.dataset)

    def _thumbnail(self, content: Content, side: int) -> bytes:
        made = thumbnail(content, max_pixels=self._max_pixels, side=side)
        if made is not None:
            return made
        if isinstance(content, bytes):
            raise UndecodableInput("The image cannot be decoded. Request the content without thumbnail_size.")
        raise InvalidField(
            "Only images have thumbnails. Request the content without thumbnail_size.", field="thumbnail_size"
        )


def _find(source: ExampleSource, example_id: str, index: int | None) -> int:
    if index is not None:
        if index < len(source.index):
            return index
        raise ExampleNotFound(
            f"The {source.name} has {len(source.index)} examples, and none with the index {index}. "
            "ListExamples lists them.",
            metadata={"index": str(index)},
        )
    if not example_id:
        raise InvalidField("The example is missing. Set example_id or index.", field="example_id")
    found = source.index.indexes_of(example_id)
    if len(found) > 1:
        raise InvalidField(
            f"Several examples of {source.name} have the ID {example_id[:80]!r}. Use the index.",
            field="example_id",
        )
    if not found:
        raise ExampleNotFound(
            f"No example of {source.name} has the ID {example_id[:80]!r}. ListExamples lists the examples.",
            metadata={"id": example_id},
        )
    return found[0]


def _member(example: StoredExample) -> tuple[str, int]:
    return example.archive, example.member


def _not_kept(source: ExampleSource, example: StoredExample) -> ExamplesNotKept:
    name = f"the example {example.id[:80]!r}" if example.id else "the example"
    return ExamplesNotKept(
        f"The content of {name} of {source.name} is no longer stored: it was erased, discarded or removed to "
        "stay within --example-storage. Send it again with a fine-tune."
    )
