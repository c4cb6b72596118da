"""The heads in memory, against a plain model of them."""

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import make_head
from headstart_server.models.resident import ResidentVersion, ResidentVersions

SIZES = {number: 4 * (number + 1) for number in range(6)}


def resident(number: int, model: str = "pets") -> ResidentVersion:
    head = make_head(classes=2, size=SIZES[number])
    return ResidentVersion(
        model=model, number=number, artifact="a", backbone="fake", backbone_digest="b" * 64, head=head
    )


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["get", "put", "drop"]), st.sampled_from(sorted(SIZES))), max_size=40
)


@given(OPERATIONS, st.integers(0, 2000))
@settings(deadline=None)
def test_it_keeps_what_was_used_last_within_its_bytes_but_always_the_last(
    operations: list[tuple[str, int]], max_bytes: int
) -> None:
    kept = ResidentVersions(max_bytes)
    model: OrderedDict[int, int] = OrderedDict()
    for kind, number in operations:
        if kind == "get":
            found = kept.get("pets", number)
            assert (found is not None) == (number in model)
            if found is not None:
                assert found.number == number
                model.move_to_end(number)
        elif kind == "drop":
            kept.drop("pets", number)
            model.pop(number, None)
        else:
            kept.put(resident(number))
            if number not in model:
                model[number] = resident(number).head.nbytes
                while sum(model.values()) > max_bytes and len(model) > 1:
                    model.popitem(last=False)
        assert kept.nbytes == sum(model.values())
        assert kept.nbytes <= max_bytes or len(kept) == 1
        assert len(kept) == len(model)


def test_the_same_number_of_another_model_is_another_version() -> None:
    kept = ResidentVersions(10_000)
    kept.put(resident(1, "pets"))
    kept.put(resident(1, "cars"))
    kept.drop("pets", 1)
    assert kept.get("pets", 1) is None
    found = kept.get("cars", 1)
    assert found is not None
    assert found.model == "cars"


def test_putting_it_again_counts_it_once() -> None:
    kept = ResidentVersions(10_000)
    first = resident(1)
    kept.put(first)
    kept.put(resident(1))
    assert kept.get("pets", 1) is first
    assert (len(kept), kept.nbytes) == (1, first.head.nbytes)
