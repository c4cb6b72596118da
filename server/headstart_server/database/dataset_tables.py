"""The tables of datasets, archives of examples and erasures. The rules of `tables` apply."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from headstart_server.database.tables import metadata

# The archives that hold the examples of a job's dataset: its own, and the archives of its parent versions.
# The transaction that ends the job without a version, or deletes the version, releases the rows. A sweep
# removes released rows, and the archives that no row names.
archive_uses = Table(
    "archive_uses",
    metadata,
    # The job that needs the archive, for itself or for the version it made.
    Column("holder", String(64), primary_key=True),
    # The job whose examples are in the archive.
    Column("archive", String(64), primary_key=True),
    # 1 once the job, or its version, no longer needs the archive.
    Column("released", Integer, nullable=False, default=0, server_default="0"),
    Index("archive_uses_by_archive", "archive"),
    # Only for the few rows that wait for a sweep: SQLite would wrongly choose an index of all rows to find
    # the uses of one job.
    Index(
        "archive_uses_released",
        "holder",
        sqlite_where=text("released = 1"),
        postgresql_where=text("released = 1"),
    ),
)


# Bytes of each archive, so that usage is known without a query of the bucket. A row counts as long as
# `archive_uses` names its archive. Earlier releases write no rows, so a sweep measures archives without one.
archive_sizes = Table(
    "archive_sizes",
    metadata,
    # The job whose examples are in the archive.
    Column("archive", String(64), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Index("archive_sizes_by_tenant", "tenant"),
)


# Examples whose data was deleted. Lists of versions still name them, because a version never changes, so a
# reader that trains on a list checks this table. It contains no contents, IDs or labels.
forgotten = Table(
    "forgotten_examples",
    metadata,
    Column("archive", String(64), primary_key=True),
    # Its position in the archive.
    Column("member", Integer, primary_key=True),
    # Counts up from 1 in the order of commits, so that a replica finds the rows that are new to it.
    Column("number", BigInteger, nullable=False, unique=True),
    # Digest of its content, under which features are cached.
    Column("digest", String(64), nullable=False),
    Column("time", Float, nullable=False),
    # 1 once it was removed from the archive, 2 once a later check confirmed that.
    Column("removed", Integer, nullable=False, default=0, server_default="0"),
    # When the archive was last written without it.
    Column("rewritten", Float),
    Index("forgotten_by_removed", "removed"),
    Index("forgotten_by_time", "time"),
    # Only for rows whose digest is still to be removed.
    Index(
        "forgotten_with_digest",
        "number",
        sqlite_where=text("digest <> ''"),
        postgresql_where=text("digest <> ''"),
    ),
)


# Erasures with rebuild: the request, and the certificate once it is complete.
erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", String(64), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("example_id", String(256), nullable=False),
    # Empty for all models of the scope.
    Column("model", String(128), nullable=False),
    # Tenant and patterns of the models; null for all.
    Column("scope", JSON(none_as_null=True)),
    Column("started", Float, nullable=False),
    # Null until it is complete.
    Column("finished", Float),
    Column("contents", BigInteger, nullable=False),
    # Archives and members that it erases: later searches do not find those whose lists it has changed. Null
    # once it is complete.
    Column("found", JSON(none_as_null=True)),
    UniqueConstraint("tenant", "request_id", name="erasures_request"),
    Index("erasures_unfinished", "finished"),
)


# The versions that an erasure replaces.
erasure_versions = Table(
    "erasure_versions",
    metadata,
    Column("erasure_id", String(64), ForeignKey("erasures.erasure_id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    # Digests, successor and aliases for the certificate; null until it is replaced or skipped.
    Column("result", JSON(none_as_null=True)),
    # The process that fits it, and the number of processes that died while they did.
    Column("owner", String(256)),
    Column("crashes", Integer, nullable=False, default=0, server_default="0"),
)


# Labeled examples under a name. Uses of archives name the ID, because a name can be used again.
datasets = Table(
    "datasets",
    metadata,
    # The holder of its archives in `archive_uses`.
    Column("dataset_id", String(64), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("tenant", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("display_name", String(256), nullable=False),
    Column("description", String(4096), nullable=False),
    Column("tags", JSON, nullable=False),
    # Null before the first batch.
    Column("task", String(32)),
    Column("modality", String(16)),
    Column("next_batch", BigInteger, nullable=False),
    Column("example_count", BigInteger, nullable=False),
    # Bytes of its archives.
    Column("nbytes", BigInteger, nullable=False),
    Column("class_counts", JSON, nullable=False),
    # Checksum of all examples that were written, in hexadecimal.
    Column("checksum", String(64), nullable=False),
    # Digest of its examples; null while it is open.
    Column("digest", String(64)),
    # Raised with every change; part of the etag.
    Column("revision", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    # When the last batch was written.
    Column("written", Float, nullable=False),
    Index("datasets_by_tenant", "tenant", "nbytes"),
    Index("datasets_by_state", "state", "written"),
)


# The batches of datasets: each has an archive with the contents, and the list of its examples here.
dataset_batches = Table(
    "dataset_batches",
    metadata,
    Column("dataset_id", String(64), ForeignKey("datasets.dataset_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("archive", String(64), nullable=False, unique=True),
    # Digest of everything that was sent, to distinguish a repeated batch from a different one.
    Column("digest", String(64), nullable=False),
    # The checksum of the dataset after the batch.
    Column("checksum", String(64), nullable=False),
    # Digests of the IDs of its examples, 16 bytes each.
    Column("id_digests", LargeBinary, nullable=False),
    # The list of its examples, as `ExampleList.to_bytes` writes it.
    Column("listed", LargeBinary, nullable=False),
)
