"""The command `headstart`, an extra of the client: `pip install 'headstart[cli]'`."""

import io
import os
import sys

__all__ = ["main"]

_NEEDED = frozenset({"typer", "rich"})


def main() -> None:
    """Run the command; without typer and rich, print how to install them and exit with 2."""
    try:
        from headstart.cli.app import app  # noqa: PLC0415  # an extra: it may be missing
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print("The command `headstart` needs typer and rich: pip install 'headstart[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    if os.environ.setdefault("GRPC_VERBOSITY", "NONE") == "NONE":
        _redirect_file_descriptor_2()
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of others and characters of tables may be missing in the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _open_closed_streams() -> None:
    """Open /dev/null in place of standard streams that the parent closed, which Python sets to None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def _redirect_file_descriptor_2() -> None:
    """Redirect file descriptor 2, so that only Python writes to stderr.

    gRPC core would log about connections between the command's lines. It reads its verbosity when it is
    imported, which `headstart` does before this function runs.
    """
    if sys.stderr is None:  # the parent closed it
        return
    own = os.dup(2)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
