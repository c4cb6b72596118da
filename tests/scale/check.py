"""Which statements are too slow, or read a whole large table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from headstart_server.database import tables
from headstart_server.database.database import Database
from headstart_server.database.postgres import STATEMENT_SECONDS
from scale.plans import WHOLE, whole_tables
from scale.recorder import Statement, quantile

#: Seconds that a statement may take.
MOST_SECONDS = 0.1
#: Tables of some rows, or of one for each tenant or receiver of webhooks.
_SMALL = (
    "schema_version",
    "identity",
    "counters",
    "replicas",
    "turns",
    "tenant_usage",
    "webhook_receivers",
)
#: Tables that grow with use.
LARGE = frozenset(table.name for table in tables.metadata.sorted_tables if table.name not in _SMALL)
#: Rows of a table up to which PostgreSQL rightly reads all of it.
_FEW_ROWS = 20_000
#: Statements that may take longer and read whole tables, each with the reason.
REPORTS: dict[str, str] = {
    "jobs.job_queries.counted": "counts all jobs for the metrics, at each cleaning, from an index",
    "models.usage.wrong_sums": "recounts what tenants store, once an hour and when a server starts",
    "models.rows.changed_models": "reads all models when a server or database starts, then changed ones only",
    "jobs.webhook_rows.expire": "runs only when a server with SQLite starts",
}

#: Statements that may read a whole table where that is the quickest way, but in the same time as all others.
READS_ALL = {
    "models.model_reader.ModelReader.models": "PostgreSQL compares how names begin, whatever their order is",
    "models.model_reader.ModelReader._names": "PostgreSQL compares how names begin, whatever their order is",
    "feedback.feedback_store.FeedbackStore.ready": "reads a partial index of the models with a policy",
    "models.model_index.read_model_entries": "reads hundreds of models at once when a server starts",
    "models.alias_rows.traffic_of": "reads hundreds of models at once when a server starts",
    "jobs.dataset_usage.dataset_bytes": "sums up all datasets from an index, at each cleaning without a lock",
    "jobs.job_counts.count_data": "counts datasets and captured inputs for the metrics, at each cleaning",
    "jobs.archive_retention._oldest_kept": "takes the first uses there are, where a server keeps no examples",
    "jobs.archive_retention._aliased": "looks for hundreds of versions among all aliases",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A statement with its times, in seconds, and what is wrong with it.

    Attributes:
        median: of all executions.
        p99: of all executions.
        busy: 99th percentile of the processor time of the database.
        tables: large tables that it reads as a whole.
        is_report: whether it may.
        fault: what is wrong; empty if nothing is.
    """

    name: str
    text: str
    runs: int
    median: float
    p99: float
    busy: float
    rows: int
    tables: Sequence[str]
    is_report: bool
    fault: str


def measured(
    database: Database,
    statements: Iterable[Statement],
    *,
    seconds: float = MOST_SECONDS,
    strict: bool = False,
) -> list[Measured]:
    """Measure statements by their recorded times, and by their plans on a database.

    Args:
        database: the database, as full as it was.
        statements: the statements.
        seconds: what each may take.
        strict: whether the tables are small: then PostgreSQL reads all of an index rather than look up many
            rows in it, and only statements that no index helps count.
    """
    found = []
    with database.read() as connection:
        if connection.dialect.name == "postgresql":
            # A plan takes seconds where the disk is busy.
            connection.exec_driver_sql("SET statement_timeout = 0")
            if strict:
                connection.exec_driver_sql("SET enable_seqscan = off")
        large = LARGE if strict else _with_many_rows(connection)
        for each in statements:
            whole = whole_tables(connection, *each.example, large, ("Seq Scan",) if strict else WHOLE)
            site = each.name.partition(" ")[0]
            is_report = site in REPORTS
            busy = quantile(each.busy, 0.99)
            faults = [] if site in READS_ALL else [f"reads all of {table}" for table in whole]
            if busy > seconds:
                faults.append(f"takes {busy * 1e3:.0f} ms")
            found.append(
                Measured(
                    name=each.name,
                    text=each.text,
                    runs=len(each.seconds),
                    median=quantile(each.seconds, 0.5),
                    p99=quantile(each.seconds, 0.99),
                    busy=busy,
                    rows=max(each.rows),
                    tables=whole,
                    is_report=is_report,
                    fault="" if is_report else "; ".join(faults),
                )
            )
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            connection.exec_driver_sql("SET enable_seqscan = on")
    return found


def _with_many_rows(connection: Connection) -> frozenset[str]:
    """Return the large tables, without those that the benchmark leaves almost empty."""
    found = []
    for table in tables.metadata.sorted_tables:
        if table.name in LARGE:
            query = select(table).limit(_FEW_ROWS + 1).subquery()
            if connection.execute(select(func.count()).select_from(query)).scalar_one() > _FEW_ROWS:
                found.append(table.name)
    return frozenset(found)
