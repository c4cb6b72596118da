"""The question before something is deleted."""

import sys

import typer

__all__ = ["confirm"]


def confirm(what: str, *, skip: bool) -> None:
    """Ask on the terminal whether to go on.

    Args:
        what: the deletion, such as ``delete model pets``.
        skip: True asks nothing.

    Raises:
        ValueError: stdin is not a terminal.
        typer.Abort: the answer is no.
    """
    if skip:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"Cannot ask whether to {what}: stdin is not a terminal. Confirm it with --yes.")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)
