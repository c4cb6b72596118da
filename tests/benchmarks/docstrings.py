"""Texts that installed packages ship: first paragraphs of docstrings, by package."""

import ast
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

#: The packages, which are the classes, and the sentences of each.
PACKAGES = ("numpy", "sklearn", "sqlalchemy", "keras", "PIL", "grpc")
COUNT = 350
#: Characters of a sentence.
_SHORTEST, _LONGEST = 25, 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One labeled text: a sentence, and the package that it documents."""

    text: str
    label: str


def sentences() -> list[Sentence]:
    """Return sentences of each package, sampled with a fixed seed. The packages are read, not imported."""
    found = {package: _of_package(package) for package in PACKAGES}
    counts = Counter(text for texts in found.values() for text in texts)
    rng = np.random.default_rng(0)
    chosen = []
    for package in PACKAGES:
        texts = [text for text in found[package] if counts[text] == 1]
        places = rng.permutation(len(texts))[:COUNT]
        chosen += [Sentence(text=texts[place], label=package) for place in places]
    return chosen


def _of_package(name: str) -> list[str]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"Install the package {name}, whose docstrings are read.")
    root = Path(spec.origin).parent
    paths = [path for path in sorted(root.rglob("*.py")) if "test" not in str(path.relative_to(root))]
    return list(dict.fromkeys(text for path in paths for text in _of_file(path)))


def _of_file(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except SyntaxError:
        return []
    nodes = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.ClassDef)]
    documented = [ast.get_docstring(each) or "" for each in nodes if not each.name.startswith("_")]
    texts = [" ".join(text.strip().split("\n\n")[0].split()) for text in documented]
    return [text for text in texts if _SHORTEST <= len(text) <= _LONGEST]
