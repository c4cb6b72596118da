"""Which places may be read."""

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

#: The field that is at fault, whatever is.
FIELD = "spec.dataset_uri"


class DatasetUriPolicy:
    """Decides which locations may be read.

    Args:
        allow_private: whether hosts may be at addresses that are not of the internet.
        resolve: gives the addresses of a host and port.

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
        """The kinds of places that some of may be read."""
        return frozenset(prefix.kind for prefix in self._prefixes)

    def place(self, uri: str, tenant: str = "") -> DatasetLocation:
        """The place that a URI names, if it may be read on behalf of a tenant; empty for none."""
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
        """The place that a tenant may read and another lies in."""
        for prefix in filter(None, (_of(each, tenant) for each in self._prefixes)):
            if place.parts and place.is_within(prefix):
                return prefix
        raise InvalidField(
            "Expected a URI within those that the server allows (--allow-dataset-uri). "
            f"Received: {str(place)[:200]!r}, which is not.",
            field=FIELD,
        )

    def target(self, place: DatasetLocation) -> Target:
        """Return where a place of the web is; raise TargetRefusedError, or OSError without an address."""
        return resolve_target(split_url(str(place)), self._resolve, allow_private=self._allow_private)

    def check_disjoint(self, own: Iterable[DatasetLocation]) -> None:
        """Raise ValueError if something that the server keeps for itself is allowed to be read."""
        real = [(prefix, _before_tenant(prefix).real()) for prefix in self._prefixes]
        for mine in own:
            for allowed, prefix in real:
                if mine.is_within(prefix) or prefix.is_within(mine):
                    raise ValueError(
                        f"Expected --allow-dataset-uri apart from what the server keeps in {mine}. "
                        f"Received: {allowed}."
                    )


def _of(prefix: DatasetLocation, tenant: str) -> DatasetLocation | None:
    """An allowed place with the name of a tenant; None if the caller needs one and has none."""
    if TENANT not in prefix.parts:
        return prefix
    if not tenant:
        return None
    return replace(prefix, parts=tuple(tenant if part == TENANT else part for part in prefix.parts))


def _before_tenant(prefix: DatasetLocation) -> DatasetLocation:
    if TENANT not in prefix.parts:
        return prefix
    return replace(prefix, parts=prefix.parts[: prefix.parts.index(TENANT)])


def dataset_uri_policy(config: Settings, database: Path | None) -> DatasetUriPolicy:
    """Which places a server may read.

    Args:
        database: the file of its database; None if it has none, or one in the data folder.

    Raises:
        ValueError: an allowed location is invalid, or holds what the server keeps for itself.
    """
    policy = DatasetUriPolicy(
        config.jobs.allow_dataset_uri, allow_private=config.jobs.allow_private_addresses
    )
    policy.check_disjoint(_reserved_paths(config, database))
    return policy


def _reserved_paths(config: Settings, database: Path | None) -> Iterator[DatasetLocation]:
    files = [
        config.storage.data_dir,
        database,
        config.tls.tls_key,
        config.auth.access_file,
        config.auth.audit_file,
        config.jobs.webhook_secret_file,
        *config.files,
    ]
    artifacts = artifacts_address(config.storage.artifacts) if config.storage.artifacts is not None else None
    if isinstance(artifacts, BucketAddress):
        kind = Kind.S3 if artifacts.scheme is Scheme.S3 else Kind.GCS
        yield DatasetLocation(kind=kind, root=artifacts.bucket, parts=path_parts(artifacts.prefix))
    else:
        files.append(artifacts)
    for file in files:
        if file is not None:
            yield DatasetLocation(kind=Kind.FILE, root="", parts=path_parts(str(Path(file).resolve())))
