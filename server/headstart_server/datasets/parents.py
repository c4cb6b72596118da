"""The versions that fine-tunes go on from, and what they hand down."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from headstart_server.errors import ExampleNotFound, ExamplesNotKept
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parent:
    """A version that a fine-tune goes on from.

    Attributes:
        number: the version's number.
        backbone: name of the backbone it was fitted on.
        task: the kind of task.
        examples: its examples but those left out.
        left_out: its examples that are left out.
    """

    number: int
    backbone: str
    task: Task
    examples: Sequence[StoredExample]
    left_out: Sequence[StoredExample]


def find_parent(
    registry: Registry,
    spec: FineTuneSpec,
    erased: Callable[[Collection[str]], Collection[tuple[str, int]]] = lambda _: (),
) -> Parent:
    """The parent that a spec names, at this moment where it names an alias.

    Args:
        registry: has the versions.
        spec: names the parent, and what is left out of its examples.
        erased: returns the members of some archives whose examples were erased; they are not inherited.

    Raises:
        ModelNotFound, VersionNotFound or AliasNotFound: there is no such version.
        ExamplesNotKept: its examples are not there any more.
        ExampleNotFound: it was not trained on an example that shall be left out.
    """
    selector = Selector(model=spec.model, number=spec.parent_version, alias=spec.parent_alias)
    version = registry.version(spec.model, registry.index.find(selector))
    kept = retained_examples(registry, version, "Send all examples again without a parent.")
    removed = set(spec.removed_example_ids)
    _check_known(removed, kept.examples, version.number)
    gone = set(erased(kept.archives))

    def stays(example: StoredExample) -> bool:
        return example.id not in removed and (example.archive, example.member) not in gone

    return Parent(
        number=version.number,
        backbone=version.manifest.backbone,
        task=version.manifest.task,
        examples=[example for example in kept.examples if stays(example)],
        left_out=[example for example in kept.examples if not stays(example)],
    )


def retained_examples(registry: Registry, version: Version, instead: str) -> ExampleList:
    """The list of a version's examples, whose contents are kept.

    Args:
        registry: has the versions.
        version: the version.
        instead: what to do if they are not.

    Raises:
        ExamplesNotKept: they are not.
    """
    kept = registry.files.examples(version) if version.has_examples else None
    if kept is None:
        raise ExamplesNotKept(
            f"The examples of version {version.number} of model '{version.model}' were not kept. {instead}",
            metadata={"model": version.model, "version": str(version.number)},
        )
    return kept


def _check_known(removed: Collection[str], examples: Sequence[StoredExample], number: int) -> None:
    unknown = sorted(set(removed) - {example.id for example in examples})
    if unknown:
        more = f" ({len(unknown)} of {len(removed)} ids are unknown.)" if len(unknown) > 1 else ""
        raise ExampleNotFound(
            f"Version {number} was not trained on an example with the ID {unknown[0][:80]!r}. Remove it from "
            f"removed_example_ids.{more}",
            field="spec.removed_example_ids",
            metadata={"id": unknown[0], "version": str(number)},
        )
