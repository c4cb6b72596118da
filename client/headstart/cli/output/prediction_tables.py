"""Display of predictions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from headstart.cli.output.layout import add_row, new_table, percent, shortened
from headstart.inputs.task import Task
from headstart.label_values import label_text
from headstart.results import AbstentionReason, ClassProbability, Influence, Neighbor, Prediction

_NAME_SHARE = 0.4  # of the width
_MAX_NAME = 40
_WHY = {
    AbstentionReason.UNLIKE_TRAINING: "unlike any example",
    AbstentionReason.LOW_PROBABILITY: "not sure enough",
}


def prediction_view(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    """Return a row for each input with its most probable classes, then the evidence."""
    first = predictions[0]
    answers = Text(f"{first.model}, version {first.version}")
    table = _Table(names=names, predictions=predictions)
    return Group(
        table,
        answers,
        *_truncation(names, predictions),
        *_neighbors(names, predictions),
        *_influences(names, predictions),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A table whose names are shortened to the width of the terminal, which is known at rendering."""

    names: Sequence[str]
    predictions: Sequence[Prediction]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        most = int(_NAME_SHARE * options.max_width)
        yield _table([shortened(name, most) for name in self.names], self.predictions)


def _table(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    columns = _COLUMNS.get(predictions[0].task, _COLUMNS[Task.SINGLE_LABEL])
    typical = ["typicality"] if any(each.typicality is not None for each in predictions) else []
    table = new_table("input", *columns, *typical, whole=("input",), numbers=("probability", "typicality"))
    for name, prediction in zip(names, predictions, strict=True):
        typicality = [percent(prediction.typicality)] if typical else []
        add_row(table, name, *_cells(prediction), *typicality)
    return table


def _cells(prediction: Prediction) -> Iterable[str]:
    match prediction.task:
        case Task.REGRESSION:
            return [_unless_unknown(prediction, f"{prediction.value:.4g}"), _interval(prediction)]
        case Task.MULTI_LABEL:
            chosen = [each for each in prediction.classes if each.selected]
            others = [each for each in prediction.classes if not each.selected]
            return [_unless_unknown(prediction, _listed(chosen) or "none"), _listed(others)]
    likeliest, *less_likely = prediction.classes
    if prediction.abstained:
        return [_unless_unknown(prediction, ""), "", _listed(prediction.classes)]
    return [likeliest.name, percent(likeliest.probability), _listed(less_likely)]


def _unless_unknown(prediction: Prediction, text: str) -> str:
    if not prediction.abstained:
        return text
    why = _WHY.get(prediction.abstention_reason, "")
    return f"unknown: {why}" if why else "unknown"


def _interval(prediction: Prediction) -> str:
    if prediction.interval_low is None or prediction.interval_high is None:
        return ""
    return f"{prediction.interval_low:.4g} to {prediction.interval_high:.4g}"


def _listed(classes: Iterable[ClassProbability]) -> str:
    """Return classes with their probabilities, without those that round to 0.0%."""
    return ", ".join(f"{each.name} {each.probability:.1%}" for each in classes if each.probability >= 0.0005)


def _truncation(names: Sequence[str], predictions: Sequence[Prediction]) -> Iterable[Text]:
    for name, prediction in zip(names, predictions, strict=True):
        if (cut := prediction.truncation) is not None:
            yield Text(
                f"Of {shortened(name, _MAX_NAME)} the first {cut.kept_characters:,} of "
                f"{cut.characters:,} characters were read."
            )


def _neighbors(names: Sequence[str], predictions: Sequence[Prediction]) -> Iterable[Text]:
    for name, prediction in zip(names, predictions, strict=True):
        if prediction.neighbors:
            yield Text(f"Nearest to {name}:")
            yield from (Text(f"  {each.distance:.3f}  {_example(each)}") for each in prediction.neighbors)


def _influences(names: Sequence[str], predictions: Sequence[Prediction]) -> Iterable[Text]:
    for name, prediction in zip(names, predictions, strict=True):
        if prediction.influences:
            yield Text(f"Change for {name} without an example:")
            yield from (Text(f"  {_change(each)}  {_example(each)}") for each in prediction.influences)


def _change(influence: Influence) -> str:
    if influence.probability_change is None:
        return f"{influence.score_change:+.4g}"
    return f"{influence.probability_change:+.2%}"


def _example(evidence: Neighbor | Influence) -> str:
    return f"{label_text(evidence.example.label)} ({evidence.example.name})"


_COLUMNS = {
    Task.SINGLE_LABEL: ("class", "probability", "others"),
    Task.MULTI_LABEL: ("classes", "others"),
    Task.REGRESSION: ("value", "90% interval"),
}
