"""Confirmation of deletions, with the names of the deleted resources."""

import sys

import typer

from headstart.cli.output.layout import plural
from headstart.control_characters import without_controls
from headstart.results import Model, Version

_MAX_NAMES = 10


def confirm(action: str, *, skip: bool) -> None:
    """Ask for confirmation of a deletion, such as ``delete model pets``; `skip` asks nothing."""
    if skip:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"Cannot ask whether to {action}: stdin is not a terminal. Confirm it with --yes.")
    question = without_controls(f"{action[0].upper()}{action[1:]}?")
    typer.confirm(question, abort=True, err=True)


def deleted_model(model: Model) -> str:
    """Return a summary of what deleting a model deletes."""
    examples = sum(each.lineage.example_count for each in model.versions if each.has_examples)
    parts = [
        _named(len(model.versions), "version", [str(each.version) for each in reversed(model.versions)]),
        _named(len(model.aliases), "alias", [f"{each.alias} → {each.version}" for each in model.aliases]),
        f"up to {plural(examples, 'stored example')}" if examples else "",
    ]
    return f"model {model.model} with {_joined(parts) or 'no version'}"


def deleted_version(version: Version) -> str:
    """Return a summary of what deleting a version deletes."""
    examples = version.lineage.example_count if version.has_examples else 0
    parts = [
        _named(len(version.aliases), "alias", list(version.aliases)),
        f"up to {plural(examples, 'stored example')}" if examples else "",
    ]
    contents = _joined(parts)
    return f"version {version.version} of model {version.model}{f' with {contents}' if contents else ''}"


def _named(count: int, noun: str, names: list[str]) -> str:
    if not count:
        return ""
    more = ", …" if count > _MAX_NAMES else ""
    counted = f"1 {noun}" if count == 1 else f"{count} {'aliases' if noun == 'alias' else f'{noun}s'}"
    return f"{counted} ({', '.join(names[:_MAX_NAMES])}{more})"


def _joined(parts: list[str]) -> str:
    *first, last = [each for each in parts if each] or [""]
    return f"{', '.join(first)} and {last}" if first else last
