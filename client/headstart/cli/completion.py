"""Shell completion of names from the server, within a second and silent on failure."""

import re
import threading
from collections.abc import Callable, Iterable
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import typer
from rich.console import Console

from headstart.cli.global_options import GlobalOptions, for_one_server
from headstart.cli.session import Session
from headstart.client import Client

Names: TypeAlias = list[str] | list[tuple[str, str]]

_SECONDS = 1.0
# Shells evaluate completions, and a hostile server chooses the names.
_PLAIN = re.compile(r"\w[\w@+:,./-]*")
_MAX_JOBS = 50


def complete_models(context: typer.Context, incomplete: str) -> Names:
    """Return model names."""
    return _starting(incomplete, _query(context, lambda client: [each.model for each in client.models()]))


def complete_versions(context: typer.Context, incomplete: str) -> Names:
    """Return model names, and after ``@`` the aliases and versions of the model."""
    model, at, _ = incomplete.partition("@")
    if not at:
        return complete_models(context, incomplete)

    def names(client: Client) -> list[str]:
        described = client.get_model(model, max_versions=_MAX_JOBS)
        aliases = [each.alias for each in described.aliases]
        return [
            f"{model}@{each}" for each in (*aliases, *(version.version for version in described.versions))
        ]

    return _starting(incomplete, _query(context, names))


def complete_numbered_versions(context: typer.Context, incomplete: str) -> Names:
    """Return model names, and after ``@`` the versions of the model."""
    model, at, _ = incomplete.partition("@")

    def names(client: Client) -> list[str]:
        if not at:
            return [f"{each.model}@" for each in client.models()]
        described = client.get_model(model, max_versions=_MAX_JOBS)
        return [f"{model}@{each.version}" for each in described.versions]

    return _starting(incomplete, _query(context, names))


def complete_aliases(context: typer.Context, incomplete: str) -> Names:
    """Return the aliases of the model on the command line."""
    model = context.params.get("model")
    if not model:
        return []

    def names(client: Client) -> list[str]:
        return [each.alias for each in client.get_model(model, max_versions=0).aliases]

    return _starting(incomplete, _query(context, names))


def complete_jobs(context: typer.Context, incomplete: str) -> Names:
    """Return the newest jobs, with their model and state as description."""

    def names(client: Client) -> list[tuple[str, str]]:
        newest = (job.last_status for job in islice(client.jobs(), _MAX_JOBS))
        return [(job.job_id, f"{job.spec.model}, {job.state.lower()}") for job in newest if job is not None]

    return [each for each in _query(context, names) if each[0].startswith(incomplete)]


def complete_backbones(context: typer.Context, incomplete: str) -> Names:
    """Return backbone names and ``auto``."""

    def names(client: Client) -> list[str]:
        return [each.backbone for each in client.backbones()]

    return _starting(incomplete, ["auto", *_query(context, names)])


def _starting(incomplete: str, names: Iterable[str]) -> Names:
    return [each for each in names if each.startswith(incomplete)]


def _query(context: typer.Context, names: Callable[[Client], list[Any]]) -> list[Any]:
    """Return names from the server; an empty list if it does not answer in time."""
    results: list[Any] = []

    def query() -> None:
        try:
            session = Session(_options(context))
            session.err = Console(file=StringIO())
            with session.client(timeout=_SECONDS, retries=0) as client:
                results.extend(names(client))
        except Exception:  # noqa: BLE001, S110  # a shell shows whatever a completion prints
            pass

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return [] if thread.is_alive() else [each for each in results if _is_plain(each)]


def _is_plain(name: str | tuple[str, str]) -> bool:
    """Return whether a shell may insert a name into the command line, and show its description."""
    words = [name] if isinstance(name, str) else [name[0], *name[1].split()]
    return all(map(_PLAIN.fullmatch, words))


def _options(context: typer.Context) -> GlobalOptions:
    root = cast(typer.Context, context.find_root())
    parameters = root.params
    paths: dict[str, Any] = {
        name: Path(parameters[name]) for name in ("ca", "cert", "key", "token_file") if parameters.get(name)
    }
    options = GlobalOptions(
        server=parameters.get("server"),
        context_name=parameters.get("context_name"),
        tls=bool(parameters.get("tls")),
        token=parameters.get("token"),
        **paths,
    )
    return for_one_server(options, root)
