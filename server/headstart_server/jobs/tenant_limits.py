"""How much each tenant may store, and which of them store most."""

import heapq
from collections.abc import Callable, Mapping

from headstart_server.auth.authenticator import Authenticator
from headstart_server.jobs.limits import TenantLimits
from headstart_server.jobs.stored import Stored
from headstart_server.settings.job_groups import LimitsGroup

#: Tenants that the metrics tell of by name: of any number of them some hundreds of series would be too many.
MOST_SHOWN = 20


def tenant_limits(limits: LimitsGroup, authenticator: Authenticator) -> Callable[[str], TenantLimits]:
    """Return a function that returns a tenant's limits: of the access file, else of the server's flags."""

    def of(tenant: str) -> TenantLimits:
        said = authenticator.tenant(tenant)
        versions, storage = said.max_versions, said.max_storage
        return TenantLimits(
            versions=limits.max_versions_per_tenant or 0 if versions is None else versions,
            stored_bytes=limits.max_storage_per_tenant or 0 if storage is None else storage,
        )

    return of


class TenantUsageGauge:
    """What tenants stored at the last refresh: a scrape must not wait for a sum over all."""

    def __init__(self, read: Callable[[], Mapping[str, Stored]]) -> None:
        self._read = read
        self._largest: Mapping[str, Stored] = {}
        #: Bytes of the examples of all tenants.
        self.example_bytes = 0.0
        #: Bytes of the captured inputs of all tenants.
        self.capture_bytes = 0.0

    def refresh(self) -> None:
        """Read the usage of all tenants."""
        found = self._read()
        self.example_bytes = float(sum(stored.example_bytes for stored in found.values()))
        self.capture_bytes = float(sum(stored.capture_bytes for stored in found.values()))
        largest = heapq.nlargest(MOST_SHOWN, found, key=lambda tenant: (found[tenant].nbytes, tenant))
        self._largest = {tenant: found[tenant] for tenant in largest}

    def nbytes(self) -> Mapping[str, float]:
        """Bytes of those that store most."""
        return {tenant: float(stored.nbytes) for tenant, stored in self._largest.items()}

    def versions(self) -> Mapping[str, float]:
        """Number of versions of those that store most."""
        return {tenant: float(stored.version_count) for tenant, stored in self._largest.items()}
