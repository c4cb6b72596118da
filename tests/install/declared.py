"""Checks that each extra declares what its modules import: python -m install.declared.

deptry checks that any extra declares an import. This checks that the right one does: a module that imports a
package at its top, directly or through another module, needs an extra that declares the package.
"""

import ast
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from install.extras import CHOSEN_BY_THE_USER, INSTALLED_AS, Declared, needs

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "client", ROOT / "server")
OURS = ("headstart", "headstart_server")


@dataclass(frozen=True)
class Import:
    """One import of a module.

    Attributes:
        module: that imports.
        name: of what is imported, with dots.
        line: its line.
        needed: whether the module cannot be imported without it.
    """

    module: str
    name: str
    line: int
    needed: bool


@cache
def imports(path: Path, module: str) -> Sequence[Import]:
    """Return the imports of a file, those in functions too."""
    return tuple(_imports_of(ast.parse(path.read_text()).body, module, True))


def _imports_of(body: list[ast.stmt], module: str, needed: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno, needed) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name may be a module of the package.
            yield Import(module, node.module, node.lineno, needed)
            yield from (
                Import(module, f"{node.module}.{alias.name}", node.lineno, needed) for alias in node.names
            )
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        else:
            at_import = needed and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            # A caught import either has a fallback, or raises an error that names the extra.
            at_import = at_import and not (isinstance(node, ast.Try) and node.handlers)
            for part in ("body", "orelse", "finalbody"):
                yield from _imports_of(getattr(node, part, []), module, at_import)
            for handler in getattr(node, "handlers", []):
                yield from _imports_of(handler.body, module, at_import)


def modules() -> dict[str, Path]:
    """Return the files of all modules by name."""
    found = {}
    for folder in FOLDERS:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Return the installed distributions by the packages they bring, which takes a second to find."""
    return importlib.metadata.packages_distributions()


def faults(declared: Declared) -> Iterator[str]:
    """Yield what an extra does not declare."""
    files, distributions = modules(), _distributions()
    anywhere = declared.packages([*INSTALLED_AS, "gpu"]) | CHOSEN_BY_THE_USER
    for module, path in sorted(files.items()):
        given = sorted(needs(module))
        extras, packages = declared.extras(given), declared.packages(given)
        with_extras = f"with {', '.join(given)}" if given else "without extras"
        remedy = f"or add {module} to OWNERS in tests/install/extras.py."
        for each in imports(path, module):
            place = f"{path.relative_to(ROOT)}:{each.line}"
            top = each.name.partition(".")[0]
            if top in OURS:
                more = needs(each.name) - extras if each.needed and each.name in files else set()
                if more:
                    yield (
                        f"{place}: {module} is installed {with_extras}, but {each.name} needs "
                        f"{', '.join(sorted(more))}. "
                        f"Import it in a function, {remedy}"
                    )
            elif top not in sys.stdlib_module_names:
                found = distributions.get(top, [declared.package_of.get(top, top)])
                names = {name.lower().replace("_", "-") for name in found}
                if not names & (packages if each.needed else anywhere):
                    installed = (
                        f"headstart {with_extras} does not declare" if each.needed else "no extra declares"
                    )
                    yield (
                        f"{place}: {module} imports {top}, which {installed}. Declare it in "
                        f"pyproject.toml, {remedy}"
                    )


def main() -> int:
    """Print the faults; the exit code is 1 if there is one."""
    found = sorted(set(faults(Declared(ROOT / "pyproject.toml"))))
    print("\n".join(found) or "Each extra declares what its modules import.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
