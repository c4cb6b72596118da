"""Models, versions, aliases and stored examples."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, Unpack

from headstart.async_methods.base import AsyncMethods
from headstart.calls import calls, model_calls
from headstart.calls.model_calls import (
    PAGE_SIZE,
    Details,
    VersionQuery,
    VersionView,
    model_change,
    version_change,
)
from headstart.results import (
    Alias,
    AliasEvent,
    ErasedExample,
    Model,
    Traffic,
    Version,
)
from headstart.version_ref import version_ref


class AsyncModelMethods(AsyncMethods):
    """List, change and delete what is stored."""

    async def models(self) -> list[Model]:
        """Lists all models by name, without their versions."""
        return [model async for model in self._connection.pages(calls.model_page)]

    async def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Gets a model with its versions, the newest first; as `Client.get_model`."""
        found = await self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return found
        query, versions = VersionQuery(view="full"), list[Version]()
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        pages = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        async for version in pages:
            versions.append(version)
            if len(versions) == max_versions:
                break
        return replace(found, versions=tuple(versions))

    async def get_version(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> Version:
        """Returns a version."""
        return await self._connection.send(model_calls.get_version(version_ref(model, version, alias)))

    def versions(
        self,
        model: str,
        *,
        tags: Mapping[str, str] | None = None,
        alias: str | None = None,
        backbone: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        order_by: str = "version desc",
        view: VersionView = "basic",
    ) -> AsyncIterator[Version]:
        """Lists versions of a model, a page at a time; by default the newest first."""
        query = VersionQuery(
            tags=tags or {},
            alias=alias,
            backbone=backbone,
            created_after=created_after,
            created_before=created_before,
            order_by=order_by,
            view=view,
        )
        return self._connection.pages(partial(model_calls.version_list, model, query))

    async def update_version(
        self,
        model: str,
        version: int,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Changes what people say about a version, and when it expires. What is not given stays."""
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return await self._connection.send(call)

    async def update_model(self, model: str, **details: Unpack[Details]) -> Model:
        """Changes what people say about a model. What is not given stays."""
        return await self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> AsyncIterator[AliasEvent]:
        """Lists the moves of a model's aliases, the newest first; as `Client.alias_events`."""
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    async def traffic(
        self, model: str, *, version: int | None = None, window: timedelta | None = None
    ) -> Traffic:
        """Returns the traffic of a model's versions, as `Client.traffic`."""
        return await self._connection.send(model_calls.traffic(model, version, window))

    async def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        etag: str | None = None,
        *,
        traffic: Mapping[int, float] | None = None,
    ) -> Alias:
        """Sets or moves an alias, in one step for all readers; as `Client.set_alias`."""
        return await self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    async def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias."""
        await self._connection.send(calls.alias_removal(model, alias, etag))

    async def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Deletes a version; as `Client.delete_version`."""
        await self._connection.send(calls.version_deletion(model, version, force))

    async def erase_example(self, model: str, example_id: str) -> ErasedExample:
        """Deletes the data of an example; as `Client.erase_example`."""
        return await self._connection.send(calls.example_deletion(example_id, model))

    async def delete_model(self, model: str, *, force: bool = False) -> int:
        """Deletes a model and gives the number of versions that were deleted."""
        return await self._connection.send(calls.model_deletion(model, force))
