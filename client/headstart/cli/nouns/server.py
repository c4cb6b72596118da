"""The commands `headstart backbone`, `headstart whoami`, `headstart usage` and `headstart wait`."""

import time

import typer
from rich.console import Group
from rich.text import Text

from headstart.cli.exits import ExitCode
from headstart.cli.help import noun
from headstart.cli.output.formats import LIST
from headstart.cli.output.layout import add_row, facts_grid, new_table
from headstart.cli.output.listings import backbone_listing
from headstart.cli.output.model_tables import backbone_list
from headstart.cli.session import session_of
from headstart.client import Client
from headstart.errors import HeadstartError

_MIB = 1 << 20
_SHORTEST, _LONGEST = 0.1, 1.0


def whoami(context: typer.Context) -> None:
    """Show your identity on the server, and your permissions.

    Example: `headstart whoami`
    """
    session = session_of(context)
    with session.client() as client:
        caller = client.who_am_i()
    if not caller.authenticated:
        text = Text("This server does not authenticate callers: every caller may do everything.")
        session.show(session.response("WhoAmI"), text)
        return
    table = new_table("models", "rights")
    for each in caller.permissions:
        add_row(table, ", ".join(each.models), ", ".join(right.lower() for right in each.rights))
    facts = [
        ("principal", caller.principal or None),
        ("subject", caller.subject or None),
        ("tenant", caller.tenant or None),
    ]
    session.show(session.response("WhoAmI"), Group(facts_grid(facts, indent=""), table))


def usage(context: typer.Context) -> None:
    """Show what your tenant stores and runs, with its limits.

    Example: `headstart usage`
    """
    session = session_of(context)
    with session.client() as client:
        tenant_usage = client.usage()
    stored = tenant_usage.version_bytes + tenant_usage.example_bytes
    facts = [
        ("tenant", tenant_usage.tenant or None),
        ("versions", _of(tenant_usage.version_count, tenant_usage.version_limit)),
        ("stored", _of(stored, tenant_usage.stored_bytes_limit, unit=_MIB)),
        ("datasets", f"{tenant_usage.dataset_count} with {_of(tenant_usage.dataset_bytes, None, unit=_MIB)}"),
        ("queued jobs", _of(tenant_usage.queued_job_count, tenant_usage.queued_job_limit)),
        ("running jobs", _of(tenant_usage.running_job_count, tenant_usage.running_job_limit)),
    ]
    session.show(session.response("GetUsage"), facts_grid(facts, indent=""))


def _of(value: int, limit: int | None, unit: int = 1) -> str:
    def quantity(number: int) -> str:
        return f"{number:,}" if unit == 1 else f"{number / unit:,.1f} MiB"

    return quantity(value) if limit is None else f"{quantity(value)} of {quantity(limit)}"


def wait(context: typer.Context) -> None:
    """Wait until the server is ready, for --timeout seconds at most; then exit with 3.

    Example: `headstart wait --timeout 300`
    """
    session = session_of(context)
    begin = time.monotonic()
    delay = _SHORTEST
    with session.client(retries=0) as client:
        while (left := session.options.timeout - (time.monotonic() - begin)) > 0:
            if client.ready(timeout=min(left, 5.0)):
                seconds = time.monotonic() - begin
                ready = Text(f"{session.connection.server} is ready after {seconds:.1f} s.")
                session.show({"ready": True, "seconds": seconds}, ready)
                return
            time.sleep(max(0.0, min(delay, session.options.timeout - (time.monotonic() - begin))))
            delay = min(2 * delay, _LONGEST)
        reason = _reason(client)
    session.note(f"error: {session.connection.server} is not ready after {session.options.timeout:g} s.")
    session.note(reason)
    if session.as_json:
        session.print_json({"ready": False})
    raise typer.Exit(ExitCode.UNAVAILABLE)


def _reason(client: Client) -> str:
    """Return why a server is not ready."""
    try:
        client.with_options(timeout=1).server_info()
    except HeadstartError as error:
        return error.message
    return "It answers, but does not serve yet. Its log shows the progress of the backbone."


backbones = noun("backbone", "List the backbones of the server.")


@backbones.command("list", formats=LIST)
def list_backbones(context: typer.Context) -> None:
    """List the backbones of the server.

    Example: `headstart backbone list`
    """
    session = session_of(context)
    with session.client() as client:
        listed = client.backbones()
    session.show(session.response("ListBackbones"), backbone_list(listed), backbone_listing(listed))
