"""The tables of captured inputs. The rules of `tables` apply."""

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, LargeBinary, String, Table, case

from headstart_server.database.tables import metadata

#: States of a batch: until its object is complete, while it counts, and until its object is removed.
WRITING, READY, DOOMED = "writing", "ready", "doomed"
#: Maximum seconds that a captured input lives: ten years.
MAX_TTL = 315_576_000.0

# Objects in storage that hold the contents and features of some captured inputs. The row is inserted before
# the object is written and deleted after it is removed, so that every object has a row.
capture_batches = Table(
    "capture_batches",
    metadata,
    Column("batch", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    # One of the states above.
    Column("state", String(8), nullable=False),
    # Captured inputs of the batch, and bytes of the object.
    Column("entries", Integer, nullable=False, default=0),
    Column("nbytes", BigInteger, nullable=False, default=0),
    # 1 if the object holds inputs whose rows were erased.
    Column("dirty", Integer, nullable=False, default=0, server_default="0"),
    # Backbone digest, runtime, and size of each view of the features.
    Column("features", JSON, nullable=False, default=dict),
    Column("created", Float, nullable=False),
    # Maximum seconds that its inputs live. A shorter time of the policy is recorded here, not in each input.
    Column("ttl", Float, nullable=False, default=MAX_TTL, server_default=str(MAX_TTL)),
    # When a cleaning checks whether all of its inputs have expired.
    Column("due", Float, nullable=False, default=0.0, server_default="0"),
    Index("capture_batches_by_model", "model", "state", "created"),
    Index("capture_batches_by_state", "state", "created"),
    Index("capture_batches_due", "state", "due"),
    Index("capture_batches_dirty", "dirty"),
)

captured_inputs = Table(
    "captured_inputs",
    metadata,
    Column("prediction_id", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    # The version that predicted.
    Column("number", BigInteger, nullable=False),
    Column("batch", String(64), nullable=False),
    # Row of the features, and offset of the content in the object.
    Column("place", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("media_type", String(64), nullable=False),
    Column("created", Float, nullable=False),
    # Expiration by the policy when the input was captured, see `EXPIRES`; 0 for an erased input, whose row
    # stays until its object is removed.
    Column("expires", Float, nullable=False),
    # The predicted label, and lists of class name, index, probability and whether it is selected.
    Column("predicted", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("margin", Float),
    Column("typicality", Float),
    # Bits of `CaptureReason`.
    Column("reasons", Integer, nullable=False),
    # The features in a small space, one byte for each dimension, to find similar inputs.
    Column("direction", LargeBinary, nullable=False),
    # When feedback arrived; null while no feedback exists.
    Column("reviewed", Float),
    Index("captured_inputs_by_model", "model", "created"),
    Index("captured_inputs_by_batch", "batch"),
)

_SHORTENED = captured_inputs.c.created + capture_batches.c.ttl
#: The expiration of a row of `captured_inputs`, which is joined with its batch. Until then the row counts, if
#: the batch is ready.
EXPIRES = case((captured_inputs.c.expires > _SHORTENED, _SHORTENED), else_=captured_inputs.c.expires).label(
    "expires"
)

#: Condition that an input was not erased.
IS_NOT_ERASED = captured_inputs.c.expires > 0

# Counts of inputs that could not be captured, by model.
capture_gaps = Table(
    "capture_gaps",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("queue_full", BigInteger, nullable=False),
    Column("storage_failed", BigInteger, nullable=False),
    Column("quota_full", BigInteger, nullable=False),
    Column("last", Float, nullable=False),
)

# Rankings of captured inputs, so that the pages of a list show the same order on every replica.
review_lists = Table(
    "review_lists",
    metadata,
    Column("list_id", String(32), primary_key=True),
    Column("model", String(128), nullable=False),
    # The version that ranked.
    Column("number", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("entries", JSON, nullable=False),
    Index("review_lists_by_model", "model", "created"),
    Index("review_lists_by_time", "created"),
)
