"""The command that prints the report of a version."""

import tempfile
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import VersionArgument
from headstart.cli.output.safe_console import SafeOutput
from headstart.cli.session import Session, session_of
from headstart.results import Report
from headstart.version_ref import parse_version


class FormatChoice(StrEnum):
    """Formats of a report."""

    HTML = "html"
    JSON = "json"
    TEXT = "text"


_BY_ENDING = {
    ".html": FormatChoice.HTML,
    ".htm": FormatChoice.HTML,
    ".json": FormatChoice.JSON,
    ".txt": FormatChoice.TEXT,
}


def report(
    context: typer.Context,
    *,
    model: VersionArgument,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file.", show_default=False)
    ] = None,
    form: Annotated[
        FormatChoice | None,
        typer.Option(
            "--format",
            help="Default: html with --open, else by the file's suffix, else text.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a version's report: its quality, findings in its examples, and its lineage.

    Example: `headstart version report pets --open`
    """
    session = session_of(context)
    target = parse_version(model)
    if show and form not in (None, FormatChoice.HTML):
        raise typer.BadParameter("only html can be opened in the browser", param_hint="--format")
    chosen = form or _default_form(session, show=show, output=output)
    with session.client() as client:
        result = client.report(target.model, target.version, target.alias, format=chosen.value)
    if output is None and not show:
        SafeOutput().write(result.text if result.text.endswith("\n") else f"{result.text}\n")
        return
    path = result.save(output or _temporary_file(result))
    if show:
        webbrowser.open(path.absolute().as_uri())
    if session.as_json:
        session.print_json({"model": result.model, "version": result.version, "file": str(path)}, indent=2)
    else:
        session.out.print(f"{result.model}, version {result.version}: written to {path}", soft_wrap=True)


def _default_form(session: Session, *, show: bool, output: Path | None) -> FormatChoice:
    if show:
        return FormatChoice.HTML
    if output is not None:
        return _BY_ENDING.get(output.suffix.lower(), FormatChoice.HTML)
    return FormatChoice.JSON if session.as_json else FormatChoice.TEXT


def _temporary_file(report: Report) -> Path:
    """Return a file that outlives the command, because the browser reads it later."""
    folder = Path(tempfile.mkdtemp(prefix="headstart-"))
    return folder / f"{report.model}-{report.version}.html"
