"""The policy of readable dataset URIs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from headstart_server.datasets.uris.location import (
    TENANT,
    DatasetLocation,
    Kind,
    parse_location,
    parse_prefix,
    path_parts,
)
from headstart_server.errors import InvalidField
from headstart_server.outbound.target import Target, resolve_host, resolve_target, split_url
from headstart_server.settings.settings import Settings
from headstart_server.storage.address import BucketAddress, Scheme, artifacts_address

#: The request field of all errors.
FIELD = "spec.dataset_uri"


class DatasetUriPolicy:
    """Decides which locations may be read.

    Args:
        allow_private: whether hosts may have private addresses.
        resolve: returns the addresses of a host and port.

    Raises:
        ValueError: a prefix is invalid.
    """

    def __init__(
        self,
        prefixes: Iterable[str],
        *,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] = resolve_host,
    ) -> None:
        self._prefixes = [parse_prefix(prefix) for prefix in prefixes]
        self._allow_private = allow_private
        self._resolve = resolve

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of locations with an allowed prefix."""
        return frozenset(prefix.kind for prefix in self._prefixes)

    def place(self, uri: str, tenant: str = "") -> DatasetLocation:
        """Return the location of a URI; raise InvalidField if the tenant, "" without one, may not read it."""
        try:
            place = parse_location(uri)
        except ValueError as error:
            raise InvalidField(
                "Expected a URI of the form file:///FOLDER/NAME, s3://BUCKET/NAME, gs://BUCKET/NAME or "
                f"https://HOST/NAME. Received: {error}",
                field=FIELD,
            ) from None
        self.prefix(place, tenant)
        return place

    def prefix(self, place: DatasetLocation, tenant: str = "") -> DatasetLocation:
        """Return the allowed prefix that contains a location; raise InvalidField without one."""
        for prefix in filter(None, (_of(each, tenant) for each in self._prefixes)):
            if place.parts and place.is_within(prefix):
                return prefix
        raise InvalidField(
            f"Expected a URI that --allow-dataset-uri allows. Received: {str(place)[:200]!r}.",
            field=FIELD,
        )

    def target(self, place: DatasetLocation) -> Target:
        """Return the target of a URL; raise TargetRefusedError, or OSError if it cannot be resolved."""
        return resolve_target(split_url(str(place)), self._resolve, allow_private=self._allow_private)

    def check_disjoint(self, own: Iterable[DatasetLocation]) -> None:
        """Raise ValueError if an allowed prefix overlaps with the server's own files."""
        real = [(prefix, _before_tenant(prefix).real()) for prefix in self._prefixes]
        for mine in own:
            for allowed, prefix in real:
                if mine.is_within(prefix) or prefix.is_within(mine):
                    raise ValueError(
                        f"--allow-dataset-uri must not overlap with the server's own data in {mine}. "
                        f"Received: {allowed}."
                    )


def _of(prefix: DatasetLocation, tenant: str) -> DatasetLocation | None:
    """Return a prefix with the name of a tenant; None if it requires a tenant and the caller has none."""
    if TENANT not in prefix.parts:
        return prefix
    if not tenant:
        return None
    return replace(prefix, parts=tuple(tenant if part == TENANT else part for part in prefix.parts))


def _before_tenant(prefix: DatasetLocation) -> DatasetLocation:
    if TENANT not in prefix.parts:
        return prefix
    return replace(prefix, parts=prefix.parts[: prefix.parts.index(TENANT)])


def dataset_uri_policy(config: Settings, database: Iterable[Path]) -> DatasetUriPolicy:
    """Return the policy of a server.

    Args:
        database: the files that the address of its database names.

    Raises:
        ValueError: an allowed prefix is invalid, or overlaps with the server's own files.
    """
    policy = DatasetUriPolicy(
        config.jobs.allow_dataset_uri, allow_private=config.jobs.allow_private_addresses
    )
    policy.check_disjoint(_reserved_paths(config, database))
    return policy


def _reserved_paths(config: Settings, database: Iterable[Path]) -> Iterator[DatasetLocation]:
    files = [*config.paths, *database]
    artifacts = artifacts_address(config.storage.artifacts) if config.storage.artifacts is not None else None
    if isinstance(artifacts, BucketAddress):
        kind = Kind.S3 if artifacts.scheme is Scheme.S3 else Kind.GCS
        yield DatasetLocation(kind=kind, root=artifacts.bucket, parts=path_parts(artifacts.prefix))
    elif artifacts is not None:
        files.append(artifacts)
    for file in files:
        yield DatasetLocation(kind=Kind.FILE, root="", parts=path_parts(str(file.resolve())))
