"""Has versions exported: each once for all who ask for it, and stopped when all have left."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headstart_server.backbones.export_request import ExportFormat, ExportRequest
from headstart_server.errors import Cancelled, ExportQueueFull
from headstart_server.export.cache import ExportCache, Key, OpenExport
from headstart_server.export.parts import export_request
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version

__all__ = ["Exporter"]

#: Exports that are made at once; each takes a process with a gigabyte or more of memory.
AT_ONCE = 1
#: Further ones that wait for their turn.
WAITING = 8
#: Seconds after which a caller may try again when as many wait.
RETRY_SECONDS = 10.0

ExportNetwork = Callable[[str, ExportRequest, Path, Callable[[], None]], None]
"""Writes a version with its backbone, of a name, into an empty folder; calls its last argument often, which
may raise to stop it."""


@dataclass(kw_only=True, slots=True)
class _Making:
    done: "asyncio.Future[None]"
    stop: threading.Event
    callers: int = 0


class Exporter:
    """Has versions exported. Belongs to one event loop.

    Args:
        registry: knows versions.
        export_network: writes one.
        cache: keeps what was written.
        at_once: exports that are made at once.
        waiting: further ones that wait.
    """

    def __init__(
        self,
        registry: Registry,
        export_network: ExportNetwork,
        cache: ExportCache,
        *,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
    ) -> None:
        self._registry = registry
        self._export_network = export_network
        self._cache = cache
        self._most = at_once + waiting
        self._pool = ThreadPoolExecutor(at_once, "export")
        self._making: dict[Key, _Making] = {}

    @property
    def under_way(self) -> int:
        """Exports that are being made, or wait for it."""
        return len(self._making)

    async def open(self, selector: Selector, form: ExportFormat) -> tuple[Version, OpenExport]:
        """An export of a version, made first unless it is kept; the caller closes it.

        Cancelled, it stops the making if nobody else waits for it.

        Raises:
            ModelNotFound, VersionNotFound or AliasNotFound: there is no such version.
            ExportQueueFull: as many exports wait as may.
            HeadstartError: as `Registry.load` and `Catalog.export`.
        """
        version = await asyncio.to_thread(self._version, selector)
        key = (version.artifact, form)
        while True:
            found = await asyncio.to_thread(self._cache.open, key)
            if found is not None:
                return version, found
            await self._made(key, version)

    def sweep(self) -> None:
        """Remove exports that are too old, or of versions that were deleted."""
        live: set[str] | None = None

        def is_live(artifact: str) -> bool:
            nonlocal live
            if live is None:
                live = {version.artifact for version in self._registry.all_versions()}
            return artifact in live

        self._cache.sweep(is_live)

    def _version(self, selector: Selector) -> Version:
        return self._registry.version(selector.model, self._registry.resolve(selector))

    async def _made(self, key: Key, version: Version) -> None:
        making = self._making.get(key)
        if making is None or making.stop.is_set():
            making = self._begun(key, version)
        making.callers += 1
        try:
            await asyncio.shield(making.done)
        finally:
            making.callers -= 1
            if making.callers == 0:
                making.stop.set()

    def _begun(self, key: Key, version: Version) -> _Making:
        if len(self._making) >= self._most:
            raise ExportQueueFull(
                f"Expected at most {self._most} exports under way. Received: one more. Try again in "
                f"{RETRY_SECONDS:.0f} seconds.",
                retry_after=RETRY_SECONDS,
            )
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, self._make, key, version, stop)
        making = self._making[key] = _Making(done=done, stop=stop)

        def end(future: "asyncio.Future[None]") -> None:
            if self._making.get(key) is making:
                del self._making[key]
            if not future.cancelled():
                future.exception()  # told to those who wait, of whom there may be none left

        done.add_done_callback(end)
        return making

    def _make(self, key: Key, version: Version, stop: threading.Event) -> None:
        def check() -> None:
            if stop.is_set():
                raise Cancelled("The caller no longer waits for the export.")

        check()
        loaded = self._registry.load(version.model, version.number)
        request = export_request(version, loaded, key[1])
        folder = self._cache.new_folder()
        try:
            self._export_network(version.manifest.backbone, request, folder, check)
            self._cache.add(key, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
