"""Arguments of the methods that take examples, split into the request's spec and its examples."""

from typing import Any, cast

from headstart.inputs.examples import Examples, ExampleSettings, ExampleSource, open_examples
from headstart.spec import FineTuneSpec, SpecSettings, check_names, make_spec

__all__ = ["FineTuneSettings", "open_fine_tune"]


class FineTuneSettings(SpecSettings, ExampleSettings, total=False):
    """Settings of a fine-tune, except its model: `SpecSettings` and `ExampleSettings`."""


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
    is_empty = examples is None and y is None and not of_examples and spec.parent is not None
    source = open_examples(
        () if is_empty else examples, y, task=spec.task, settings=cast(ExampleSettings, of_examples)
    )
    return spec, source
