"""The most expensive requests within the limits, at a small size; `make cost` sends larger ones."""

import pytest

from cost.cases import grpc_cases, http_cases
from cost.measure import CALL_SECONDS
from cost.run import measured
from headstart_server.api.grpc.permissions import RULES
from server_process import START_SECONDS

BUDGET = 1 << 20
#: Seconds in which requests are begun; a busy machine sends fewer of them.
SECONDS = 60.0


def test_every_method_with_fields_that_can_be_large_has_requests() -> None:
    sent = {case.path for case in grpc_cases(1 << 16)}
    # Requests without a field that can be large.
    missing = {method for method in RULES if method not in sent and "grpc." not in method}
    assert {method.rpartition("/")[2] for method in missing} <= {
        "ServerLive",
        "ServerReady",
        "ServerMetadata",
        "HandleReloadConfigRequest",
        "GetServerInfo",
        "GetUsage",
        "WhoAmI",
    }, missing
    assert {case.media_type for case in http_cases(1 << 16)} == {
        "application/json",
        "application/jsonl",
        "application/zip",
        "multipart/form-data; boundary=x",
    }


# Before the first request a server starts, and the last one has its own time.
@pytest.mark.timeout(2 * START_SECONDS + SECONDS + CALL_SECONDS)
def test_requests_cost_the_event_loop_memory_and_health_no_more_than_they_may() -> None:
    only = ("HTTP", "stored", "tensors", "headstart.v1.PredictionService")
    assert measured(BUDGET, SECONDS, only) == []
