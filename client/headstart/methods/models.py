"""Methods that manage models, versions, aliases and stored examples."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, Unpack

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
from headstart.methods.base import Methods
from headstart.results import Alias, AliasEvent, ErasedExample, Model, Traffic, Version
from headstart.transport.connection import Exchange
from headstart.version_ref import version_ref


class ModelMethods(Methods):
    """List, update and delete stored resources."""

    def models(self) -> list[Model]:
        """Return all models by name, without their versions."""
        return self._connection.all_pages(calls.model_page)

    def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Return a model with its versions, newest first.

        Args:
            name: the model.
            max_versions: maximum number of versions. None: all.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.finish(_with_versions(self._connection.exchange, name, max_versions))

    def get_version(self, model: str, *, version: int | None = None, alias: str | None = None) -> Version:
        """Return a version.

        Args:
            model: the model, or ``pets@3`` or ``pets@stable``.
            version: the number of the version. None: by the alias, or the newest.
            alias: an alias of the version.

        Raises:
            NotFound: the version does not exist.
        """
        return self._connection.send(model_calls.get_version(version_ref(model, version, alias)))

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
    ) -> Iterator[Version]:
        """Yield the versions of a model, by default newest first. Pages are requested as needed.

        Args:
            model: the model.
            tags: tags that the version has, with these values.
            alias: an alias that names the version.
            backbone: the backbone of the version.
            created_after: the earliest time of publication, a datetime with a time zone.
            created_before: the end of the times of publication, exclusive; as `created_after`.
            order_by: ``version``, ``create_time`` or ``size_bytes``, with or without `` desc``.
            view: ``full`` includes confusion matrices.

        Raises:
            NotFound: the model does not exist.
            InvalidArgument: the order is unknown.
            ValueError: a time has no time zone.
        """
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

    def update_version(
        self,
        model: str,
        version: int,
        *,
        expire_time: datetime | Literal["never"] | None = None,
        ttl: timedelta | None = None,
        **details: Unpack[Details],
    ) -> Version:
        """Update the details and the expiration of a version. Omitted values stay unchanged.

        Args:
            model: the model.
            version: the number of the version.
            expire_time: the time of expiration, a datetime with a time zone; or ``never``.
            ttl: the duration from now until the expiration.
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: the version does not exist.
            InvalidArgument: a value is out of range.
            ValueError: no change is given, both a time and a duration, or a time without a time zone.
        """
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return self._connection.send(call)

    def update_model(self, model: str, **details: Unpack[ModelDetails]) -> Model:
        """Update the details and policies of a model. Omitted values stay unchanged.

        Args:
            model: the model.
            **details: the new ``display_name``, ``description``, ``tags``, ``capture``, a `CapturePolicy` or
                None to end the capture, and ``retrain``, a `RetrainPolicy` or None to end the retraining.

        Raises:
            NotFound: the model does not exist.
            InvalidArgument: a value is out of range.
            ValueError: no change is given.
        """
        return self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> Iterator[AliasEvent]:
        """Yield the moves of a model's aliases, newest first. Pages are requested as needed.

        Args:
            model: the model.
            alias: the alias. None: all aliases.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    def traffic(self, model: str, *, version: int | None = None, window: timedelta | None = None) -> Traffic:
        """Return the traffic of a model's versions, summed over all replicas.

        Args:
            model: the model.
            version: the number of the version. None: all versions.
            window: the length of the window, which ends now; at most 7 days. None: 1 hour.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.send(model_calls.traffic(model, version, window))

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        etag: str | None = None,
        *,
        traffic: Mapping[int, float] | None = None,
    ) -> Alias:
        """Set or move an alias atomically.

        Args:
            model: the model.
            alias: the alias, such as ``stable``.
            version: the number of the version.
            etag: the etag that the alias must have. None: any.
            traffic: the fraction of the Predict calls that other versions answer, by number, such as
                ``{8: 0.05}``; `version` answers the rest. None: `version` answers all calls. Replaces earlier
                fractions.

        Raises:
            NotFound: the model or version does not exist.
            InvalidArgument: the fractions are out of range or their sum exceeds 1.
            Aborted: another caller moved the alias since its etag was read.
        """
        return self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias; arguments and errors as in `set_alias`."""
        return self._connection.send(calls.alias_removal(model, alias, etag))

    def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Delete a version.

        Args:
            model: the model.
            version: the number of the version.
            force: True also deletes the aliases that name it, and ends its traffic from other aliases.

        Raises:
            NotFound: the model or version does not exist.
            FailedPrecondition: aliases name the version or send it traffic, and `force` is not set.
        """
        return self._connection.send(calls.version_deletion(model, version, force))

    def erase_example(
        self, model: str, example_id: str, *, rebuild: bool = False, request_id: str = ""
    ) -> ErasedExample:
        """Erase the content and the features of an example from all datasets with its ID.

        Without ``rebuild``, versions that were trained on it are not changed; the response lists them. The ID
        of a prediction erases its captured input.

        Args:
            model: the model whose examples are erased; ``"-"`` for all models.
            example_id: the ID of the example.
            rebuild: True replaces each version that was trained on it by one that is fitted without it, moves
                the aliases and deletes the version. The result has a certificate. Set a timeout that is long
                enough for the fits with `with_options`; a repeated call continues.
            request_id: repeating a complete erasure with the same ID returns the same certificate. Only with
                ``rebuild``.

        Raises:
            NotFound: no version and no unfinished job has such an example.
        """
        return self._connection.send(
            calls.example_deletion(example_id, model, rebuild=rebuild, request_id=request_id)
        )

    def delete_model(self, model: str, *, force: bool = False) -> int:
        """Delete a model.

        Args:
            model: the model.
            force: True also deletes its versions and aliases.

        Returns:
            The number of deleted versions.

        Raises:
            NotFound: the model does not exist.
            FailedPrecondition: the model has versions, and `force` is not set.
        """
        return self._connection.send(calls.model_deletion(model, force))


async def _with_versions(exchange: Exchange, name: str, max_versions: int | None) -> Model:
    model = await exchange.send(model_calls.get_model(name))
    if max_versions == 0:
        return model
    query, versions = VersionQuery(view="full"), list[Version]()
    size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
    async for version in exchange.pages(partial(model_calls.version_list, name, query, size=size)):
        versions.append(version)
        if len(versions) == max_versions:
            break
    return replace(model, versions=tuple(versions))
