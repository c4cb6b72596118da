"""Files that installed packages ship."""

import importlib.util
from pathlib import Path

from headstart_server.errors import BackboneNotFound


def file_in_package(distribution: str, pattern: str) -> Path:
    """The one file of an installed package that fits a pattern; the package's own code is not run.

    Args:
        distribution: the package's name, as it is installed by.
        pattern: of the file, such as ``models/*.pth``, in the package's folder.

    Raises:
        BackboneNotFound: there is no such file, or several.
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
