"""Models, versions, aliases and stored examples."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Literal, Unpack

from headstart.calls import calls, model_calls
from headstart.calls.model_calls import (
    PAGE_SIZE,
    Details,
    VersionQuery,
    VersionView,
    model_change,
    version_change,
)
from headstart.methods.base import Methods
from headstart.results import (
    Alias,
    AliasEvent,
    ErasedExample,
    Model,
    Traffic,
    Version,
)
from headstart.version_ref import version_ref


class ModelMethods(Methods):
    """List, change and delete what is stored."""

    def models(self) -> list[Model]:
        """Lists all models by name, without their versions."""
        return list(self._connection.pages(calls.model_page))

    def get_model(self, name: str, *, max_versions: int | None = None) -> Model:
        """Gets a model with its versions, the newest first.

        Args:
            name: the model.
            max_versions: the most versions to get. 0: none. None: all.

        Raises:
            NotFound: there is no such model.
        """
        found = self._connection.send(model_calls.get_model(name))
        if max_versions == 0:
            return found
        query = VersionQuery(view="full")
        size = PAGE_SIZE if max_versions is None else min(max_versions, PAGE_SIZE)
        versions = self._connection.pages(partial(model_calls.version_list, name, query, size=size))
        return replace(found, versions=tuple(islice(versions, max_versions)))

    def get_version(self, model: str, *, version: int | None = None, alias: str | None = None) -> Version:
        """Returns a version.

        Args:
            model: the model, or ``pets@3`` or ``pets@stable``.
            version: the number of its version. None: by the alias, or the newest.
            alias: an alias of the version.

        Raises:
            NotFound: there is no such version.
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
        """Lists versions of a model, a page at a time; by default the newest first.

        Args:
            model: the model.
            tags: tags that a version has, each with this value.
            alias: an alias that names it.
            backbone: its backbone.
            created_after: it was published at this time or later.
            created_before: it was published before this time.
            order_by: ``version``, ``create_time`` or ``size_bytes``, with or without `` desc``.
            view: ``full`` returns confusion matrices, too.

        Raises:
            NotFound: there is no such model.
            InvalidArgument: the order is unknown.
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
        """Changes what people say about a version, and when it expires. What is not given stays.

        Args:
            model: the model.
            version: the number of the version.
            expire_time: when it expires, or ``never``.
            ttl: how long from now until it expires.
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: there is no such version.
            InvalidArgument: a value is out of range.
            ValueError: nothing is to change, or both a time and a duration are given.
        """
        call = version_change(model, version, details, expire_time=expire_time, ttl=ttl)
        return self._connection.send(call)

    def update_model(self, model: str, **details: Unpack[Details]) -> Model:
        """Changes what people say about a model. What is not given stays.

        Args:
            model: the model.
            **details: the new ``display_name``, ``description`` and ``tags``.

        Raises:
            NotFound: there is no such model.
            ValueError: nothing is to change.
        """
        return self._connection.send(model_change(model, details))

    def alias_events(self, model: str, alias: str | None = None) -> Iterator[AliasEvent]:
        """Lists the moves of a model's aliases, the newest first, a page at a time.

        Args:
            model: the model.
            alias: only moves of this alias. None: of all aliases.

        Raises:
            NotFound: there is no such model.
        """
        return self._connection.pages(partial(model_calls.alias_event_list, model, alias))

    def traffic(self, model: str, *, version: int | None = None, window: timedelta | None = None) -> Traffic:
        """Returns the traffic of a model's versions, summed over all replicas.

        Args:
            model: the model.
            version: only the traffic of this version. None: of all versions.
            window: the length of the window, which ends now; at most 7 days. None: 1 hour.

        Raises:
            NotFound: there is no such model.
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
        """Sets or moves an alias, in one step for all readers.

        Args:
            model: the model.
            alias: the alias, such as ``stable``.
            version: the number of the version it shall name.
            etag: act only if the alias has this etag now. None: act anyway.
            traffic: by number the share of the calls to predict that other versions shall answer, such as
                ``{8: 0.05}``; `version` answers the rest. None: it answers all. Shares it had before end.

        Raises:
            NotFound: there is no such model or version.
            InvalidArgument: the fractions are out of range or their sum exceeds 1.
            Aborted: someone else moved the alias since its etag was read.
        """
        return self._connection.send(calls.alias_setting(model, alias, version, etag, traffic))

    def delete_alias(self, model: str, alias: str, etag: str | None = None) -> None:
        """Delete an alias; arguments and errors as in `set_alias`."""
        self._connection.send(calls.alias_removal(model, alias, etag))

    def delete_version(self, model: str, version: int, *, force: bool = False) -> None:
        """Deletes a version.

        Args:
            model: the model.
            version: the number of the version.
            force: True removes the aliases that name it too, and ends its traffic from other aliases.

        Raises:
            NotFound: there is no such model or version.
            FailedPrecondition: aliases name it or give it a share, and `force` is not set.
        """
        self._connection.send(calls.version_deletion(model, version, force))

    def erase_example(self, model: str, example_id: str) -> ErasedExample:
        """Deletes the data of an example: its content and its features, wherever it was sent with this id.

        Versions that were trained on it are not changed; the response lists them.

        Args:
            model: the model whose examples are erased; ``"-"`` for all models.
            example_id: the ID that it was sent with.

        Raises:
            NotFound: no version and no job under way knows such an example.
        """
        return self._connection.send(calls.example_deletion(example_id, model))

    def delete_model(self, model: str, *, force: bool = False) -> int:
        """Delete a model.

        Args:
            model: the model.
            force: whether to delete its versions and aliases, too.

        Returns:
            The number of versions that were deleted.

        Raises:
            NotFound: the model does not exist.
            FailedPrecondition: the model has versions, and `force` is not set.
        """
        return self._connection.send(calls.model_deletion(model, force))
