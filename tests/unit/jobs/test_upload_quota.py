"""Uploads that are under way share the room that their tenant has."""

import pytest

from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.upload_quota import PendingUploads, UploadRoom


def refusal(nbytes: int) -> TenantQuotaExceeded:
    return TenantQuotaExceeded(str(nbytes))


def test_uploads_under_way_share_the_room_of_their_tenant() -> None:
    others = PendingUploads()
    first, second = (UploadRoom(others, "red", 100, refusal) for _ in range(2))
    UploadRoom(others, "blue", None, refusal).take(1 << 40)
    first.take(40)
    first.take(60)
    second.take(40)
    with pytest.raises(TenantQuotaExceeded, match="101"):
        first.take(61)
    first.leave()
    second.take(100)
    second.leave()
    second.leave()
    assert others.add("red", 1) == 1
