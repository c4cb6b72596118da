"""The log of erasures, which several replicas change."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fakes import Publisher
from headstart_server.datasets import erasure_log
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRequest

#: Time limit of a wait that is over quickly unless the code is wrong.
SECONDS = 60.0


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_two_replicas_may_add_the_same_version(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ErasureLog(publisher.database)
    with publisher.database.write() as connection:
        request = ErasureRequest(example_id="cat0")
        erasure_id = log.begin(connection, request, [("pets", 1)], contents=1, places={}, archives=())
    add, both = erasure_log._add_versions, threading.Barrier(2)

    def add_at_once(*arguments: Any) -> None:
        both.wait(SECONDS)
        add(*arguments)

    monkeypatch.setattr(erasure_log, "_add_versions", add_at_once)
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(log.add_versions, erasure_id, [("pets", 1), ("pets", number), ("pets", 3)])
            for number in (2, 4)
        ]
        for call in calls:
            call.result(SECONDS)
    assert log.get(erasure_id).pending == [("pets", 1), ("pets", 2), ("pets", 3), ("pets", 4)]
