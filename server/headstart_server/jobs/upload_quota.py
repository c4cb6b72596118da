"""The quota of uploads that are under way; no table has their bytes before they are accepted."""

import threading
from collections.abc import Callable

from headstart_server.errors import TenantQuotaExceeded


class PendingUploads:
    """Bytes of the uploads that are under way in this process, by tenant. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nbytes: dict[str, int] = {}

    def add(self, tenant: str, nbytes: int) -> int:
        """Count more bytes, or fewer; returns those of the tenant now."""
        with self._lock:
            total = self._nbytes.get(tenant, 0) + nbytes
            if total:
                self._nbytes[tenant] = total
            else:
                self._nbytes.pop(tenant, None)
            return total


class UploadQuota:
    """Reserves the bytes of one upload from its tenant's quota. Used by one caller.

    Args:
        most: bytes that the tenant's uploads may bring together; None for any number.
        refusal: gives the error for so many bytes.
    """

    def __init__(
        self,
        others: PendingUploads,
        tenant: str,
        most: int | None,
        refusal: Callable[[int], TenantQuotaExceeded],
    ) -> None:
        self._others = others
        self._tenant = tenant
        self._most = most
        self._refusal = refusal
        self._taken = 0

    def reserve(self, nbytes: int) -> None:
        """Reserve the bytes received so far."""
        if self._most is None:
            return
        total = self._others.add(self._tenant, nbytes - self._taken)
        self._taken = nbytes
        if total > self._most:
            raise self._refusal(total)

    def release(self) -> None:
        """Release the reservation once the upload has ended or the job counts its bytes."""
        self._others.add(self._tenant, -self._taken)
        self._taken = 0
