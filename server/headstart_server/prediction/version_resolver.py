"""Resolution of a call's selectors to versions in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from headstart_server.errors import ModelNotFound, VersionNotFound
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.rows import version_not_ready_error
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector


class VersionResolver:
    """Resolve the versions of calls and load them. Runs in an event loop and does not block it.

    Args:
        registry: finds versions.
        is_under_way: returns whether a job for a model is queued or running.
        load: runs reads of a version's files in a thread, because they may wait for a bucket.
    """

    def __init__(
        self,
        registry: Registry,
        is_under_way: Callable[[str], bool],
        load: Callable[..., Awaitable[ResidentVersion]] = asyncio.to_thread,
    ) -> None:
        self._registry = registry
        self._is_under_way = is_under_way
        self._load = load

    async def resolve(
        self, selectors: Sequence[Selector], files: Collection[str] = (), router: TrafficRouter | None = None
    ) -> Sequence[ResidentVersion]:
        """Return versions in memory with some of their files; missing ones are loaded concurrently.

        Args:
            selectors: the versions.
            files: the files of evidence that each must have.
            router: chooses a version of an alias with a traffic split; None takes the version it names.

        Raises:
            HeadstartError: a version is missing or not ready yet; the error names it.
        """
        if resident := self._resident(selectors, files, router):
            return resident
        numbers = await self._ready_numbers(selectors, router)
        while True:
            try:
                return await self._loaded(selectors, numbers, files)
            except VersionNotFound:
                # Another replica has deleted or replaced it since this one read the aliases.
                await asyncio.to_thread(self._registry.index.sync)
                previous, numbers = numbers, await self._ready_numbers(selectors, router)
                if numbers == previous:
                    raise

    async def numbers(
        self, selectors: Sequence[Selector], router: TrafficRouter | None = None
    ) -> Sequence[int]:
        """Return the numbers of versions; one query finds those that are not in memory.

        Raise ModelNotFound, AliasNotFound or VersionNotFound if there is no such version.
        """
        index = self._registry.index
        numbers = [index.known(selector, router) for selector in selectors]
        if None in numbers:
            await asyncio.to_thread(index.sync)
        return [
            index.resolve(selector, router) if number is None else number
            for selector, number in zip(selectors, numbers, strict=True)
        ]

    def _resident(
        self, selectors: Sequence[Selector], files: Collection[str], router: TrafficRouter | None
    ) -> list[ResidentVersion]:
        """Return the versions if all of them and their files are in memory, otherwise an empty list."""
        found = []
        for selector in selectors:
            number = self._registry.index.known(selector, router)
            version = None if number is None else self._registry.files.resident(selector.model, number)
            if version is None or (files and not version.evidence.files.issuperset(files)):
                return []
            found.append(version)
        return found

    async def _ready_numbers(
        self, selectors: Sequence[Selector], router: TrafficRouter | None
    ) -> Sequence[int]:
        """As `numbers`; raise ModelNotReady for a model whose first job is queued or running."""
        try:
            return await self.numbers(selectors, router)
        except ModelNotFound as error:
            model = error.metadata["model"]
            if await asyncio.to_thread(self._is_under_way, model):
                raise version_not_ready_error(model) from None
            raise

    async def _loaded(
        self, selectors: Sequence[Selector], numbers: Sequence[int], files: Collection[str]
    ) -> Sequence[ResidentVersion]:
        """Return versions with some of their files, and load those that are not in memory concurrently."""
        keys = [(selector.model, number) for selector, number in zip(selectors, numbers, strict=True)]
        found = {key: self._registry.files.resident(*key) for key in dict.fromkeys(keys)}
        missing = [
            key
            for key, version in found.items()
            if version is None or not version.evidence.files.issuperset(files)
        ]
        if missing:
            loaded = await asyncio.gather(*(self._load_version(*key, files) for key in missing))
            found.update(zip(missing, loaded, strict=True))
        return [version for key in keys if (version := found[key]) is not None]

    async def _load_version(self, model: str, number: int, files: Collection[str]) -> ResidentVersion:
        version = self._registry.files.resident(model, number)
        if version is None:
            version = await self._load(self._registry.files.load, model, number)
        if not version.evidence.files.issuperset(files):
            version = await self._load(self._registry.files.with_evidence, version, files)
        return version
