"""Prints the versions of packages as JSON: versions.py NAME...; those that are missing are left out."""

import json
import sys
from importlib.metadata import PackageNotFoundError, version

found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        continue
print(json.dumps(found))
