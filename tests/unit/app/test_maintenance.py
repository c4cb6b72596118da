"""Periodic tasks continue after an unexpected error."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import PATIENCE
from headstart_server.app import maintenance
from headstart_server.app.maintenance import Maintenance


async def test_erasures_are_resumed_after_an_unexpected_error(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, resumed = asyncio.get_running_loop(), asyncio.Event()
    errors = iter([RuntimeError("no")])

    def take_cleaning_turn(task: str, seconds: float) -> bool:
        for error in errors:
            raise error
        return True

    def resume() -> int:
        loop.call_soon_threadsafe(resumed.set)
        return 0

    objects: Any = SimpleNamespace(
        job_store=SimpleNamespace(cleaner=SimpleNamespace(take_cleaning_turn=take_cleaning_turn)),
        erasures=SimpleNamespace(resume=resume),
    )
    monkeypatch.setattr(maintenance, "ERASURE_SECONDS", 0.0)
    running = asyncio.create_task(Maintenance(objects).resume_erasures_repeatedly())
    waiting = asyncio.create_task(resumed.wait())
    done, _ = await asyncio.wait({running, waiting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    assert done == {waiting}
