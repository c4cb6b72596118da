"""Checks whether the database answers, accepts the user, and has tables that this release can use."""

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headstart_server.database.address import address_of, shown, sqlite_file
from headstart_server.database.data_facts import DataFacts
from headstart_server.database.probe import DatabaseFacts, ProbeError, examine
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.settings.settings import Settings

#: Maximum age in seconds of a lost input for a warning, and of an unfinished erasure without one.
RECENT_SECONDS, ERASURE_SECONDS = 86_400.0, 3600.0
#: Remedies for lost inputs, by cause.
_LOSS_REMEDIES = {
    "queue": "Lower the fraction that the capture policies select, or use more replicas.",
    "storage": "Free space in --artifacts or --data-dir, or check the bucket.",
    "quota": "Raise max_storage of the tenant, or lower max_count and max_bytes of its capture policies.",
}
#: Maximum models that a finding names.
_SHOWN = 3


def data_findings(facts: DataFacts) -> Iterator[Finding]:
    """Yield one finding each for captured inputs, feedback, datasets and erasures."""
    yield _captured(facts)
    yield _feedback(facts)
    opened = f", {facts.open_datasets:,} of them open" if facts.open_datasets else ""
    yield ok(
        "datasets",
        f"{facts.datasets:,} datasets{opened}, {facts.examples:,} examples, {_size(facts.dataset_bytes)}",
        datasets=facts.datasets,
        open=facts.open_datasets,
        examples=facts.examples,
        bytes=facts.dataset_bytes,
    )
    if facts.oldest_erasure is not None and facts.oldest_erasure > ERASURE_SECONDS:
        yield warning(
            "erasures",
            f"An erasure has not ended for {facts.oldest_erasure / 3600:,.1f} hours.",
            "Start a server, which continues it, and look for erasure errors in its log.",
            oldest_seconds=round(facts.oldest_erasure),
        )


def _captured(facts: DataFacts) -> Finding:
    size = f"{facts.captured:,} inputs of {facts.captured_models:,} models, {_size(facts.captured_bytes)}"
    details = {"inputs": facts.captured, "bytes": facts.captured_bytes, "lost": sum(facts.lost.values())}
    if facts.last_loss is None or facts.last_loss > RECENT_SECONDS:
        return ok("captured inputs", size, **details)
    causes = ", ".join(f"{count:,} ({cause} full)" for cause, count in facts.lost.items())
    causes = causes.replace("(storage full)", "(storage full or unavailable)")
    return warning(
        "captured inputs",
        f"{size}. Selected inputs were lost: {causes}, the last {facts.last_loss / 60:,.0f} minutes ago.",
        " ".join(_LOSS_REMEDIES[cause] for cause in facts.lost),
        **details,
    )


def _feedback(facts: DataFacts) -> Finding:
    details = {
        "pending": facts.pending,
        "bytes": facts.feedback_bytes,
        "oldest_seconds": None if facts.oldest_pending is None else round(facts.oldest_pending),
        "stopped_models": sorted(facts.stopped),
    }
    oldest = (
        "" if facts.oldest_pending is None else f", the oldest since {facts.oldest_pending / 3600:,.1f} hours"
    )
    size = f"{facts.pending:,} wait for a retrain{oldest}, {_size(facts.feedback_bytes)}"
    if not facts.stopped:
        return ok("feedback", size, **details)
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(facts.stopped.items())[:_SHOWN])
    more = f"; and {len(facts.stopped) - _SHOWN} more" if len(facts.stopped) > _SHOWN else ""
    return warning(
        "feedback",
        f"{size}. Retraining has stopped after failures of {len(facts.stopped)} models: {shown}{more}.",
        "Correct the cause, then set the retrain policy of the model again, which starts it.",
        **details,
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"


#: Maximum seconds between the clocks of machine and database without a warning.
MOST_SKEW = 2.0
#: Maximum seconds of one query without a warning.
MOST_LATENCY = 0.1

#: Remedies by the prefix of PostgreSQL's SQLSTATE.
_REMEDIES = {
    "28": "Correct the user or the password in --database (HEADSTART_DATABASE), or pg_hba.conf.",
    "3D": "Create the database (createdb NAME), or correct its name in --database.",
    "3F": "Create the schema of the user's search_path, or correct the search_path.",
    "42501": "Grant the user the right to use the schema and its tables.",
    "53": "Raise max_connections of PostgreSQL, or end other clients.",
    "57": "Wait until the database has started, then try again.",
    "TLS": "Correct sslmode and sslrootcert in --database, or the certificate of the database.",
    "": "Start the database, and check host, port and firewall; --database names them.",
}


def check_database(config: Settings, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Check the database, and the difference between its clock and this machine's."""
    target = config.storage.database_target
    try:
        file = sqlite_file(target)
        # Unlike a URL, a path need not be UTF-8.
        name = str(file) if file is not None else shown(address_of(target))
    except ValueError as error:
        yield failed("database", str(error), "Correct --database (HEADSTART_DATABASE).")
        return
    try:
        if file is not None and not stat.S_ISREG(file.stat().st_mode):
            yield failed("database", f"{file} is not a regular file.", "Name another file with --database.")
            return
        facts = examine(target, clock)
    except FileNotFoundError:
        yield ok("database", f"{file} will be created at the first start", address=name)
        return
    except OSError as error:
        yield failed("database", f"{file}: {error.strerror}.", "Give this user the right to read it.")
        return
    except ModuleNotFoundError as error:
        message, _, command = str(error).partition(": ")
        yield failed("database", f"{message}.", command.rstrip(".") or message)
        return
    except ProbeError as error:
        yield _unreachable(name, file, error)
        return
    yield state_finding(name, facts)
    if file is None:
        yield clock_finding(facts)
    else:
        yield skipped("clock skew", "SQLite uses this machine's clock.")
    if facts.data is not None:
        yield from data_findings(facts.data)


def _unreachable(name: str, file: Path | None, error: ProbeError) -> Finding:
    message = str(error).rstrip(".")
    if file is not None:
        remedy = f"Restore {file} from a backup, or name another file with --database."
        if "unable to open" in message or "readonly" in message:
            remedy = f"Run this as the user of the server, or make {file} and its folder readable."
        return failed("database", f"{file}: {message}.", remedy, address=name)
    begins = (begin for begin in _REMEDIES if begin and error.state.startswith(begin))
    remedy = _REMEDIES[next(begins, "")]
    return failed("database", f"{name}: {message}.", remedy, address=name, sqlstate=error.state)


def state_finding(name: str, facts: DatabaseFacts) -> Finding:
    """Return a finding about whether a server can use the tables of a database."""
    details = {
        "address": name,
        "product": facts.product,
        "schema": facts.schema,
        "latency_seconds": round(facts.latency, 6),
    }
    summary = f"{name}: {facts.product}"
    if facts.is_newer:
        return failed(
            "database",
            f"{summary}, with schema {facts.schema} of a newer Headstart.",
            "Start it with the Headstart that wrote it, or a newer one.",
            **details,
        )
    if facts.is_read_only:
        return failed(
            "database",
            f"{summary} rejects writes: it is a standby or read-only.",
            "Name the primary server with --database.",
            **details,
        )
    if facts.missing_tables and not facts.may_create:
        return failed(
            "database",
            f"{summary}: the user may not create tables, and {len(facts.missing_tables)} are missing.",
            "GRANT CREATE, USAGE ON SCHEMA public TO the user, or make it the owner of the database.",
            **details,
        )
    if facts.latency > MOST_LATENCY:
        return warning(
            "database",
            f"{summary}; one query takes {facts.latency * 1e3:.0f} ms.",
            "Run server and database in the same region, or look for load on the database.",
            **details,
        )
    state = f"schema {facts.schema}"
    if facts.schema is None:
        state = "no tables yet, created at the first start"
    elif facts.missing_tables:
        state = f"schema {facts.schema}, completed at the next start"
    return ok("database", f"{summary}, {state}, {facts.latency * 1e3:.1f} ms a query", **details)


def clock_finding(facts: DatabaseFacts) -> Finding:
    """Return a finding about the difference between the clocks of this machine and the database."""
    # The transfer of the answer takes an unknown part of the latency.
    uncertain = facts.latency / 2
    details = {"skew_seconds": round(facts.skew, 3)}
    if abs(facts.skew) <= MOST_SKEW + uncertain:
        return ok("clock skew", f"{facts.skew:+.3f} s between database and machine", **details)
    direction = "ahead of" if facts.skew > 0 else "behind"
    return warning(
        "clock skew",
        f"The database's clock is {abs(facts.skew):,.1f} s {direction} this machine's. Jobs follow the "
        "database's clock; tokens, certificates and logs follow the machine's.",
        "Synchronize both clocks with NTP.",
        **details,
    )
