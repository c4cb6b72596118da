"""The turn of influences: one piece of work at a time, whatever their callers do."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from headstart_server.api.grpc.executors import CallThreads, Work
from headstart_server.errors import InvalidField
from headstart_server.prediction.influence import InfluenceTurn

PATIENCE = 60.0


class _Source:
    """Builds models that wait, and counts the concurrent builds."""

    def __init__(self) -> None:
        self.go_on, self.has_begun = threading.Event(), threading.Event()
        self.builds = 0
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def get(self, version: Any, embedder: Any) -> Any:
        with self._lock:
            self.builds += 1
            self._now += 1
            self.most = max(self.most, self._now)
        self.has_begun.set()
        self.go_on.wait(PATIENCE)
        with self._lock:
            self._now -= 1
        return (version, embedder)


async def test_builds_whose_callers_left_do_not_run_next_to_each_other() -> None:
    source = _Source()
    turn = InfluenceTurn(source, CallThreads().of(Work.INFLUENCE).run)
    version: Any = SimpleNamespace(backbone="fake")
    embedders: Any = {"fake": "embedder"}
    left = [asyncio.create_task(turn.models([version], embedders)) for _ in range(40)]
    await asyncio.to_thread(source.has_begun.wait, PATIENCE)
    for call in left:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    last = asyncio.create_task(turn.models([version], embedders))
    await asyncio.sleep(0)
    source.go_on.set()
    models: Any = await last
    assert models == [(version, "embedder")]
    assert (source.most, source.builds) == (1, 2)


async def test_a_server_without_influence_says_so() -> None:
    with pytest.raises(InvalidField, match="does not support influence"):
        await InfluenceTurn().models([], {})
