from collections.abc import AsyncGenerator, Iterator

import pytest

from headstart.transport.blocking_wire import BlockingWire
from headstart.transport.settings import connection_settings


@pytest.fixture
def wire() -> Iterator[BlockingWire]:
    opened = BlockingWire(connection_settings("localhost:1", environment={}))
    yield opened
    opened.finish(opened.close())


def numbers(ended: list[str]) -> AsyncGenerator[int, None]:
    async def generate() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            ended.append("ended")

    return generate()


def test_a_coroutine_runs_to_its_end(wire: BlockingWire):
    async def doubled() -> int:
        return 2 * await wire.in_thread(int, "21")

    assert wire.finish(doubled()) == 42


def test_an_error_of_a_coroutine_is_raised(wire: BlockingWire):
    async def failing() -> None:
        await wire.in_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        wire.finish(failing())


def test_a_generator_is_iterated_to_its_end(wire: BlockingWire):
    ended: list[str] = []

    assert list(wire.iterate(numbers(ended))) == [0, 1, 2]
    assert ended == ["ended"]


def test_a_caller_that_stops_early_ends_the_generator(wire: BlockingWire):
    ended: list[str] = []
    items = wire.iterate(numbers(ended))

    assert next(items) == 0
    del items

    assert ended == ["ended"]


async def test_it_works_within_a_running_event_loop(wire: BlockingWire):
    ended: list[str] = []
    items = wire.iterate(numbers(ended))

    assert next(items) == 0
    del items

    assert ended == ["ended"]


def test_a_failed_iteration_raises_the_error_once(wire: BlockingWire):
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise KeyError("gone")

    items = wire.iterate(failing())

    assert next(items) == 1
    with pytest.raises(KeyError, match="gone"):
        next(items)
    assert list(items) == []
