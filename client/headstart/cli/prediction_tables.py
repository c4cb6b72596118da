"""How predictions look to people."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.layout import add_row, new_table, percent
from headstart.results import AbstentionReason, ClassProbability, Neighbor, Prediction
from headstart.task import Task

__all__ = ["prediction_view"]

_WHY = {
    AbstentionReason.UNLIKE_TRAINING: "unlike the training examples",
    AbstentionReason.LOW_PROBABILITY: "no class is probable enough",
}


def prediction_view(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    """A row for each input: what it is, how likely that is, and the others; then what the answers rest on."""
    first = predictions[0]
    answers = Text(f"{first.model}, version {first.version}")
    return Group(_table(names, predictions), answers, *_neighbors(names, predictions))


def _table(names: Sequence[str], predictions: Sequence[Prediction]) -> RenderableType:
    told = _COLUMNS.get(predictions[0].task, _COLUMNS[Task.SINGLE_LABEL])
    typical = ["typicality"] if any(each.typicality is not None for each in predictions) else []
    table = new_table("input", *told, *typical, numbers=("probability", "value", "typicality"))
    for name, prediction in zip(names, predictions, strict=True):
        typicality = [percent(prediction.typicality)] if typical else []
        add_row(table, name, *_cells(prediction), *typicality)
    return table


def _cells(prediction: Prediction) -> Iterable[str]:
    match prediction.task:
        case Task.REGRESSION:
            return [_unless_unknown(prediction, f"{prediction.value:.6g}"), _interval(prediction)]
        case Task.MULTI_LABEL:
            chosen = [each for each in prediction.classes if each.selected]
            others = [each for each in prediction.classes if not each.selected]
            return [_unless_unknown(prediction, _listed(chosen) or "none"), _listed(others)]
    likeliest, *rest = prediction.classes
    if prediction.abstained:
        return [_unless_unknown(prediction, ""), "", _listed(prediction.classes)]
    return [likeliest.name, percent(likeliest.probability), _listed(rest)]


def _unless_unknown(prediction: Prediction, told: str) -> str:
    if not prediction.abstained:
        return told
    why = _WHY.get(prediction.abstention_reason, "")
    return f"unknown: {why}" if why else "unknown"


def _interval(prediction: Prediction) -> str:
    if prediction.value_low is None or prediction.value_high is None:
        return ""
    return f"{prediction.value_low:.6g} to {prediction.value_high:.6g}"


def _listed(classes: Iterable[ClassProbability]) -> str:
    return ", ".join(f"{each.name} {each.probability:.1%}" for each in classes)


def _neighbors(names: Sequence[str], predictions: Sequence[Prediction]) -> Iterable[Text]:
    for name, prediction in zip(names, predictions, strict=True):
        if prediction.neighbors:
            yield Text(f"Nearest to {name}:")
            yield from (Text(f"  {each.distance:.3f}  {_neighbor(each)}") for each in prediction.neighbors)


def _neighbor(neighbor: Neighbor) -> str:
    told = ", ".join(neighbor.labels) if neighbor.value is None else f"{neighbor.value:.6g}"
    return f"{told or 'no class'} ({neighbor.id or f'example {neighbor.index}'})"


_COLUMNS = {
    Task.SINGLE_LABEL: ("class", "probability", "others"),
    Task.MULTI_LABEL: ("classes", "others"),
    Task.REGRESSION: ("value", "90% interval"),
}
