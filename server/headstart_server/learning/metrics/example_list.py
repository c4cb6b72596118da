"""The list of a dataset's examples in a compact form: JSON by columns, with each repeated name once.

A version stores it with out-of-fold predictions; an archive of examples stores it for its job.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from gzip import compress, decompress
from itertools import repeat
from typing import Any

from headstart_server.column_json import dump_columns, load_columns
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target, targets_json
from headstart_server.learning.metrics.outcomes import PredictionOutcome

#: Version of the format, so that later releases can distinguish it.
_FORMAT = 1
#: Level of compression: digests compress badly, so level 6 takes three times as long for 5 % less.
LEVEL = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleList:
    """Examples and their out-of-fold predictions."""

    # by index: the examples of the fine-tune first, then those of the parent
    examples: Sequence[StoredExample]
    # the prediction of each example; None if it is missing. Empty before there is a version
    outcomes: Sequence[PredictionOutcome | None] = ()
    # marks of the parent's examples that were excluded or replaced; see `exclusion_mark`
    left_out: Sequence[str] = ()

    @property
    def archives(self) -> set[str]:
        """The jobs whose archives hold the contents."""
        return {example.archive for example in self.examples}

    def to_json(self) -> dict[str, Any]:
        """Return the list as JSON values."""
        archives, archive_places = _coded([example.archive for example in self.examples])
        kinds, kind_places = _coded([example.kind for example in self.examples])
        columns: dict[str, Any] = {
            "archive": archive_places,
            "member": [example.member for example in self.examples],
            "digest": [example.digest for example in self.examples],
            "kind": kind_places,
            "id": [example.id for example in self.examples],
            "target": targets_json([example.target for example in self.examples]),
            "held_out": _places(example.held_out for example in self.examples),
        }
        types, type_places = _coded([example.media_type for example in self.examples])
        if any(types):
            columns["media_type"] = type_places
            columns["media_types"] = types
            columns["size"] = [example.nbytes for example in self.examples]
        if feedback := _places(example.feedback for example in self.examples):
            columns["feedback"] = feedback
        if any(example.weight != 1 for example in self.examples):
            columns["weight"] = [example.weight for example in self.examples]
        fields: dict[str, Any] = {"format": _FORMAT, "count": len(self.examples), **columns}
        fields |= {"archives": archives, "kinds": kinds, "left_out": list(self.left_out)}
        if self.outcomes:
            fields["outcomes"] = _outcomes_json(self.outcomes)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ExampleList":
        """Return the list of `to_json`; KeyError, IndexError, TypeError or ValueError if it is invalid."""
        if fields["format"] != _FORMAT:
            raise ValueError(
                f"Expected a list of examples of format {_FORMAT}. Received: {fields['format']}."
            )
        count, kinds, archives = fields["count"], fields["kinds"], fields["archives"]
        types = fields.get("media_types", [""])
        names = {name for name in fields["target"] if isinstance(name, str)}
        labels = {name: Target.of_label(name) for name in names}
        shared = dict[str, str]()
        columns: Mapping[str, Iterable[Any]] = {
            "target": [
                labels[target] if isinstance(target, str) else Target.from_json(target, shared)
                for target in fields["target"]
            ],
            "id": fields["id"],
            "held_out": _flags(fields["held_out"], len(fields["id"])),
            "digest": fields["digest"],
            "kind": [kinds[kind] for kind in fields["kind"]],
            "weight": fields.get("weight") or repeat(1.0, count),
            "archive": [archives[archive] for archive in fields["archive"]],
            "member": fields["member"],
            "media_type": (types[kind] for kind in fields.get("media_type") or repeat(0, count)),
            "nbytes": fields.get("size") or repeat(0, count),
            "feedback": _flags(fields.get("feedback", ()), len(fields["id"])),
        }
        rows = zip(*(columns[name] for name in StoredExample._fields), strict=True)
        examples = list(map(StoredExample._make, rows))
        outcomes = _outcomes_of(fields["outcomes"]) if "outcomes" in fields else ()
        return cls(examples=examples, outcomes=outcomes, left_out=fields["left_out"])

    def to_bytes(self) -> bytes:
        """Return the content of a file, about 60 bytes for each example. Equal lists give equal bytes."""
        return compress(dump_columns(self.to_json()).encode(), LEVEL, mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> "ExampleList":
        """Return the list that `to_bytes` wrote; raise as `from_json`, or OSError or EOFError."""
        return cls.from_json(load_columns(decompress(content)))


def read_examples(content: bytes, having: str = "") -> ExampleList:
    """Return the list that `to_bytes` wrote, without its predictions; raise as `ExampleList.from_bytes`.

    With an example ID, a list that does not have the ID is returned empty, which is fast.
    """
    text = decompress(content)
    if having and json.dumps(having, ensure_ascii=False).encode() not in text:
        return ExampleList(examples=[])
    # The outcomes are the last entry and most of the list; a quotation mark in a name is escaped.
    alone, found, _ = text.partition(b', "outcomes": {')
    return ExampleList.from_json(load_columns(alone + b"}" if found else text))


def read_outcomes(content: bytes) -> Sequence[PredictionOutcome | None]:
    """Return only the outcomes of the list that `to_bytes` wrote; raise as `ExampleList.from_bytes`."""
    fields = load_columns(decompress(content))
    return _outcomes_of(fields["outcomes"]) if "outcomes" in fields else ()


def _coded(names: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return the distinct names by first occurrence, and the index of each name among them."""
    names = list(names)
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return list(places), [places[name] for name in names]


def _places(flags: Iterable[bool]) -> list[int]:
    return [place for place, flag in enumerate(flags) if flag]


def _flags(places: Iterable[int], count: int) -> list[bool]:
    flags = [False] * count
    for place in places:
        flags[place] = True
    return flags


def _outcomes_json(outcomes: Sequence[PredictionOutcome | None]) -> dict[str, Any]:
    known = [outcome for outcome in outcomes if outcome is not None]
    # Few sets of labels occur.
    sets = dict.fromkeys(outcome.labels for outcome in known)
    classes, _ = _coded(label for labels in sets for label in labels)
    numbers = {label: number for number, label in enumerate(classes)}
    coded = {labels: [numbers[label] for label in labels] for labels in sets}
    return {
        "missing": _places(outcome is None for outcome in outcomes),
        "labels": [coded[outcome.labels] for outcome in known],
        "value": [outcome.value for outcome in known]
        if any(one.value is not None for one in known)
        else None,
        "probability": [_short(outcome.probability) for outcome in known],
        "confidence": [_short(outcome.confidence) for outcome in known],
        "loss": [_short(outcome.loss) for outcome in known],
        "held_out": _places(outcome.held_out for outcome in known),
        "uncounted": _places(not outcome.counted for outcome in known),
        "classes": classes,
    }


def _outcomes_of(fields: Mapping[str, Any]) -> list[PredictionOutcome | None]:
    classes = fields["classes"]
    held_out, uncounted, missing = (set(fields[name]) for name in ("held_out", "uncounted", "missing"))
    values: Iterable[float | None] = fields["value"] or repeat(None, len(fields["loss"]))
    confidences: Iterable[float | None] = fields.get("confidence") or repeat(None, len(fields["loss"]))
    columns = zip(fields["labels"], values, fields["probability"], confidences, fields["loss"], strict=True)
    known = [
        PredictionOutcome(
            labels=tuple(classes[place] for place in labels),
            value=value,
            probability=probability,
            loss=loss,
            held_out=place in held_out,
            counted=place not in uncounted,
            confidence=confidence,
        )
        for place, (labels, value, probability, confidence, loss) in enumerate(columns)
    ]
    places = range(len(known) + len(missing))
    if not missing.issubset(places):
        raise ValueError("The list has missing outcomes at invalid positions.")
    coming = iter(known)
    return [None if place in missing else next(coming) for place in places]


def _short(number: float | None) -> float | None:
    """Round a number to the seven digits of single precision."""
    return None if number is None else float(f"{number:.7g}")
