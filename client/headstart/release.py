"""The installed release of this package."""

from importlib import metadata


def installed_version() -> str:
    """Return the version of the installed distribution; 0 without an installation."""
    try:
        return metadata.version("headstart")
    except metadata.PackageNotFoundError:
        return "0"
