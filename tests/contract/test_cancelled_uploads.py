"""Uploads of an asynchronous client whose task is cancelled."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import pytest

from contract.conftest import QUICK
from contract.fake_server import FakeServer, Fault
from headstart import AsyncClient

EXAMPLES = [(b"1", "cat"), (b"2", "dog")]
LOADING = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="LOADING", retry_after=30.0)
Upload = Callable[[AsyncClient], Coroutine[Any, Any, object]]


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[AsyncClient]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        with grpc.insecure_channel(server.target) as uploads:
            yield AsyncClient.from_channel(channel, upload_channel=uploads, retries=QUICK)


async def upload_threads_end(client: AsyncClient) -> None:
    """Close the client, except its channels, and wait until its upload threads have ended."""
    await client.close()
    for thread in threading.enumerate():
        if thread.name.startswith("headstart-upload"):
            await asyncio.to_thread(thread.join, 60)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("method", "upload"),
    [
        ("FineTune", lambda client: client.fine_tune(EXAMPLES, model="pets")),
        ("FineTune", lambda client: client.validate(EXAMPLES, model="pets")),
        ("FineTune", lambda client: client.fine_tune(model="pets", dataset="stored")),
        ("Evaluate", lambda client: client.evaluate(EXAMPLES, model="pets")),
        ("Compare", lambda client: client.compare("pets@1", "pets@2")),
    ],
)
async def test_a_cancelled_task_cancels_the_call_whose_examples_are_all_sent(
    client: AsyncClient, server: FakeServer, method: str, upload: Upload
):
    answering, ended, cancelled = threading.Event(), threading.Event(), []

    def hold(_messages: object) -> Fault:
        answering.set()
        cancelled.append(server.over(method).wait(30))
        ended.set()
        return Fault(code=grpc.StatusCode.INTERNAL)

    server.script(method, hold)
    task = asyncio.create_task(upload(client))
    assert await asyncio.to_thread(answering.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await upload_threads_end(client)
    assert await asyncio.to_thread(ended.wait, 60)
    assert cancelled == [True]


async def test_a_cancelled_upload_is_not_sent_again_while_a_server_loads_its_backbone(
    client: AsyncClient, server: FakeServer
):
    server.script("FineTune", *[LOADING] * 20)
    task = asyncio.create_task(client.fine_tune(model="pets", dataset="stored"))
    assert await asyncio.to_thread(server.over("FineTune").wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await upload_threads_end(client)
    assert len(server.requests["FineTune"]) == 1


async def test_a_cancelled_upload_reads_no_further_example(client: AsyncClient, server: FakeServer):
    read, cancelled, numbers = threading.Event(), threading.Event(), []

    def examples():
        for number in range(10_000):
            numbers.append(number)
            if number == 5:
                read.set()
                assert cancelled.wait(60)
            yield b"1", "cat"

    server.expects_broken = True
    task = asyncio.create_task(client.fine_tune(examples(), model="pets"))
    assert await asyncio.to_thread(read.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()

    await upload_threads_end(client)
    assert len(numbers) <= 7
    assert server.received == []
