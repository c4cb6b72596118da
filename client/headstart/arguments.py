"""Arguments of the client's methods, split into the settings of the request and its inputs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypedDict, cast

from headstart.evidence import Abstention, make_evidence
from headstart.inputs.examples import Examples, ExampleSettings, ExampleSource, open_examples
from headstart.inputs.prediction_inputs import InputSettings
from headstart.inputs.task import Task, TaskName
from headstart.spec import FineTuneSpec, SpecSettings, check_names, make_spec
from headstart.transport.chunked_calls import PredictionRun
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef


class PredictSettings(TypedDict, total=False):
    """Settings of a prediction; all are optional.

    Attributes:
        version: the number of the version. None: by the alias, or the newest not rejected by a gate.
        alias: an alias of the version, such as ``stable``.
        top_k: maximum number of classes of each prediction, most probable first. None: all. Default: 5.
        abstain: reports inputs unlike the training examples as unknown: True, the false alarm rate, 0 to 0.5
            (True: 0.05), or an `Abstention`. None: every input is predicted.
        neighbors: maximum number of training examples returned for each input, nearest first, 0 to 100.
        influence: maximum number of training examples returned for each input with the exact change of its
            prediction if the example is left out, largest first, 0 to 100; for versions with the recipe
            ridge, which ``auto`` selects, and at most 64 inputs.
        saliency: returns the parts of each image that support the prediction: True for the most probable
            class, or a class. Takes about 50 passes of the backbone for each input.
        routing_key: if the alias splits traffic between versions, calls with the same key reach the same
            version; at most 256 characters. Empty: a random version.
        timeout: seconds for all inputs together. None: the client's timeout for each call.
    """

    version: int | None
    alias: str | None
    top_k: int | None
    abstain: bool | float | Abstention | None
    neighbors: int
    influence: int
    saliency: bool | str
    routing_key: str
    timeout: float | timedelta | None


class PredictArguments(PredictSettings, InputSettings, total=False):
    """All keyword arguments of `predict`, except the model."""


def split_settings(settings: PredictArguments) -> tuple[PredictSettings, InputSettings]:
    """Return the settings of the prediction and those of the inputs."""
    check_names("predict", settings, PredictArguments)
    about_inputs = InputSettings.__annotations__
    prediction: dict[str, Any] = {name: value for name, value in settings.items() if name not in about_inputs}
    inputs = {name: value for name, value in settings.items() if name in about_inputs}
    return cast(PredictSettings, prediction), cast(InputSettings, inputs)


def keeps_errors(errors: str) -> bool:
    """Return whether unusable inputs are kept as errors."""
    if errors not in ("raise", "return"):
        raise ValueError(f"errors must be 'raise' or 'return'. Received: {errors!r}")
    return errors == "return"


def prediction_run(
    targets: Sequence[VersionRef],
    settings: PredictSettings,
    *,
    keep_errors: bool = False,
    is_bulk: bool = False,
) -> tuple[PredictionRun, float | None]:
    """Return the calls of a prediction, and the seconds for all of them."""
    for name in ("top_k", "neighbors", "influence"):
        value = settings.get(name)
        if value is not None and not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer. Received: {value!r}")
    timeout = settings.get("timeout")
    run = PredictionRun(
        targets,
        top_k=settings.get("top_k", 5),
        evidence=make_evidence(
            settings.get("abstain"),
            settings.get("neighbors", 0),
            settings.get("saliency", False),
            settings.get("influence", 0),
        ),
        routing_key=settings.get("routing_key", ""),
        keep_errors=keep_errors,
        is_bulk=is_bulk,
    )
    return run, None if timeout is None else seconds(timeout)


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
