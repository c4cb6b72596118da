"""Which optional packages this installation has."""

import importlib.util

#: Packages that the extra `server` adds to `serving`, and the slim image lacks.
_KERAS = ("keras", "tensorflow")


def has_keras() -> bool:
    """Whether Keras sources can be converted here, networks trained and Keras models exported."""
    return not missing_packages()


def keras_missing(purpose: str) -> str | None:
    """Return why something cannot be done here without Keras and TensorFlow; None if both are installed.

    Args:
        purpose: subject of the sentence, such as ``The recipe 'partial'``.
    """
    missing = missing_packages()
    if not missing:
        return None
    return (
        f"{purpose} needs {' and '.join(missing)}, which this installation lacks. Use the full image, or "
        "install 'headstart[server]' where the server runs."
    )


def missing_packages() -> list[str]:
    """Return the packages of Keras that are not installed."""
    return [package for package in _KERAS if importlib.util.find_spec(package) is None]
