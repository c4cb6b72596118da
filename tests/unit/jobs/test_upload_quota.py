"""Uploads that are under way share the room that their tenant has."""

import pytest

from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.quotas import PendingUploads, UploadQuota


def refusal(nbytes: int) -> TenantQuotaExceeded:
    return TenantQuotaExceeded(str(nbytes))


def test_uploads_under_way_share_the_room_of_their_tenant() -> None:
    others = PendingUploads()
    first, second = (UploadQuota(others, "red", 100, refusal) for _ in range(2))
    UploadQuota(others, "blue", None, refusal).reserve(1 << 40)
    first.reserve(40)
    first.reserve(60)
    second.reserve(40)
    with pytest.raises(TenantQuotaExceeded, match="101"):
        first.reserve(61)
    first.release()
    second.reserve(100)
    second.release()
    second.release()
    assert others.add("red", 1) == 1
