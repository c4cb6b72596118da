"""Fills a database with jobs, versions, models and archives, by statements that the database runs itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, NullPool, Table, create_engine, text

from fakes import JobDriver, Publisher
from headstart_server.database import dataset_tables, tables
from headstart_server.database.capture_tables import capture_batches, captured_inputs
from headstart_server.database.dataset_tables import dataset_batches, datasets
from headstart_server.database.feedback_tables import feedback, retrains
from headstart_server.datasets.dataset_rows import list_columns
from headstart_server.jobs.stored import QueueLimits
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target

#: The job that the others are copies of.
TEMPLATE = "template"
QUEUED, RUNNING = 100, 16
#: Seconds since 1970 of the first job; each further one comes a second later.
BEGIN = 1_700_000_000
EVENTS = 3

# A tenth of the models belongs to no tenant, and two tenths to one tenant.
_TENANT = "CASE WHEN {k} % 10 < 2 THEN 'big' WHEN {k} % 10 = 2 THEN '' ELSE 't' || ({k} % 997) END"
_MODEL = (
    "CASE WHEN {k} % 10 < 2 THEN 'big/' WHEN {k} % 10 = 2 THEN '' ELSE 't' || ({k} % 997) || '/' END"
    " || 'm' || {k}"
)

#: The names and definitions of indexes that are not those of constraints.
_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND NOT "
    "EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = format('%%I', indexname)::regclass)",
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rows there are.

    Attributes:
        jobs: jobs; a multiple of 1,000.
    """

    jobs: int

    @property
    def versions(self) -> int:
        """Versions, of the newest jobs; one in a hundred is of the model `big/heavy`."""
        return self.jobs // 2

    @property
    def models(self) -> int:
        """Models, and as many archives, webhooks, erased examples and named datasets."""
        return self.jobs // 10

    @property
    def now(self) -> float:
        """The time when the last job has ended."""
        return float(BEGIN + self.jobs + 1000)

    def job_id(self, place: int) -> str:
        """The job at a place; the newest has the highest."""
        return f"job-{place:09d}"

    def model(self, place: int) -> str:
        """The name of a model at a place."""
        tenant = "big/" if place % 10 < 2 else "" if place % 10 == 2 else f"t{place % 997}/"
        return f"{tenant}m{place}"


def fill(publisher: Publisher, sizes: Sizes) -> None:
    """Fill an empty database, and have it count its rows."""
    driver = JobDriver(publisher, limits=QueueLimits(queued=1000))
    driver.submit(TEMPLATE, webhook="https://example.com/ended", nbytes=1000)
    driver.succeed(driver.claim())
    publisher.registry.set_alias("pets", "live", 1)
    _fill(publisher, sizes)
    driver.job_store.quotas.recount_usage()


def _fill(publisher: Publisher, sizes: Sizes) -> None:
    if publisher.database.is_shared:
        # On a separate connection, whose statements may take longer than the server's.
        with publisher.database.read() as connection:
            url = connection.engine.url
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SET synchronous_commit = off")
            connection.exec_driver_sql("SET maintenance_work_mem = '256MB'")
            _fill_without_indexes(connection, sizes)
            connection.exec_driver_sql("VACUUM ANALYZE")
    else:
        with publisher.database.write() as connection:
            _fill_without_indexes(connection, sizes)


def _fill_without_indexes(connection: Connection, sizes: Sizes) -> None:
    """Fill the tables, and create their indexes afterwards, which is faster than to keep them up to date."""
    indexes = connection.exec_driver_sql(_INDEXES[connection.dialect.name]).all()
    for name, _ in indexes:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    _fill_all(connection, sizes)
    for _, definition in indexes:
        connection.exec_driver_sql(definition)


def _fill_all(connection: Connection, sizes: Sizes) -> None:
    job = "'job-' || substr('000000000' || {i}, length('' || {i}) + 1)"
    newest = f"({sizes.jobs - 1} - i)"
    of_job = {"k": f"(i % {sizes.models})"}
    of_version = {"k": f"({newest} % {sizes.models})"}
    heavy, heavy_version = "i % 100 = 0", f"{newest} % 100 = 0"
    state = (
        f"CASE WHEN i < {QUEUED} THEN 'queued' WHEN i < {QUEUED + RUNNING} THEN 'running' "
        "WHEN (i / 7) % 20 = 0 THEN 'failed' WHEN (i / 7) % 20 = 1 THEN 'cancelled' ELSE 'succeeded' END"
    )
    has_ended = f"i >= {QUEUED + RUNNING}"
    _copy(
        connection,
        tables.jobs,
        sizes.jobs,
        {
            "job_id": job.format(i="i"),
            "number": "i + 1",
            "tenant": f"CASE WHEN {heavy} THEN 'big' ELSE {_TENANT.format(**of_job)} END",
            "model": f"CASE WHEN {heavy} THEN 'big/heavy' ELSE {_MODEL.format(**of_job)} END",
            "state": state,
            "request_id": "CASE WHEN i % 10 = 0 THEN 'r' || i END",
            "owner": f"CASE WHEN {state} = 'running' THEN 'host/0' END",
            "lease_until": f"CASE WHEN {state} = 'running' THEN {sizes.now + 1e6} END",
            "seq": f"{EVENTS}",
            "created": f"{BEGIN} + i",
            "started": f"CASE WHEN i >= {QUEUED} THEN {BEGIN} + i + 1 END",
            "finished": f"CASE WHEN {has_ended} THEN {BEGIN} + i + 60 END",
        },
    )
    _copy(
        connection,
        tables.job_events,
        sizes.jobs * EVENTS,
        {"job_id": job.format(i=f"(i / {EVENTS})"), "seq": f"i % {EVENTS} + 1"},
        where="t.seq = 2",
    )
    _copy(connection, tables.models, sizes.models, {"name": _MODEL.format(k="i"), "next_number": "1000000"})
    _copy(connection, tables.models, sizes.models // 10, {"name": "'big/gone' || i", "deleted": f"{BEGIN}"})
    _copy(connection, tables.models, 1, {"name": "'big/heavy'", "next_number": "1000000"})
    _copy(
        connection,
        tables.versions,
        sizes.versions,
        {
            "model": f"CASE WHEN {heavy_version} THEN 'big/heavy' ELSE {_MODEL.format(**of_version)} END",
            "number": f"CASE WHEN {heavy_version} THEN i / 100 + 1 ELSE i / {sizes.models} + 1 END",
            "job_id": job.format(i=newest),
            "artifact": f"{job.format(i=newest)} || '.1'",
            "created": f"{BEGIN} + {newest} + 60",
            "expires": f"CASE WHEN i % 100 = 51 THEN {sizes.now - 500} "
            f"WHEN i % 100 = 53 THEN {sizes.now + 1e6} END",
        },
    )
    _copy(connection, tables.aliases, sizes.models, {"model": _MODEL.format(k="i")})
    connection.execute(
        text(
            "INSERT INTO alias_shares (model, alias, number, share, moves) SELECT model, name, 2, 0.05, "
            "moves FROM aliases WHERE model LIKE '%07'"
        )
    )
    connection.execute(
        text(
            "INSERT INTO alias_events (model, alias, time, cause, principal, job_id, after, traffic_before, "
            f"traffic_after) {_series(connection, 10 * sizes.models)} SELECT {_MODEL.format(**of_job)}, "
            f"'live', {BEGIN} + i, 'set', 'somebody', '', 1, '[]', '[]' FROM series"
        )
    )
    bucket = f"{int(sizes.now)} / 300 * 300 - 300 * (i / {sizes.models})"
    connection.execute(
        text(
            "INSERT INTO traffic (model, number, bucket, replica, requests, errors, inputs, unknowns, "
            f"samples, latencies) {_series(connection, 10 * sizes.models)} SELECT {_MODEL.format(**of_job)}, "
            f"1, {bucket}, 'host/0', 1, 0, 1, 0, 0, '[]' FROM series"
        )
    )
    _copy(
        connection,
        dataset_tables.archive_uses,
        sizes.versions,
        {
            "holder": job.format(i=newest),
            "archive": job.format(i=f"({sizes.jobs - 1} - i % {sizes.models})"),
        },
    )
    own = {"holder": job.format(i="i"), "archive": job.format(i="i")}
    _copy(connection, dataset_tables.archive_uses, QUEUED + RUNNING, own)
    tenant = f"CASE WHEN {heavy_version} THEN 'big' ELSE {_TENANT.format(**of_version)} END"
    archives = {"archive": job.format(i=newest), "tenant": tenant, "nbytes": "1000000"}
    _copy(connection, dataset_tables.archive_sizes, sizes.models, archives)
    own = {"archive": job.format(i="i"), "tenant": _TENANT.format(**of_job), "nbytes": "1000000"}
    _copy(connection, dataset_tables.archive_sizes, QUEUED + RUNNING, own)
    _copy(
        connection,
        tables.webhooks,
        sizes.models,
        {
            "job_id": job.format(i=newest),
            "state": "CASE WHEN i < 100 THEN 'pending' ELSE 'delivered' END",
            "due": f"{BEGIN} + i",
            "finished": f"CASE WHEN i >= 100 THEN {BEGIN} + i END",
        },
    )
    connection.execute(
        text(
            "INSERT INTO forgotten_examples (archive, member, number, digest, time, removed, rewritten) "
            f"{_series(connection, sizes.models)} SELECT {job.format(i=newest)}, 0, i + 1, 'd' || i, "
            f"{BEGIN - 7200}, CASE WHEN i % 1000 = 0 THEN 1 ELSE 2 END, {BEGIN} FROM series"
        )
    )
    _fill_rooms(connection, sizes)
    connection.execute(text(f"UPDATE counters SET value = {sizes.models + 10} WHERE name = 'registry'"))
    connection.execute(text(f"UPDATE counters SET value = {sizes.jobs} WHERE name = '{tables.JOBS}'"))


def _fill_rooms(connection: Connection, sizes: Sizes) -> None:
    """Fill named datasets, feedback and captured inputs."""
    model = _MODEL.format(k=f"(i % {sizes.models})")
    example = StoredExample(
        target=Target.of_label("cat"), id="e", held_out=False, digest="d", kind="text", archive="a"
    )
    rows = {
        datasets: (
            sizes.models,
            {
                "dataset_id": "'d' || i",
                "name": "'t' || (i % 997) || '/d' || i",
                "tenant": "'t' || (i % 997)",
                "state": "CASE WHEN i % 10 = 0 THEN 'open' ELSE 'ready' END",
                "display_name": "''",
                "description": "''",
                "tags": "'{}'",
                "next_batch": "1",
                "example_count": "1",
                "nbytes": "1",
                "class_counts": "'{}'",
                "checksum": f"'{bytes(32).hex()}'",
                "revision": "1",
                "created": f"{BEGIN}",
                "written": f"{BEGIN}",
            },
        ),
        dataset_batches: (
            sizes.models,
            {
                "dataset_id": "'d' || i",
                "number": "0",
                "archive": "'of-d' || i",
                "digest": "'d' || i",
                "checksum": f"'{bytes(32).hex()}'",
                "id_digests": ":id_digests",
                "listed": ":listed",
            },
        ),
        capture_batches: (
            sizes.models,
            {
                "batch": "'b' || i",
                "model": model,
                "state": "'ready'",
                "entries": "5",
                "nbytes": "1000",
                "features": "'{}'",
                "created": f"{BEGIN} + i",
                "ttl": "1e7",
                "due": f"{BEGIN} + i + 1e7",
            },
        ),
        captured_inputs: (
            5 * sizes.models,
            {
                "prediction_id": "'p' || i",
                "model": model,
                "number": "1",
                "batch": f"'b' || (i % {sizes.models})",
                "place": f"i / {sizes.models}",
                "start": "0",
                "nbytes": "100",
                "digest": "'d' || i",
                "kind": "'text'",
                "media_type": "''",
                "created": f"{BEGIN} + i",
                "expires": f"{sizes.now + 1e6}",
                "predicted": """'"cat"'""",
                "classes": "'[]'",
                "reasons": "1",
                "direction": ":id_digests",
            },
        ),
        feedback: (
            5 * sizes.models,
            {
                "feedback_id": "'f' || i",
                "number": "i + 1",
                "model": model,
                "state": "CASE WHEN i % 10 = 0 THEN 'pending' ELSE 'learned' END",
                "request_id": "'r' || i",
                "request_hash": "'h'",
                "principal": "''",
                "created": f"{BEGIN} + i",
                "example_id": "'p' || i",
                "prediction_id": "'p' || i",
                "digest": "'d' || i",
                "kind": "'text'",
                "nbytes": "1",
                "answer": "'label'",
                "correct": "1",
                "version": "1",
                "class_name": "'cat'",
                "week": "2800",
                "sampled": "0",
                "job_id": "CASE WHEN i % 10 > 0 THEN 'job-of-' || i END",
            },
        ),
        retrains: (sizes.models, {"model": model}),
    }
    blobs = list_columns([example])
    for table, (count, values) in rows.items():
        named = {name: blobs[name] for name in blobs if f":{name}" in values.values()}
        connection.execute(
            text(
                f"INSERT INTO {table.name} ({', '.join(values)}) {_series(connection, count)} "
                f"SELECT {', '.join(values.values())} FROM series"
            ),
            named,
        )


def _copy(
    connection: Connection, table: Table, count: int, values: Mapping[str, str], where: str | None = None
) -> None:
    """Insert copies of the template's row, with other values of some columns."""
    wanted = where or {
        "models": "t.name = 'pets'",
        "versions": f"t.job_id = '{TEMPLATE}'",
        "aliases": "t.model = 'pets'",
        "archive_uses": f"t.holder = '{TEMPLATE}'",
        "archive_sizes": f"t.archive = '{TEMPLATE}'",
    }.get(table.name, f"t.job_id = '{TEMPLATE}'")
    columns = [column.name for column in table.columns]
    chosen = ", ".join(values.get(name, f't."{name}"') for name in columns)
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({', '.join(columns)}) {_series(connection, count)} "
            f"SELECT {chosen} FROM series CROSS JOIN {table.name} t WHERE {wanted}"
        )
    )


def _series(connection: Connection, count: int) -> str:
    if connection.dialect.name == "sqlite":
        return (
            f"WITH RECURSIVE series(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM series WHERE i < {count - 1})"
        )
    return f"WITH series(i) AS (SELECT generate_series(0, {count - 1}))"
