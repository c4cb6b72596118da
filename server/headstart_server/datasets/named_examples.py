"""The examples of named datasets, for jobs and evaluations."""

from collections.abc import Iterator, Sequence
from contextlib import closing

from headstart_server.backbones.contract.backbone import Content
from headstart_server.database.locks import batched
from headstart_server.datasets.dataset_catalog import DatasetCatalog
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.errors import EmptyDataset
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample

#: Examples whose contents are read at once.
AT_ONCE = 64


class NamedExamples:
    """Reads the examples of named datasets."""

    def __init__(self, catalog: DatasetCatalog, store: DatasetStore) -> None:
        self._catalog = catalog
        self._store = store

    def stored(self, name: str) -> Sequence[StoredExample]:
        """Return the examples of a dataset without their contents."""
        examples = self._catalog.examples(name)
        if not examples:
            raise EmptyDataset(f"All examples of the dataset '{name}' were erased. Upload another dataset.")
        return examples

    def content(self, example: StoredExample) -> Content:
        """Return the content of an example. Raise StorageUnavailable if the bucket does not answer."""
        with closing(self._store.reader()) as reader:
            return reader.read(example)

    def batches(self, name: str) -> Iterator[list[Example]]:
        """Yield the examples of a dataset, some at a time; raise as `stored` and `content`."""
        with closing(self._store.reader()) as reader:
            for part in batched(self.stored(name), AT_ONCE):
                yield [
                    Example(
                        content=reader.read(example),
                        target=example.target,
                        id=example.id,
                        held_out=example.held_out,
                        weight=example.weight,
                    )
                    for example in part
                ]
