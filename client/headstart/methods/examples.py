"""Methods that read stored examples."""

from collections.abc import Iterator
from functools import partial
from typing import Unpack

from headstart.calls import example_calls
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.methods.base import Methods
from headstart.results import ExampleContent, ExampleMap, ExampleRecord
from headstart.version_ref import VersionRef, parse_version


class ExampleMethods(Methods):
    """Read the examples of versions."""

    def examples(self, version: VersionRef | str, **query: Unpack[ExampleQuery]) -> Iterator[ExampleRecord]:
        """Yield the examples of a version. Pages are requested as needed.

        Args:
            version: ``pets`` (the default version), ``pets@3`` or ``pets@stable``.
            **query: conditions on the examples, and their order.

        Raises:
            NotFound: the version does not exist.
            ValueError: the issue is unknown.
        """
        return self._connection.pages(partial(example_calls.example_list, parse_version(version), query))

    def example_map(self, version: VersionRef | str) -> ExampleMap:
        """Return the examples of a version in two dimensions, at most 100,000 points.

        Args:
            version: as in `examples`.

        Raises:
            NotFound: the version does not exist.
            FailedPrecondition: the version has no map.
        """
        return self._connection.send(example_calls.example_map(parse_version(version)))

    def example_content(self, version: VersionRef | str, example: ExampleKey) -> ExampleContent:
        """Return the content of an example.

        Args:
            version: as in `examples`.
            example: the ID, the index or the record of the example.

        Raises:
            NotFound: the version or the example does not exist.
            FailedPrecondition: the content is no longer stored.
        """
        return self._connection.send(example_calls.example_content(parse_version(version), example))

    def example_thumbnail(
        self, version: VersionRef | str, example: ExampleKey, size: ThumbnailSize = 128
    ) -> ExampleContent:
        """Return a thumbnail of an example as a JPEG image.

        Args:
            version: as in `examples`.
            example: as in `example_content`.
            size: the length of the longer side, in pixels.

        Raises:
            NotFound: the version or the example does not exist.
            FailedPrecondition: the content is no longer stored.
            InvalidArgument: the example is not an image.
        """
        return self._connection.send(example_calls.example_content(parse_version(version), example, size))
