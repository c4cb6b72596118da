"""Imports every module of packages, and prints the failures. Takes {"packages": [...], "without": [...]}."""

import importlib
import json
import pkgutil
import sys
import warnings


def main(packages: list[str], without: list[str]) -> None:
    """Import the modules of packages, except modules and packages that need another extra."""
    warnings.simplefilter("ignore")
    failed, count = [], 0
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name in without or name.endswith("__main__"):
            continue
        count += 1
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
            continue
        parts = pkgutil.iter_modules(getattr(module, "__path__", []))
        waiting += [f"{name}.{part.name}" for part in parts]
    print(json.dumps({"imported": count, "failed": failed}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
