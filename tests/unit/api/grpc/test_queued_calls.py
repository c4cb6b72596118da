"""Calls whose callers leave while their work waits for a thread."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart_server.api.grpc.dataset_service import DatasetService
from headstart_server.api.grpc.executors import BoundedExecutor, CallThreads, Work
from headstart_server.api.grpc.fine_tuning_service import FineTuningService

PATIENCE = 60.0


class Message:
    """A request whose memory can be followed."""

    dataset, batch, sha256 = "digits", 0, b""
    examples = SimpleNamespace(examples=[])


async def leave(calls: list[asyncio.Task[Any]]) -> None:
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls, timeout=PATIENCE)
    assert all(call.cancelled() for call in calls)


async def test_batches_whose_callers_leave_are_freed_before_their_turn_and_never_written() -> None:
    go_on, written = threading.Event(), []
    uploads = BoundedExecutor(threads=1)
    parts: dict[str, Any] = {
        "catalog": None,
        "batches": SimpleNamespace(write=written.append),
        "removals": uploads,
        "retention": None,
    }
    service = DatasetService(uploads=uploads, **parts)
    busy = asyncio.create_task(uploads.run(go_on.wait, PATIENCE))
    await asyncio.sleep(0)
    messages: list[Any] = [Message() for _ in range(10)]
    kept = [weakref.ref(message) for message in messages]
    context: Any = None
    calls = [asyncio.create_task(service.WriteExamples(message, context)) for message in messages]
    await leave(calls)
    calls.clear()
    messages.clear()
    gc.collect()
    left = [reference for reference in kept if reference() is not None]
    go_on.set()
    await busy
    await uploads.run(lambda: None)
    assert (left, written) == ([], [])


async def test_a_rebase_whose_caller_leaves_before_its_turn_is_not_accepted() -> None:
    go_on, accepted, threads = threading.Event(), [], CallThreads()

    async def when_ready(work: Callable[[], Awaitable[Any]], nbytes: Callable[[], int]) -> Any:
        return await work()

    pool = SimpleNamespace(when_ready=when_ready)
    submissions: Any = SimpleNamespace(backbones=SimpleNamespace(pool=pool))
    rebasing: Any = SimpleNamespace(accept=lambda *arguments: accepted.append(arguments))
    others: dict[str, Any] = {"reader": None, "forecast": None, "watcher": None, "control": None}
    service = FineTuningService(submissions, rebasing, threads=threads, **others)
    busy = [asyncio.create_task(threads.run(Work.UPLOAD, go_on.wait, PATIENCE)) for _ in range(40)]
    await asyncio.sleep(0)
    request = pb.RebaseRequest(source={"model": "digits", "version": 1}, backbone="mini")
    context: Any = None
    await leave([asyncio.create_task(service.Rebase(request, context)) for _ in range(10)])
    go_on.set()
    await asyncio.gather(*busy)
    await threads.run(Work.UPLOAD, lambda: None)
    assert accepted == []
