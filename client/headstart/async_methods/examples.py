"""Methods that read stored examples."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Unpack

from headstart.async_methods.base import AsyncMethods
from headstart.calls import example_calls
from headstart.calls.example_calls import ExampleKey, ExampleQuery, ThumbnailSize
from headstart.results import ExampleContent, ExampleMap, ExampleRecord
from headstart.version_ref import VersionRef, parse_version


class AsyncExampleMethods(AsyncMethods):
    """Read the examples of versions."""

    def examples(
        self, version: VersionRef | str, **query: Unpack[ExampleQuery]
    ) -> AsyncIterator[ExampleRecord]:
        """Yield the examples of a version; as `Client.examples`."""
        return self._connection.pages(partial(example_calls.example_list, parse_version(version), query))

    async def example_map(self, version: VersionRef | str) -> ExampleMap:
        """Return the examples of a version in two dimensions; as `Client.example_map`."""
        return await self._connection.send(example_calls.example_map(parse_version(version)))

    async def example_content(self, version: VersionRef | str, example: ExampleKey) -> ExampleContent:
        """Return the content of an example; as `Client.example_content`."""
        return await self._connection.send(example_calls.example_content(parse_version(version), example))

    async def example_thumbnail(
        self, version: VersionRef | str, example: ExampleKey, size: ThumbnailSize = 128
    ) -> ExampleContent:
        """Return a thumbnail of an example; as `Client.example_thumbnail`."""
        call = example_calls.example_content(parse_version(version), example, size)
        return await self._connection.send(call)
