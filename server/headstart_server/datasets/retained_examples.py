"""The contents of the examples that a version was made of, as far as they are kept."""

from collections.abc import Callable, Collection
from contextlib import closing

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.errors import ArtifactDamaged
from headstart_server.models.registry import Registry
from headstart_server.models.version import Version


class RetainedExamples:
    """Reads examples of versions.

    Args:
        open_reader: opens a reader of what lies in archives.
    """

    def __init__(self, registry: Registry, open_reader: Callable[[], ArchiveReader]) -> None:
        self._registry = registry
        self._open_reader = open_reader

    def contents(self, version: Version, indexes: Collection[int]) -> dict[int, Content]:
        """The contents of examples by their indexes; those that are not kept, or not whole, are left out.

        Raises:
            VersionNotFound: the version was deleted meanwhile.
            ArtifactDamaged: the list of its examples is damaged or missing.
        """
        listed = self._registry.files.examples(version) if version.has_examples else None
        if listed is None:
            return {}
        found: dict[int, Content] = {}
        with closing(self._open_reader()) as reader:
            for index in indexes:
                if 0 <= index < len(listed.examples):
                    # An archive may be removed while it is read: examples are kept up to a bound only.
                    try:
                        found[index] = reader.read(listed.examples[index])
                    except ArtifactDamaged:
                        continue
        return found
