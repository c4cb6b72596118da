"""The cache under a limit: what stays, what is evicted, and in which order."""

from hypothesis import given
from hypothesis import strategies as st

from headstart_server.lru import LruCache


def test_the_least_recently_used_entries_are_evicted_first() -> None:
    cache: LruCache[str, str] = LruCache(2)
    assert cache.add("a", "1") == cache.add("b", "2") == []
    assert cache.get("a") == "1"
    assert cache.add("c", "3") == [("b", "2")]
    assert list(cache) == ["a", "c"]


def test_a_peek_is_not_a_use() -> None:
    cache: LruCache[str, str] = LruCache(2)
    cache.add("a", "1")
    cache.add("b", "2")
    assert cache.peek("a") == "1"
    assert cache.add("c", "3") == [("a", "1")]


def test_the_newest_entry_stays_regardless_of_its_size() -> None:
    cache: LruCache[str, int] = LruCache(10, lambda value: value)
    cache.add("a", 4)
    assert cache.add("b", 30) == [("a", 4)]
    assert (list(cache), cache.size) == (["b"], 30)


def test_a_lower_limit_holds_from_the_next_entry_on() -> None:
    cache: LruCache[int, int] = LruCache(4)
    for number in range(4):
        cache.add(number, number)
    cache.limit = 2
    assert cache.add(9, 9) == [(0, 0), (1, 1), (2, 2)]


operations = st.lists(
    st.tuples(st.sampled_from(["add", "get", "peek", "pop"]), st.integers(0, 6), st.integers(0, 9)),
    max_size=60,
)


@given(operations, st.integers(0, 20))
def test_it_equals_a_list_in_the_order_of_use(steps: list[tuple[str, int, int]], limit: int) -> None:
    cache: LruCache[int, int] = LruCache(limit, lambda value: value)
    model: list[tuple[int, int]] = []
    for operation, key, value in steps:
        held = dict(model).get(key)
        if operation == "peek":
            assert cache.peek(key) == held
            continue
        model = [entry for entry in model if entry[0] != key]
        if operation == "add":
            model.append((key, value))
            evicted = []
            while sum(size for _, size in model) > limit and len(model) > 1:
                evicted.append(model.pop(0))
            assert cache.add(key, value) == evicted
        elif operation == "pop":
            assert cache.pop(key) == held
        else:
            assert cache.get(key) == held
            if held is not None:
                model.append((key, held))
        assert list(cache) == [each for each, _ in model]
        assert (cache.size, len(cache)) == (sum(size for _, size in model), len(model))
        assert all((each in cache) == (each in dict(model)) for each in range(7))
