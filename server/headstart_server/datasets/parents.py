"""Parents: versions whose examples a fine-tune extends."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from headstart_server.datasets.edited_examples import EditedExamples, edited
from headstart_server.errors import ExamplesNotKept
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parent:
    """A version whose examples a fine-tune extends."""

    number: int
    backbone: str
    task: Task
    edited: EditedExamples  # its examples after the edits of the fine-tune

    @property
    def examples(self) -> Sequence[StoredExample]:
        """The parent's examples that the fine-tune also trains on."""
        return self.edited.examples

    @property
    def left_out(self) -> Sequence[StoredExample]:
        """The examples that were removed or erased."""
        return self.edited.left_out


def find_parent(
    registry: Registry,
    spec: FineTuneSpec,
    erased: Callable[[Collection[str]], Collection[tuple[str, int]]] = lambda _: (),
) -> Parent:
    """Return the parent that a spec names by number or alias, without erased archive members."""
    selector = Selector(model=spec.model, number=spec.parent_version, alias=spec.parent_alias)
    version = registry.selected(selector)
    kept = retained_examples(registry, version, "Send all examples again without a parent.")
    task = version.manifest.task
    return Parent(
        number=version.number,
        backbone=version.manifest.backbone,
        task=task,
        edited=edited(kept.examples, spec.edits, set(erased(kept.archives)), task),
    )


def retained_examples(registry: Registry, version: Version, instead: str) -> ExampleList:
    """Return the list of a version's examples; raise ExamplesNotKept if their contents are not stored."""
    kept = registry.files.examples(version) if version.has_examples else None
    if kept is None:
        raise ExamplesNotKept(
            f"The examples of version {version.number} of model '{version.model}' were not kept. {instead}",
            metadata={"model": version.model, "version": str(version.number)},
        )
    return kept
