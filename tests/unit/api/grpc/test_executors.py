"""Long work has separate threads, so that short work need not wait for it."""

import asyncio
import gc
import threading
import weakref

import pytest

from headstart_server.api.grpc.executors import BoundedExecutor, CallPool, CallThreads, Work

PATIENCE = 60.0


class Message:
    """An argument whose memory can be followed."""


async def test_short_work_goes_on_while_every_thread_for_long_work_is_taken() -> None:
    executor, go_on = BoundedExecutor(threads=2), threading.Event()
    long = [asyncio.create_task(executor.run(go_on.wait, PATIENCE)) for _ in range(40)]
    await asyncio.sleep(0)
    short = await asyncio.wait_for(asyncio.to_thread(lambda: "short"), PATIENCE)
    go_on.set()
    assert short == "short"
    assert await asyncio.gather(*long) == [True] * 40


async def test_work_whose_caller_leaves_before_its_turn_is_never_begun() -> None:
    executor, go_on, begun = BoundedExecutor(threads=1), threading.Event(), threading.Event()
    first = asyncio.create_task(executor.run(go_on.wait, PATIENCE))
    second = asyncio.create_task(executor.run(begun.set))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go_on.set()
    await first
    assert not begun.is_set()


async def test_work_that_is_cancelled_before_its_turn_keeps_nothing_while_the_threads_are_taken() -> None:
    go_on = threading.Event()
    asyncio.get_running_loop().set_default_executor(CallPool(1))
    executor = BoundedExecutor(threads=1)
    busy = [
        asyncio.create_task(executor.run(go_on.wait, PATIENCE)),
        asyncio.create_task(asyncio.to_thread(go_on.wait, PATIENCE)),
    ]
    await asyncio.sleep(0)
    messages = [Message() for _ in range(10)]
    kept = [weakref.ref(message) for message in messages]
    queued = [asyncio.create_task(executor.run(id, message)) for message in messages]
    queued += [asyncio.create_task(asyncio.to_thread(id, message)) for message in messages]
    await asyncio.sleep(0)
    for task in queued:
        task.cancel()
    await asyncio.wait(queued)
    messages.clear()
    queued.clear()
    del task
    gc.collect()
    left = [reference for reference in kept if reference() is not None]
    go_on.set()
    await asyncio.gather(*busy)
    assert left == []


async def test_what_work_raises_reaches_its_caller() -> None:
    def fail(reason: str) -> None:
        raise ValueError(reason)

    with pytest.raises(ValueError, match="no such thing"):
        await BoundedExecutor().run(fail, "no such thing")


async def test_each_kind_of_work_has_its_threads() -> None:
    threads, go_on = CallThreads(), threading.Event()
    busy = [asyncio.create_task(threads.run(Work.REMOVAL, go_on.wait, PATIENCE)) for _ in range(40)]
    await asyncio.sleep(0)
    others = [kind for kind in Work if kind is not Work.REMOVAL]
    found = [await asyncio.wait_for(threads.run(kind, lambda: "other"), PATIENCE) for kind in others]
    go_on.set()
    assert found == ["other"] * len(others)
    assert await asyncio.gather(*busy) == [True] * 40
