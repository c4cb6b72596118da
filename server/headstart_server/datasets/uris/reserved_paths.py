"""The policy of a server's settings: what it keeps for itself may not be read as anybody's data."""

from collections.abc import Iterator
from pathlib import Path

from headstart_server.datasets.uris.location import Kind, Place, names_of
from headstart_server.datasets.uris.policy import DataPolicy
from headstart_server.settings.settings import Settings
from headstart_server.storage.address import BucketAddress, Scheme, artifacts_address


def data_policy(config: Settings, database: Path | None) -> DataPolicy:
    """Which places a server may read.

    Args:
        config: its settings.
        database: the file of its database; None if it has none, or one in the data folder.

    Raises:
        ValueError: an allowed place is none, or holds what the server keeps for itself.
    """
    policy = DataPolicy(config.jobs.allow_dataset_uri, allow_private=config.jobs.allow_private_addresses)
    policy.check_apart(_own(config, database))
    return policy


def _own(config: Settings, database: Path | None) -> Iterator[Place]:
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
        yield Place(kind=kind, root=artifacts.bucket, parts=names_of(artifacts.prefix))
    else:
        files.append(artifacts)
    for file in files:
        if file is not None:
            yield Place(kind=Kind.FILE, root="", parts=names_of(str(Path(file).resolve())))
