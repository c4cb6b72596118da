"""Which places may be read."""

from collections.abc import Callable, Iterable, Sequence

from headstart_server.dataset_uris.place import Kind, Place, place_of, prefix_of
from headstart_server.errors import InvalidField
from headstart_server.internet.addresses import resolved
from headstart_server.internet.target import Target, target_of
from headstart_server.internet.urls import split_url

#: The field that is at fault, whatever is.
FIELD = "spec.dataset_uri"


class DataPolicy:
    """Tells which places may be read.

    Args:
        prefixes: folders, and URIs that are taken for folders.
        allow_private: whether hosts may be at addresses that are not of the internet.
        resolve: gives the addresses of a host and port.

    Raises:
        ValueError: a prefix is none.
    """

    def __init__(
        self,
        prefixes: Iterable[str],
        *,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] = resolved,
    ) -> None:
        self._prefixes = [prefix_of(prefix) for prefix in prefixes]
        self._allow_private = allow_private
        self._resolve = resolve

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of places that some of may be read."""
        return frozenset(prefix.kind for prefix in self._prefixes)

    def place(self, uri: str) -> Place:
        """The place that a URI names, if it may be read.

        Raises:
            InvalidField: it is none, or may not be read.
        """
        try:
            place = place_of(uri)
        except ValueError as error:
            raise InvalidField(
                "Expected a URI of the form file:///FOLDER/NAME, s3://BUCKET/NAME, gs://BUCKET/NAME or "
                f"https://HOST/NAME. Received: {error}",
                field=FIELD,
            ) from None
        self.prefix(place)
        return place

    def prefix(self, place: Place) -> Place:
        """The allowed place that another lies in.

        Raises:
            InvalidField: it lies in none.
        """
        for prefix in self._prefixes:
            if place.parts and place.is_within(prefix):
                return prefix
        raise InvalidField(
            "Expected a URI within those that the server allows (--allow-data). "
            f"Received: {str(place)[:200]!r}, which is not.",
            field=FIELD,
        )

    def target(self, place: Place) -> Target:
        """Where a place of the web is now.

        Raises:
            Refused: at an address that is not allowed.
            OSError: its host has no address.
        """
        return target_of(split_url(str(place)), self._resolve, allow_private=self._allow_private)

    def check_apart(self, own: Iterable[Place]) -> None:
        """Check that what the server keeps for itself is not allowed to be read.

        Raises:
            ValueError: some of it is.
        """
        real = [(prefix, prefix.real()) for prefix in self._prefixes]
        for mine in own:
            for allowed, prefix in real:
                if mine.is_within(prefix) or prefix.is_within(mine):
                    raise ValueError(
                        f"Expected --allow-data apart from what the server keeps in {mine}. "
                        f"Received: {allowed}."
                    )
