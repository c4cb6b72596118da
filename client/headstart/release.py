"""Which release of this package is installed."""

from importlib import metadata

__all__ = ["installed_version"]


def installed_version() -> str:
    """The version of the installed distribution; 0 where the source is used without installing it."""
    try:
        return metadata.version("headstart")
    except metadata.PackageNotFoundError:
        return "0"
