"""Pages of lists are bounded in entries and in bytes, and lead through the whole list."""

from typing import Any

import pytest

from headstart.v1 import model_pb2
from headstart_server.api.grpc.messages import pages
from headstart_server.api.grpc.messages.pages import (
    DEFAULT_PAGE,
    MAX_PAGE,
    MAX_PAGE_BYTES,
    page_of,
    page_size_of,
)


class Versions:
    """A list of versions with so many bytes of class names each, the newest first."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.fetched = 0

    def fetch(self, before: list[Any] | None, limit: int) -> list[int]:
        last = len(self.sizes) if before is None else before[0]
        found = list(range(last - 1, -1, -1))[:limit]
        self.fetched += len(found)
        return found

    def message(self, number: int) -> model_pb2.Version:
        return model_pb2.Version(version=number, class_names=["x" * self.sizes[number]])

    def pages(self, size: int) -> list[list[model_pb2.Version]]:
        found, key = [], None
        while True:
            messages, key = page_of(self.fetch, self.message, lambda number: [number], after=key, size=size)
            found.append(messages)
            if key is None:
                return found


def numbers(page: list[model_pb2.Version]) -> list[int]:
    return [version.version for version in page]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25, 200, 201, 401])
@pytest.mark.parametrize("size", [1, 10, 200, 1000])
def test_pages_of_small_entries_have_the_size_that_is_requested(count: int, size: int) -> None:
    found = Versions([1] * count).pages(size)
    assert [number for page in found for number in numbers(page)] == list(range(count - 1, -1, -1))
    assert all(len(page) == size for page in found[:-1])
    assert found[-1] or not count


def test_a_page_of_large_entries_is_cut_by_bytes_and_the_next_one_goes_on() -> None:
    versions = Versions([100 << 10] * 1000)
    found = versions.pages(1000)
    assert [number for page in found for number in numbers(page)] == list(range(999, -1, -1))
    for page in found:
        assert 0 < sum(each.ByteSize() for each in page) <= MAX_PAGE_BYTES
    # What is fetched and not sent is bounded, too.
    assert versions.fetched <= 1000 + len(found) * (pages._SLICE + 1)


def test_an_entry_that_is_larger_than_a_page_has_a_separate_page() -> None:
    found = Versions([1, MAX_PAGE_BYTES + 1, MAX_PAGE_BYTES + 1, 1]).pages(10)
    assert [numbers(page) for page in found] == [[3], [2], [1], [0]]


def test_a_size_above_the_maximum_is_lowered_to_it() -> None:
    assert [page_size_of(size) for size in (0, 1, 1000, 1001, 2**31 - 1)] == [
        DEFAULT_PAGE,
        1,
        MAX_PAGE,
        MAX_PAGE,
        MAX_PAGE,
    ]
