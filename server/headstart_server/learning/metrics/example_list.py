"""The list of the examples of a dataset in a compact form: JSON by columns, repeated names written once.

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
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.outcomes import PredictionOutcome

#: Version of the format, so that later releases can distinguish it.
_FORMAT = 1
#: Level of compression: digests compress badly, so higher levels take twice as long for 1 % less.
_LEVEL = 6


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
        archives, kinds = _Names(), _Names()
        columns: dict[str, Any] = {
            "archive": [archives.place(example.archive) for example in self.examples],
            "member": [example.member for example in self.examples],
            "digest": [example.digest for example in self.examples],
            "kind": [kinds.place(example.kind) for example in self.examples],
            "id": [example.id for example in self.examples],
            "target": _targets_json(self.examples),
            "held_out": _places(example.held_out for example in self.examples),
        }
        if any(example.media_type for example in self.examples):
            types = _Names()
            columns["media_type"] = [types.place(example.media_type) for example in self.examples]
            columns["media_types"] = types.names
            columns["size"] = [example.nbytes for example in self.examples]
        if feedback := _places(example.feedback for example in self.examples):
            columns["feedback"] = feedback
        if any(example.weight != 1 for example in self.examples):
            columns["weight"] = [example.weight for example in self.examples]
        fields: dict[str, Any] = {"format": _FORMAT, "count": len(self.examples), **columns}
        fields |= {"archives": archives.names, "kinds": kinds.names, "left_out": list(self.left_out)}
        if self.outcomes:
            fields["outcomes"] = _outcomes_json(self.outcomes)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], *, with_outcomes: bool = True) -> "ExampleList":
        """Return the list of `to_json`; KeyError, IndexError, TypeError or ValueError if it is invalid."""
        if fields["format"] != _FORMAT:
            raise ValueError(
                f"Expected a list of examples of format {_FORMAT}. Received: {fields['format']}."
            )
        held_out, feedback = set(fields["held_out"]), set(fields.get("feedback", ()))
        types = fields.get("media_types", [""])
        media_types: Iterable[int] = fields.get("media_type") or repeat(0, fields["count"])
        sizes: Iterable[int] = fields.get("size") or repeat(0, fields["count"])
        columns = (fields[name] for name in ("archive", "member", "digest", "kind", "id", "target"))
        weights: Iterable[float] = fields.get("weight") or repeat(1.0, fields["count"])
        names = {name for name in fields["target"] if isinstance(name, str)}
        labels = {name: Target.of_label(name) for name in names}
        examples = [
            StoredExample(
                target=labels[target] if isinstance(target, str) else Target.from_json(target),
                id=name,
                held_out=place in held_out,
                digest=digest,
                kind=fields["kinds"][kind],
                weight=weight,
                archive=fields["archives"][archive],
                member=member,
                media_type=types[media_type],
                nbytes=nbytes,
                feedback=place in feedback,
            )
            for place, (weight, media_type, nbytes, archive, member, digest, kind, name, target) in enumerate(
                zip(weights, media_types, sizes, *columns, strict=True)
            )
        ]
        outcomes = _outcomes_of(fields["outcomes"]) if with_outcomes and "outcomes" in fields else ()
        return cls(examples=examples, outcomes=outcomes, left_out=fields["left_out"])

    def to_bytes(self) -> bytes:
        """Return the content of a file, about 60 bytes for each example. Equal lists give equal bytes."""
        return compress(dump_columns(self.to_json()).encode(), _LEVEL, mtime=0)

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
    return ExampleList.from_json(load_columns(text), with_outcomes=False)


def read_outcomes(content: bytes) -> Sequence[PredictionOutcome | None]:
    """Return only the outcomes of the list that `to_bytes` wrote; raise as `ExampleList.from_bytes`."""
    fields = load_columns(decompress(content))
    return _outcomes_of(fields["outcomes"]) if "outcomes" in fields else ()


class _Names:
    """Repeated names, each written once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def place(self, name: str) -> int:
        return self._places.setdefault(name, len(self._places))


def _targets_json(examples: Sequence[StoredExample]) -> list[Any]:
    # A list that was read has one target for all examples of a class.
    values = {
        id(target): target.to_json() for target in {id(one.target): one.target for one in examples}.values()
    }
    return [values[id(example.target)] for example in examples]


def _places(flags: Iterable[bool]) -> list[int]:
    return [place for place, flag in enumerate(flags) if flag]


def _outcomes_json(outcomes: Sequence[PredictionOutcome | None]) -> dict[str, Any]:
    classes = _Names()
    known = [outcome for outcome in outcomes if outcome is not None]
    return {
        "missing": _places(outcome is None for outcome in outcomes),
        "labels": [[classes.place(label) for label in outcome.labels] for outcome in known],
        "value": [outcome.value for outcome in known]
        if any(one.value is not None for one in known)
        else None,
        "probability": [_short(outcome.probability) for outcome in known],
        "confidence": [_short(outcome.confidence) for outcome in known],
        "loss": [_short(outcome.loss) for outcome in known],
        "held_out": _places(outcome.held_out for outcome in known),
        "uncounted": _places(not outcome.counted for outcome in known),
        "classes": classes.names,
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
        raise ValueError("Expected places in the list as missing outcomes. Received other values.")
    coming = iter(known)
    return [None if place in missing else next(coming) for place in places]


def _short(number: float | None) -> float | None:
    """Round a number to the seven digits of single precision."""
    return None if number is None else float(f"{number:.7g}")
