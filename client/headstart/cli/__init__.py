"""The command `headstart`, an extra of the client: `pip install 'headstart[cli]'`."""

import sys

__all__ = ["main"]

_NEEDED = frozenset({"typer", "rich"})


def main() -> None:
    """Runs the command; without typer and rich it says how to install them and exits with 2."""
    try:
        from headstart.cli.app import app  # noqa: PLC0415  # an extra: it may be missing
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print("The command `headstart` needs typer and rich: pip install 'headstart[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    app()
