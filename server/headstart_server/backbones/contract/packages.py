"""Files in installed packages."""

import importlib.util
from pathlib import Path

from headstart_server.errors import BackboneNotFound


def file_in_package(distribution: str, pattern: str) -> Path:
    """Return the single file of an installed package that matches a pattern, without running the package.

    Args:
        distribution: name by which the package is installed.
        pattern: pattern such as ``models/*.pth``, in the package's folder.

    Raises:
        BackboneNotFound: no file matches, or several do.
    """
    package = distribution.replace("-", "_")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob(pattern))
    if len(files) != 1:
        raise BackboneNotFound(
            f"Expected one file {pattern} in package {distribution}. Received: {len(files)}. "
            f"Install it with: pip install {distribution}"
        )
    return files[0]
