"""The tables of feedback and of automatic retraining."""

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, String, Table, UniqueConstraint, text

from headstart_server.database.tables import metadata

# Feedback of people about predictions, and labels of further inputs. If it is to be trained on, its content
# is in an archive with the same name until a version was trained on it.
feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", String(64), primary_key=True),
    # Counts up from 1 in the order of commits.
    Column("number", BigInteger, nullable=False, unique=True),
    Column("model", String(128), nullable=False),
    # As `FeedbackState`.
    Column("state", String(16), nullable=False),
    Column("request_id", String(128)),
    Column("request_hash", String(64), nullable=False),
    Column("principal", String(128), nullable=False),
    Column("created", Float, nullable=False),
    # ID of the example in a version.
    Column("example_id", String(256), nullable=False),
    # Null without a prediction.
    Column("prediction_id", String(64)),
    # Digest of the content, and how it is stored.
    Column("digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    # Bytes of the archive; 0 without an archive.
    Column("nbytes", BigInteger, nullable=False),
    # As `Answer`.
    Column("answer", String(16), nullable=False),
    # The true label and the predicted one; null if they are unknown.
    Column("target", JSON(none_as_null=True)),
    Column("predicted", JSON(none_as_null=True)),
    # Whether the prediction was correct; null if that is unknown, or if later feedback replaced this one.
    Column("correct", Integer),
    # The prediction's version, class, week since 1970-01-05, and whether it is in the random sample.
    Column("version", BigInteger),
    Column("class_name", String(256)),
    Column("week", Integer, nullable=False),
    Column("sampled", Integer, nullable=False),
    # The job that trains on it, or whose version was trained on it.
    Column("job_id", String(64)),
    Column("learned", BigInteger),
    UniqueConstraint("model", "request_id", name="feedback_request"),
    Index("feedback_by_state", "model", "state", "number"),
    Index("feedback_by_model", "model", "number"),
    # Only for feedback that later feedback about its content would repeat or replace: one row of a content.
    Index(
        "feedback_open",
        "model",
        "digest",
        sqlite_where=text("state IN ('pending', 'recorded', 'training')"),
        postgresql_where=text("state IN ('pending', 'recorded', 'training')"),
    ),
    # Only for feedback that counts for the accuracy: one row of a prediction.
    Index(
        "feedback_counted",
        "model",
        "prediction_id",
        sqlite_where=text("correct IS NOT NULL"),
        postgresql_where=text("correct IS NOT NULL"),
    ),
    Index("feedback_by_example", "example_id"),
    Index("feedback_by_job", "job_id"),
    # For the sum of stored bytes.
    Index("feedback_by_size", "state", "nbytes"),
)

# State of each model's automatic retraining. The row is the fence: it names the only running job.
retrains = Table(
    "retrains",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("job_id", String(64)),
    # The version that the alias named when the job was accepted; 0 if none.
    Column("baseline", BigInteger, nullable=False, default=0, server_default="0"),
    # The version that the last retrain published, and the version that the alias named before.
    Column("last_version", BigInteger, nullable=False, default=0, server_default="0"),
    Column("last_baseline", BigInteger, nullable=False, default=0, server_default="0"),
    # Number of failed retrains since the last success, and the last error.
    Column("failures", Integer, nullable=False, default=0, server_default="0"),
    Column("error", JSON(none_as_null=True)),
    # The last job that ended.
    Column("last_job_id", String(64)),
    # Time before which the next retrain is not accepted.
    Column("not_before", Float, nullable=False, default=0.0, server_default="0"),
    Index("retrains_by_job", "job_id"),
)
