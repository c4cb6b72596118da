"""Copies of erased contents: one that cannot be removed keeps no other."""

from typing import Any

import pytest

from headstart_server.app.example_copies import ExampleCopies
from headstart_server.errors import LocalStorageUnavailable


class Copies:
    """Every kind of copy, of which one cannot be removed."""

    def __init__(self, refused: str) -> None:
        self._refused = refused
        self.removed: list[str] = []

    def _note(self, what: str) -> None:
        if what == self._refused:
            raise LocalStorageUnavailable("It cannot be removed.")
        self.removed.append(what)

    def remove(self, what: Any) -> None:
        self._note(what if isinstance(what, str) else "contents")

    def clear(self) -> None:
        self._note("influence")

    def forget(self, _: Any) -> None:
        self._note("thumbnails")

    def sweep(self) -> None:
        self._note("exports")

    def remove_gone(self) -> None:
        self._note("ranking")


def copies_of(copies: Any) -> ExampleCopies:
    return ExampleCopies(copies, copies, copies, copies, copies, ranking=copies, captured_images=copies)


@pytest.mark.parametrize("refused", ["contents", "influence", "thumbnails", "exports", "a.zip", "b.zip"])
def test_a_copy_of_an_example_that_cannot_be_removed_keeps_no_other(refused: str) -> None:
    copies = Copies(refused)
    with pytest.raises(LocalStorageUnavailable):
        copies_of(copies).drop({"d"}, ["a", "b"])
    everything = {"contents", "influence", "thumbnails", "exports", "a.zip", "b.zip"}
    assert set(copies.removed) == everything - {refused}


def test_a_thumbnail_of_a_captured_input_that_cannot_be_removed_keeps_no_other_copy() -> None:
    copies = Copies("contents")
    with pytest.raises(LocalStorageUnavailable):
        copies_of(copies).drop_captured("p")
    assert copies.removed == ["ranking"]
