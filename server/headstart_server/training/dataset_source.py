"""Sources of the datasets that a fine-tune names."""

from collections.abc import Callable, Generator, Sequence

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.dataset_catalog import NamedExamples
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.errors import InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.task import Task


class DatasetSources:
    """Provide the examples of fine-tunes that name a dataset or its URI instead of sending examples.

    Args:
        named: reads datasets that are stored under names.
        uris: reads datasets at URIs; None if the server allows none.
    """

    def __init__(self, named: NamedExamples, uris: DatasetReader | None) -> None:
        self._named = named
        self._uris = uris

    def check(self, spec: FineTuneSpec, tenant: str) -> None:
        """Check that a spec's URI, if it has one, may be read on behalf of a tenant; empty for no tenant."""
        if spec.dataset_uri is not None:
            self._reader().check(spec.dataset_uri, tenant)

    def stored(self, dataset: str) -> Sequence[StoredExample]:
        """Return the examples of a named dataset without their contents, at least one."""
        return self._named.stored(dataset)

    def like(self, examples: Sequence[StoredExample]) -> Content:
        """Return a content with the same default backbone as some stored examples."""
        if examples[0].kind == "tensor":
            return self._named.first_content(examples)
        return "" if examples[0].kind == "text" else b""

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str, task: Task | None
    ) -> Generator[Example, None, None]:
        """Return the examples of the list at a URI; see `DatasetReader.examples`."""
        return self._reader().examples(uri, checkpoint, tenant, task)

    def _reader(self) -> DatasetReader:
        if self._uris is None:
            raise InvalidField(
                "This server allows no dataset URIs. Send the examples, or start the server with "
                "--allow-dataset-uri.",
                field="spec.dataset_uri",
            )
        return self._uris
