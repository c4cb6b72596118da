"""Arguments of the methods that take examples, split into the request's spec and its examples."""

from typing import Any, cast

from headstart.inputs.examples import Examples, ExampleSettings, ExampleSource, open_examples
from headstart.inputs.task import Task, TaskName
from headstart.spec import FineTuneSpec, SpecSettings, check_names, make_spec

__all__ = ["FineTuneSettings", "MeasureSettings", "open_fine_tune", "open_measured"]


class FineTuneSettings(SpecSettings, ExampleSettings, total=False):
    """Settings of a fine-tune, except its model: `SpecSettings` and `ExampleSettings`."""


class MeasureSettings(ExampleSettings, total=False):
    """Settings of an evaluation or a comparison: `ExampleSettings`, and a dataset instead of examples.

    Attributes:
        dataset: name of a dataset of the server whose examples are measured on. See `Client.dataset`.
    """

    dataset: str | None


def open_fine_tune(
    model: str,
    examples: Examples | None,
    y: Any,
    settings: FineTuneSettings,
    request_id: str = "",
) -> tuple[FineTuneSpec, ExampleSource]:
    """Return the spec of a fine-tune and its examples."""
    check_names("fine_tune", settings, FineTuneSettings)
    about_examples = ExampleSettings.__annotations__
    of_spec = {name: value for name, value in settings.items() if name not in about_examples}
    of_examples = {name: value for name, value in settings.items() if name in about_examples}
    spec = make_spec(model, cast(SpecSettings, of_spec), request_id=request_id)
    is_empty = examples is None and y is None and not of_examples
    _check_one_source(spec.dataset, is_empty=is_empty)
    is_empty = is_empty and bool(spec.parent is not None or spec.dataset)
    source = open_examples(
        () if is_empty else examples, y, task=spec.task, settings=cast(ExampleSettings, of_examples)
    )
    return spec, source


def open_measured(
    examples: Examples | None, y: Any, *, task: Task | TaskName | None, settings: MeasureSettings
) -> tuple[ExampleSource, str]:
    """Return the examples of an evaluation or a comparison, and the dataset of the server instead of them."""
    dataset = settings.get("dataset") or ""
    of_examples = cast(
        ExampleSettings, {name: value for name, value in settings.items() if name != "dataset"}
    )
    _check_one_source(dataset, is_empty=examples is None and y is None and not of_examples)
    return open_examples(() if dataset else examples, y, task=task, settings=of_examples), dataset


def _check_one_source(dataset: str | None, *, is_empty: bool) -> None:
    if dataset and not is_empty:
        raise ValueError(f"Give examples or a dataset of the server, not both. Received: {dataset!r}")
