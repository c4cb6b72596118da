"""Prints the size and shape of the code: `make metrics`.

A file has one importer if exactly one other module of the library imports it. A room is a folder of modules,
without its sub-folders. Import cycles include imports under `TYPE_CHECKING`.
"""

import ast
import math
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wording import all_findings, pattern_of

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (ROOT / "client", ROOT / "server")
SMALL_FILE = 40

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


@dataclass(frozen=True)
class SourceFile:
    """A file of the library.

    Attributes:
        module: its dotted name; a package has the name of its folder.
        path: the file.
        text: its source.
    """

    module: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Return the number of lines."""
        return len(self.text.splitlines())


def library() -> list[SourceFile]:
    """Return the files of client and server, except generated ones."""
    return [
        SourceFile(_module_of(path.relative_to(folder)), path, path.read_text(encoding="utf-8"))
        for folder in LIBRARIES
        for path in sorted(folder.rglob("*.py"))
        if not path.stem.endswith(("_pb2", "_pb2_grpc")) and path.parent.name != "v1"
    ]


def _module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(files: list[SourceFile]) -> dict[str, set[str]]:
    """Return the modules of the library that each of its modules names in an import."""
    known = {file.module for file in files}
    found: dict[str, set[str]] = {}
    for file in files:
        named: set[str] = set()
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= (inner & known) or {node.module}
        found[file.module] = (named & known) - {file.module}
    return found


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in graph[module]:
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            group = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in graph:
        if module not in order:
            visit(module)
    return found


def single_importers(files: list[SourceFile]) -> dict[str, str]:
    """Return the small files that one module imports, each with that module."""
    importers: defaultdict[str, list[str]] = defaultdict(list)
    for importer, imported in imports(files).items():
        for module in imported:
            importers[module].append(importer)
    small = {file.module for file in files if file.lines < SMALL_FILE}
    return {
        module: found[0] for module, found in sorted(importers.items()) if module in small and len(found) == 1
    }


def definitions(files: list[SourceFile]) -> Iterator[tuple[str, Definition]]:
    """Yield each function, class and module with a name for messages."""
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Module):
                yield file.module, node
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"{file.module}.{node.name}", node


def docstring_lines(node: Definition) -> int:
    """Return the number of lines of the docstring."""
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return _length(first)
    return 0


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


class Constructors:
    """The number of arguments of each constructor.

    An argument counts as the number of its fields if its type is a bag: a dataclass of the library that holds
    several objects with behavior, which the constructor would otherwise take one by one.
    """

    def __init__(self, files: list[SourceFile]) -> None:
        classes = [node for _, node in definitions(files) if isinstance(node, ast.ClassDef)]
        self._fields = {node.name: _fields(node) for node in classes if _is_dataclass(node)}
        self._services = {node.name for node in classes if _arguments(node) or "Protocol" in _bases(node)}
        self._files = files

    def sizes(self) -> dict[str, int]:
        """Return the number of arguments by class."""
        return {
            name: sum(self._size(annotation) for annotation in arguments)
            for name, node in definitions(self._files)
            if isinstance(node, ast.ClassDef) and (arguments := _arguments(node))
        }

    def _size(self, annotation: str) -> int:
        fields = self._fields.get(annotation, [])
        return len(fields) if sum(map(self._is_service, fields)) > 1 else 1

    def _is_service(self, annotation: str) -> bool:
        return bool(self._services & set(re.findall(r"\w+", annotation)))


def _bases(node: ast.ClassDef) -> str:
    return " ".join(ast.unparse(base) for base in node.bases)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)]


def _arguments(node: ast.ClassDef) -> list[str]:
    if "Exception" in _bases(node) or "Error" in _bases(node):
        return []
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs][1:]
            return [ast.unparse(each.annotation) if each.annotation else "" for each in arguments]
    return []


def percentile(values: list[int], share: float) -> int:
    """Return the smallest value that the share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def rows(files: list[SourceFile]) -> Iterator[tuple[str, str]]:
    """Yield each measure and its value."""
    lines = {file.module: file.lines for file in files}
    functions = {
        name: _length(node)
        for name, node in definitions(files)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    rooms = Counter(file.path.parent for file in files)
    room, size = rooms.most_common(1)[0]
    constructors = Constructors(files).sizes()
    words = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["headstart"]["wording"]["words"]
    documented = sum(docstring_lines(node) for _, node in definitions(files))
    yield "library lines without generated code", f"{sum(lines.values()):,}"
    yield "files", f"{len(files)}"
    yield f"files with one importer and under {SMALL_FILE} lines", f"{len(single_importers(files))}"
    yield "largest room in files (without sub-rooms)", f"{size} ({room.relative_to(ROOT)})"
    yield "file lines, p90 / max", _spread(lines)
    yield "function lines, p90 / max", _spread(functions)
    yield "most constructor arguments", _most(constructors)
    yield "docstrings, share of lines", f"{documented / sum(lines.values()):.1%}"
    yield "avoided words", f"{len(all_findings(pattern_of(words))):,}"
    yield "import cycles, including TYPE_CHECKING", f"{len(cycles(imports(files)))}"


def _spread(sizes: dict[str, int]) -> str:
    return f"{percentile(list(sizes.values()), 0.9)} / {_most(sizes)}"


def _most(sizes: dict[str, int]) -> str:
    name = max(sizes, key=lambda each: sizes[each])
    return f"{sizes[name]} ({name})"


def main() -> int:
    """Print the table; with `--list`, also each file that belongs to its neighbor and each import cycle."""
    files = library()
    for measure, value in rows(files):
        print(f"{measure:<46} {value}")
    if "--list" in sys.argv[1:]:
        for module, importer in single_importers(files).items():
            print(f"{module} is imported by {importer} only")
        for group in cycles(imports(files)):
            print("import cycle:", ", ".join(sorted(group)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
