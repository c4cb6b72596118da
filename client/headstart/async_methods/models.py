"""Methods that manage models, versions, aliases and stored examples."""

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
    ModelDetails,
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
    """List, update and delete stored resources."""

    async def models(self) -> list[Model]:
        """Yield all models by name; as `Client.models`."""
        return [model async for model in self._connection.pages(calls.model_page)]

    async def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Return a model with its versions; as `Client.get_model`."""
        model = await self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return model
        query, versions = VersionQuery(view="full"), list[Version]()
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        pages = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        async for version in pages:
            versions.append(version)
            if len(versions) == max_versions:
                break
        return replace(model, versions=tuple(versions))

    async def get_version(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> Version:
        """Return a version; as `Client.get_version`."""
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
        """Yield the versions of a model; as `Client.versions`."""
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
        """Update the details and the expiration of a version; as `Client.update_version`."""
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return await self._connection.send(call)

    async def update_model(self, model: str, **details: Unpack[ModelDetails]) -> Model:
        """Update the details of a model; as `Client.update_model`."""
        return await self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> AsyncIterator[AliasEvent]:
        """Yield the moves of a model's aliases; as `Client.alias_events`."""
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    async def traffic(
        self, model: str, *, version: int | None = None, window: timedelta | None = None
    ) -> Traffic:
        """Return the traffic of a model's versions; as `Client.traffic`."""
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
        """Set or move an alias; as `Client.set_alias`."""
        return await self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    async def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias; as `Client.delete_alias`."""
        await self._connection.send(calls.alias_removal(model, alias, etag))

    async def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Delete a version; as `Client.delete_version`."""
        await self._connection.send(calls.version_deletion(model, version, force))

    async def erase_example(
        self, model: str, example_id: str, *, rebuild: bool = False, request_id: str = ""
    ) -> ErasedExample:
        """Erase the data of an example; as `Client.erase_example`."""
        return await self._connection.send(
            calls.example_deletion(example_id, model, rebuild=rebuild, request_id=request_id)
        )

    async def delete_model(self, model: str, *, force: bool = False) -> int:
        """Delete a model; as `Client.delete_model`."""
        return await self._connection.send(calls.model_deletion(model, force))
