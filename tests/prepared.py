"""Built-in backbones in the cache of the servers of other tests: each is converted once in a checkout.

As a program it converts those that many tests load: within a test it would count for the time limit.
"""

import shutil
from pathlib import Path

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)

#: The default backbone, and the one that tests choose from, too.
_NAMES = ("efficientnet-lite0", "efficientnet-lite1")


def prepared_settings(
    precision: Precision = Precision.FLOAT32, kind: RuntimeKind = RuntimeKind.OPENVINO, streams: int = 2
) -> RuntimeSettings:
    """Return the settings of a runtime on the cache of the servers of other tests."""
    return RuntimeSettings(kind=kind, precision=precision, streams=streams, cache=default_cache())


def copy_prepared(name: str, cache: Path) -> Path:
    """Copy a prepared backbone into another cache; return its folder there."""
    folder = Catalog(runtimes=prepared_settings()).conversion(name).parent
    return Path(shutil.copytree(folder, cache / folder.name))


if __name__ == "__main__":
    catalog = Catalog(runtimes=prepared_settings())
    for each in _NAMES:
        catalog.conversion(each)
