"""Sources of datasets that a fine-tune names."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from headstart_server.backbones.contract.backbone import Content
from headstart_server.errors import ArtifactDamaged, DatasetNotFound, InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.task import Task


class DatasetSource(Protocol):
    """Datasets that lie at URIs."""

    def check(self, uri: str, tenant: str) -> None:
        """Check that the list at a URI may be read on behalf of a tenant; empty for none."""

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str, task: Task | None
    ) -> Generator[Example, None, None]:
        """The examples of the list at a URI, in its order.

        Args:
            checkpoint: called before each; may raise to stop.
            tenant: on whose behalf; empty for none.
            task: what is learned; None if the caller does not say.
        """


class NamedDatasets(Protocol):
    """Datasets that are stored under names."""

    def stored(self, name: str) -> Sequence[StoredExample]:
        """Return the examples of a dataset without their contents, at least one."""

    def content(self, example: StoredExample) -> Content:
        """Return the content of an example."""


class NoNamedDatasets:
    """No datasets."""

    def stored(self, name: str) -> Sequence[StoredExample]:
        """As `NamedDatasets.stored`."""
        raise DatasetNotFound(f"There is no dataset '{name}'.", metadata={"dataset": name})

    def content(self, example: StoredExample) -> Content:
        """As `NamedDatasets.content`."""
        raise ArtifactDamaged(f"The content of the example {example.id!r} is missing.")


class NoDatasetSource:
    """Rejects every URI, for a server that allows none."""

    def check(self, uri: str, tenant: str) -> None:
        """As `DatasetSource.check`."""
        del uri, tenant
        raise InvalidField(
            "Expected examples in the stream: this server reads no datasets by their URI, for none is "
            "allowed (--allow-dataset-uri). Received: a URI.",
            field="spec.dataset_uri",
        )

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str, task: Task | None
    ) -> Generator[Example, None, None]:
        """As `DatasetSource.examples`."""
        del checkpoint, task
        self.check(uri, tenant)
        yield from ()


class DatasetSources:
    """Provides the examples of fine-tunes that name a dataset, or the URI of one, instead of sending them."""

    def __init__(self, named: NamedDatasets, uris: DatasetSource) -> None:
        self._named = named
        self._uris = uris

    def check(self, spec: FineTuneSpec, tenant: str) -> None:
        """Check that the URI of a spec, if it has one, may be read on behalf of a tenant; empty for none."""
        if spec.dataset_uri is not None:
            self._uris.check(spec.dataset_uri, tenant)

    def stored(self, dataset: str) -> Sequence[StoredExample]:
        """As `NamedDatasets.stored`."""
        return self._named.stored(dataset)

    def like(self, example: StoredExample) -> Content:
        """Return a content that means the same backbone as that of a stored example."""
        if example.kind == "tensor":
            return self._named.content(example)
        return "" if example.kind == "text" else b""

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str, task: Task | None
    ) -> Generator[Example, None, None]:
        """As `DatasetSource.examples`."""
        return self._uris.examples(uri, checkpoint, tenant, task)
