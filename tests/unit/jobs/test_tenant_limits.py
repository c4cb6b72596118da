"""A tenant's limits are those of the access file as it is now, else those of the flags."""

from pathlib import Path

from headstart_server.auth.authenticator import Authenticator
from headstart_server.jobs.quotas import MOST_SHOWN, TenantUsageGauge, tenant_limits
from headstart_server.jobs.stored import Stored, TenantLimits
from headstart_server.settings.settings import Settings

LIMITS = Settings.of(max_versions_per_tenant=7, max_storage_per_tenant=2 << 20).limits


def test_without_an_access_file_the_flags_are_for_all() -> None:
    limits = tenant_limits(LIMITS, Authenticator(None))
    assert limits("") == limits("red") == TenantLimits(versions=7, stored_bytes=2 << 20)
    assert tenant_limits(Settings().limits, Authenticator(None))("") == TenantLimits()


def test_the_file_goes_before_the_flags_and_may_change(tmp_path: Path) -> None:
    path = tmp_path / "access.toml"
    path.write_text('[[tenants]]\nname = "red"\nmax_storage = "5MiB"\n')
    limits = tenant_limits(LIMITS, Authenticator(path))
    assert limits("red") == TenantLimits(versions=7, stored_bytes=5 << 20)
    assert limits("blue") == TenantLimits(versions=7, stored_bytes=2 << 20)
    path.write_text('[[tenants]]\nname = "red"\nmax_storage = "off"\nmax_versions = 10\n')
    assert limits("red") == TenantLimits(versions=10, stored_bytes=0)


def test_metrics_tell_of_those_that_store_most_only() -> None:
    found = {f"tenant{place}": Stored(version_count=place, version_bytes=place) for place in range(100)}
    usage = TenantUsageGauge(lambda: found)
    assert usage.nbytes() == {}
    usage.refresh()
    assert len(usage.nbytes()) == MOST_SHOWN
    assert usage.nbytes()["tenant99"] == 99.0
    assert usage.versions().keys() == usage.nbytes().keys()
