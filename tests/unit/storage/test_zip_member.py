"""One member of a ZIP archive, read without a list of the others."""

import io
import zipfile
from collections.abc import Sequence
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.storage.zip_member import read_stored


def name_of(place: int) -> str:
    return f"{place:08d}"


def archive(places: Sequence[int], *, size: int = 5) -> bytes:
    """Return an archive with a member for each place, and a compressed one at the end."""
    file = io.BytesIO()
    with ZipFile(file, "w") as members:
        for place in places:
            members.writestr(name_of(place), content_of(place, size))
        members.writestr("examples.json", b"{}" * 100, compress_type=ZIP_DEFLATED)
    return file.getvalue()


def content_of(place: int, size: int = 5) -> bytes:
    return (b"%d " % place * size)[:size]


class CountedFile(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


@pytest.mark.parametrize("places", [range(1), range(50), [0, 3, 4, 17, 40], [49, 2, 30]])
def test_each_member_is_read_as_it_was_written(places: Sequence[int]) -> None:
    content = archive(places)
    for place in places:
        assert read_stored(io.BytesIO(content), name_of(place), place) == content_of(place)


def test_the_cost_does_not_depend_on_the_number_of_members() -> None:
    # More than 65,535 members need the 64-bit form of the archive's end.
    file = CountedFile(archive(range(70_000)))
    for place in (0, 35_000, 69_999):
        file.count = 0
        assert read_stored(file, name_of(place), place) == content_of(place)
        assert file.count < 500


def test_members_beyond_the_limit_of_32_bits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    content = archive(range(100), size=40)
    assert content.count(b"PK\6\6") == 1
    for place in (0, 5, 50, 99):
        assert read_stored(io.BytesIO(content), name_of(place), place) == content_of(place, 40)


def test_a_name_in_another_field_is_not_taken_for_a_member() -> None:
    file = io.BytesIO()
    with ZipFile(file, "w") as members:
        info = zipfile.ZipInfo("x" * 8)
        info.extra = b"\x99\x99\x08\x00" + name_of(7).encode()
        members.writestr(info, b"other")
        members.writestr(name_of(7), b"right")
    assert read_stored(file, name_of(7), 0) == b"right"


@pytest.mark.parametrize("name", ["00000099", "examples.json"])
def test_a_missing_or_compressed_member_is_an_error(name: str) -> None:
    with pytest.raises(BadZipFile):
        read_stored(io.BytesIO(archive(range(3))), name, 1)


@given(at=st.integers(0, 999), value=st.integers(0, 255), cut=st.integers(0, 1000), place=st.integers(0, 5))
def test_damage_is_an_error_or_does_not_concern_the_member(at: int, value: int, cut: int, place: int) -> None:
    damaged = bytearray(archive(range(6), size=20))
    damaged[at % len(damaged)] = value
    del damaged[len(damaged) - cut % 40 :]
    try:
        found = read_stored(io.BytesIO(bytes(damaged)), name_of(place), place)
    except BadZipFile:
        return
    assert found == content_of(place, 20)
