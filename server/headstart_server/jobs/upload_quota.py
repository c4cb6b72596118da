"""How much uploads may bring that are under way: what is not accepted yet stands in no table."""

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


class UploadRoom:
    """The room that one upload has. Used by one caller.

    Args:
        others: counts the bytes of all uploads.
        tenant: on whose behalf it is.
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

    def take(self, nbytes: int) -> None:
        """Count the bytes that have come.

        Args:
            nbytes: all of this upload so far.

        Raises:
            TenantQuotaExceeded: there is no room for them.
        """
        if self._most is None:
            return
        total = self._others.add(self._tenant, nbytes - self._taken)
        self._taken = nbytes
        if total > self._most:
            raise self._refusal(total)

    def leave(self) -> None:
        """Count the upload out: it has ended, or what it brought is counted elsewhere."""
        self._others.add(self._tenant, -self._taken)
        self._taken = 0
