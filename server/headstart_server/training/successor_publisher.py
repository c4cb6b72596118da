"""Publishes the successor of a version, with the aliases that name the version."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, RebuiltVersion
from headstart_server.errors import VersionNotFound
from headstart_server.evaluation.promotion_check import MAX_PROMOTION_CHECKS, PromotionCheck
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.registry import AliasMovedError, Registry
from headstart_server.models.replacement import Successor
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Version
from headstart_server.storage.attempts import Attempts
from headstart_server.training.version_rebuilder import RebuiltHead

#: Seconds between two reads of all versions of a model while many of them are replaced.
REFRESH_SECONDS = 1.0


class SuccessorPublisher:
    """Stores and publishes successors."""

    def __init__(
        self,
        erasures: ErasureLog,
        registry: Registry,
        store: VersionStore,
        gate: PromotionCheck,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._erasures = erasures
        self._registry = registry
        self._store = store
        self._gate = gate
        self._clock = clock
        self._refreshed = -REFRESH_SECONDS
        #: Artifacts of replaced versions whose files this process has removed.
        self._removed = set[str]()

    def publish(
        self, erasure_id: str, version: Version, rebuilt: RebuiltHead, parent: RebuiltVersion | None
    ) -> RebuiltVersion | None:
        """Publish the successor of a version; return None if the version was replaced or deleted before.

        Raises:
            ExampleErasedError: an example of the successor was erased since it was fitted.
        """
        manifest = rebuilt.manifest
        if parent is not None and parent.number:
            manifest = replace(manifest, parent=parent.number)
        # Another erasure may write another successor of the same version at the same time.
        artifact = f"{manifest.job_id}.{uuid.uuid4().hex[:16]}"
        manifest, size_bytes = self._store.write(artifact, rebuilt.candidate.head, manifest, rebuilt.files)
        promotion: Promotion | None = None
        is_judged = bool(version.aliases)
        for _ in range(MAX_PROMOTION_CHECKS):
            if is_judged:
                try:
                    promotion = self._gate.judge_replacement(version, rebuilt.candidate, rebuilt.left_out)
                except VersionNotFound:
                    break
            successor = Successor(
                artifact=artifact,
                size_bytes=size_bytes,
                manifest=manifest,
                archives=rebuilt.candidate.known.archives,
                members={(each.archive, each.member) for each in rebuilt.candidate.known.examples},
                judged=is_judged,
            )
            try:
                result = self._erasures.replace(erasure_id, version, successor, promotion)
            except AliasMovedError:
                is_judged = True
                continue
            except ExampleErasedError:
                self._store.discard(artifact)
                raise
            if result is None:
                break
            self._forget(version)
            return result
        self._store.discard(artifact)
        return None

    def remove_replaced(self, record: ErasureRecord) -> None:
        """Remove the files of the versions that an erasure replaced, unless this process has removed them.

        The process that replaced a version may have failed or died before it removed them. Raise the first
        error at the end.
        """
        replaced = {result.old_artifact for result in record.versions.values() if result is not None}
        Attempts().run_all(sorted(replaced - self._removed - {""}), self._remove)
        self._removed.clear()

    def finish(self) -> None:
        """Make the last successors visible in this process, and remove the archives that nothing needs."""
        self._registry.finish_replacing()

    def _remove(self, artifact: str) -> None:
        self._store.remove(artifact)
        self._removed.add(artifact)

    def _forget(self, version: Version) -> None:
        now = self._clock()
        is_due = now >= self._refreshed + REFRESH_SECONDS
        if self._registry.forget_replaced(version, refresh=is_due):
            self._removed.add(version.artifact)
        if is_due:
            self._refreshed = now
