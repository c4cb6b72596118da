"""Periodic tasks continue after an unexpected error, and a server starts next to files it cannot remove."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import PATIENCE
from headstart_server.app import maintenance
from headstart_server.app.maintenance import Maintenance
from headstart_server.errors import DatabaseUnavailable, LocalStorageUnavailable, StorageFull


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
    await run_until(resumed, Maintenance(objects).resume_erasures_repeatedly())


async def run_until(event: asyncio.Event, loop: Coroutine[Any, Any, object]) -> None:
    """Run a loop that never ends until an event is set; fail if the loop ends before."""
    running, waiting = asyncio.create_task(loop), asyncio.create_task(event.wait())
    done, _ = await asyncio.wait({running, waiting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    assert done == {waiting}


@pytest.mark.parametrize("error", [RuntimeError("no"), DatabaseUnavailable("gone"), StorageFull()])
async def test_traffic_counts_are_written_after_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    loop, written = asyncio.get_running_loop(), asyncio.Event()
    errors = iter([error])

    def write() -> None:
        for each in errors:
            raise each
        loop.call_soon_threadsafe(written.set)

    objects: Any = SimpleNamespace(traffic=SimpleNamespace(write=write))
    monkeypatch.setattr(maintenance, "TRAFFIC_SECONDS", 0.0)
    await run_until(written, Maintenance(objects).write_traffic_repeatedly())


@pytest.mark.parametrize("error", [LocalStorageUnavailable("The folder cannot be emptied."), StorageFull()])
def test_a_leftover_that_cannot_be_removed_stops_neither_a_start_nor_other_removals(error: Exception) -> None:
    removed: list[str] = []

    def recover(*, older_than: float) -> int:
        raise error

    def remove_leftovers(unfinished: Any, *, older_than: float) -> int:
        removed.append("versions")
        return 1

    def nothing(*_: object) -> int:
        return 0

    objects: Any = SimpleNamespace(
        usage=SimpleNamespace(refresh=nothing),
        data_counts=SimpleNamespace(refresh=nothing),
        is_alone=True,
        part=SimpleNamespace(place=SimpleNamespace(is_restart=False)),
        job_store=SimpleNamespace(
            queue=SimpleNamespace(expire_leases=nothing),
            quotas=SimpleNamespace(recount_usage=nothing),
            reader=SimpleNamespace(unfinished=nothing),
        ),
        capture_eraser=SimpleNamespace(give_up_unfinished=nothing),
        roots=SimpleNamespace(claim=nothing),
        database=SimpleNamespace(identity="one"),
        archives=SimpleNamespace(recover=recover),
        registry=SimpleNamespace(remove_leftovers=remove_leftovers),
    )
    Maintenance(objects).take_over()
    assert removed == ["versions"]
