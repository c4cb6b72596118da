"""The tables: jobs, their events and examples, models, versions, aliases, and state that replicas share.

Times are seconds since 1970 in UTC, by the database's clock. Columns are only ever added, each nullable or
with a server default, because old and new servers share the tables.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

#: Raised only for changes that break servers of earlier releases; `migrations` applies all other changes.
SCHEMA_VERSION = 2

#: The counter of changes to models, versions and aliases.
REGISTRY = "registry"
#: The counter of accepted jobs.
JOBS = "jobs"

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

# One row: distinguishes this database from every other one except its backups.
identity = Table(
    "identity",
    metadata,
    Column("id", String(32), primary_key=True),
    # Location of its artifacts, recorded by the first server: with another location, a server would treat all
    # archives as missing. The URL and mark of a bucket or the mark of a folder, and its name in messages.
    Column("artifacts", String(2048)),
    Column("artifacts_name", String(2048)),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("tenant", String(128), nullable=False, default=""),
    Column("priority", Integer, nullable=False, default=0),
    Column("state", String(16), nullable=False),
    Column("model", String(128), nullable=False),
    # The accepted request.
    Column("payload", JSON, nullable=False),
    # The last finished step and its results, so that a resumed job need not repeat it.
    Column("checkpoint", JSON, nullable=False, default=dict),
    # Results of a running job's backbone selection, written once per candidate, unlike the checkpoint.
    Column("choosing", JSON(none_as_null=True)),
    Column("result", JSON),
    Column("error", JSON),
    Column("request_id", String(128)),
    Column("request_hash", String(64)),
    Column("cancel", Integer, nullable=False, default=0),
    # Host name and a uuid of the process that runs it: a restarted host keeps its name, not its uuid.
    Column("owner", String(256)),
    # The fence: raised at every claim and never lowered; each write of a run names the attempt it belongs to.
    Column("attempt", Integer, nullable=False, default=0),
    # Raised only when a process died that ran this job alone.
    Column("crashes", Integer, nullable=False, default=0),
    # Whether it may run next to other jobs: `Isolation`.
    Column("isolation", Integer, nullable=False, default=0, server_default="0"),
    # Values of the payload that claims read. They are columns, because one text that PostgreSQL's JSON
    # operators reject would stop every claim.
    Column("backbone", String(256)),
    Column("trains_network", Integer, nullable=False, default=0, server_default="0"),
    # The alias that its version gets; null if it gets no alias.
    Column("alias", String(128)),
    # Estimated bytes of memory while it runs; null if unknown.
    Column("memory_bytes", BigInteger),
    # Number of runs that storage errors ended, and the time before which the next run does not begin.
    Column("storage_retries", Integer, nullable=False, default=0, server_default="0"),
    Column("not_before", Float),
    # A running job whose lease has ended may be taken over.
    Column("lease_until", Float),
    # Number of its last event.
    Column("seq", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    # Counts up from 1 in the order of commits, so that a reader finds the new jobs.
    Column("number", BigInteger),
    UniqueConstraint("tenant", "request_id", name="jobs_request"),
    Index("jobs_queue", "state", "priority", "created"),
    Index("jobs_suspected", "state", "isolation"),
    # Lists go through the states one by one, the newest jobs first. With the last column, a list is
    # restricted to some models without reading the jobs.
    Index("jobs_by_state", "state", "created", "job_id", "model"),
    Index("jobs_by_tenant", "tenant", "state", "created", "job_id", "model"),
    Index("jobs_by_model", "model", "state", "created", "job_id"),
    Index("jobs_by_end", "finished"),
    Index("jobs_by_number", "number"),
    # Watchers read the new jobs of a tenant or a model.
    Index("jobs_by_tenant_number", "tenant", "number"),
    Index("jobs_by_model_number", "model", "number"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("created", Float, nullable=False),
    # The number that the next version gets; it only goes up, so a number is never used twice.
    Column("next_number", BigInteger, nullable=False, default=1),
    # When it was deleted. The row stays to keep its numbers; a new version restores the model.
    Column("deleted", Float),
    # Value of the counter `registry` when its versions or aliases last changed.
    Column("changed", BigInteger, nullable=False, default=0, server_default="0"),
    # Description by users; null if they gave none.
    Column("display_name", String(256)),
    Column("description", String(4096)),
    Column("tags", JSON(none_as_null=True)),
    # Its capture policy; null without capture.
    Column("capture", JSON(none_as_null=True)),
    # The policy of its automatic retraining; null without retraining.
    Column("retrain", JSON(none_as_null=True)),
    Index("models_by_change", "changed"),
    # Only for models with automatic retraining.
    Index(
        "models_retrained",
        "name",
        sqlite_where=text("retrain IS NOT NULL"),
        postgresql_where=text("retrain IS NOT NULL"),
    ),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(128), ForeignKey("models.name", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    # The job that created it. Unique, so that a job publishes at most one version.
    Column("job_id", String(64), nullable=False, unique=True),
    # Location of its files in the version store.
    Column("artifact", String(128), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("manifest", JSON, nullable=False),
    # Result of a conditional alias move. It is not in the manifest, because it is decided when the version is
    # published, and the manifest is already on disk by then.
    Column("promotion", JSON(none_as_null=True)),
    # Description by users. Null means the values of the manifest, which never changes.
    Column("display_name", String(256)),
    Column("description", String(4096)),
    Column("tags", JSON(none_as_null=True)),
    # Number of the version that it replaced in the order of versions when an example was erased; else null.
    Column("place", BigInteger),
    Index("versions_expiry", "expires"),
    Index("versions_by_artifact", "artifact"),
    Index("versions_by_time", "created", "job_id"),
    # For the sums of tenants' stored bytes.
    Index("versions_by_model", "model", "size_bytes"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", String(128), ForeignKey("models.name", ondelete="CASCADE"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("number", BigInteger, nullable=False),
    # Raised with every move; part of the etag.
    Column("moves", BigInteger, nullable=False),
    Column("updated", Float, nullable=False),
)

# Further versions of an alias, with their fraction of its calls.
alias_shares = Table(
    "alias_shares",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("alias", String(128), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("share", Float, nullable=False),
    # `moves` of the alias when the row was set. If they differ now, the alias was moved, and the row is void.
    Column("moves", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "alias"], ["aliases.model", "aliases.name"], ondelete="CASCADE"),
    ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"], ondelete="CASCADE"),
    Index("alias_shares_by_version", "model", "number"),
)

# Moves of aliases, the newest of each model; written in the transactions that move them.
alias_events = Table(
    "alias_events",
    metadata,
    # Counts up in the order of commits: the counter of the registry lets one move through at a time.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", String(128), nullable=False),
    Column("alias", String(128), nullable=False),
    Column("time", Float, nullable=False),
    # Set, published, deleted or expired.
    Column("cause", String(16), nullable=False),
    Column("principal", String(128), nullable=False),
    Column("job_id", String(64), nullable=False),
    # The version that the alias named; null if the alias was new.
    Column("before", BigInteger),
    # The version that the alias names; null if the alias was removed.
    Column("after", BigInteger),
    # Pairs of a version and its fraction of the calls.
    Column("traffic_before", JSON, nullable=False),
    Column("traffic_after", JSON, nullable=False),
    Index("alias_events_by_model", "model", "id"),
)

# Counts of each version by replica and time bucket. Only that replica writes the row.
traffic = Table(
    "traffic",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    # Beginning of the bucket, in seconds since 1970.
    Column("bucket", BigInteger, primary_key=True),
    # As in `jobs.owner`.
    Column("replica", String(256), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("inputs", BigInteger, nullable=False),
    Column("unknowns", BigInteger, nullable=False),
    # Inputs that were sampled for drift.
    Column("samples", BigInteger, nullable=False),
    # Number of inputs that two versions of a traffic split both predicted, and on which they agree.
    Column("compared", BigInteger, nullable=False, default=0, server_default="0"),
    Column("agreed", BigInteger, nullable=False, default=0, server_default="0"),
    # Pairs of a bin and the number of requests whose latency is in it.
    Column("latencies", JSON, nullable=False),
    Column("feature_drift", Float),
    Column("prediction_drift", Float),
    Column("confidence_drift", Float),
    Index("traffic_by_time", "bucket"),
)


# Storage used by each tenant. The transactions that change versions and uses of archives update it, so that
# limits need no sum over them.
tenant_usage = Table(
    "tenant_usage",
    metadata,
    # Empty for models without a tenant.
    Column("tenant", String(128), primary_key=True),
    Column("version_count", BigInteger, nullable=False),
    Column("version_bytes", BigInteger, nullable=False),
    # Bytes of the archives that a job or version needs.
    Column("example_bytes", BigInteger, nullable=False),
    # Bytes of captured inputs with their features.
    Column("capture_bytes", BigInteger, nullable=False, default=0, server_default="0"),
)


# The webhook of a job's end, for jobs that have one: written with the job, so that none can be lost.
webhooks = Table(
    "webhooks",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("uri", String(2048), nullable=False),
    # Pending, delivered or given_up.
    Column("state", String(16), nullable=False),
    # The fence: raised with each attempt, and checked when a failure is recorded.
    Column("attempts", Integer, nullable=False),
    # Time of the next attempt.
    Column("due", Float, nullable=False),
    # Until then, a replica is sending it.
    Column("lease_until", Float),
    # Error of the last attempt.
    Column("error", String(512)),
    # When it was delivered or given up.
    Column("finished", Float),
    # Key of `webhook_receivers`.
    Column("receiver", String(320), nullable=False, default="", server_default=""),
    Index("webhooks_by_receiver", "receiver", "state", "due"),
    Index("webhooks_under_way", "receiver", "state", "lease_until"),
)

# Receivers of POST requests: one per host and tenant. Receivers take turns, so that a silent receiver delays
# only its own requests. Their number is bounded by allowed hosts times tenants, and none is removed.
webhook_receivers = Table(
    "webhook_receivers",
    metadata,
    Column("receiver", String(320), primary_key=True),
    # When one of its requests was last claimed.
    Column("claimed", Float, nullable=False, default=0.0, server_default="0"),
    # Attempts without an answer since the last answer.
    Column("silent", Integer, nullable=False, default=0, server_default="0"),
    # Time before which no attempt is made.
    Column("due", Float, nullable=False, default=0.0, server_default="0"),
)


counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    # Raised in the transaction of each change, which locks the row until it ends. A reader of a number
    # therefore finds every change up to it.
    Column("value", BigInteger, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    # As in `jobs.owner`.
    Column("owner", String(256), primary_key=True),
    # Maximum jobs that it runs concurrently.
    Column("slots", Integer, nullable=False),
    Column("seen", Float, nullable=False),
)

turns = Table(
    "turns",
    metadata,
    # Task that only one replica at a time runs, such as cleaning.
    Column("name", String(32), primary_key=True),
    Column("until", Float, nullable=False),
)
