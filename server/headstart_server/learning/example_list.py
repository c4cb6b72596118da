"""The list of a dataset's examples in a compact form: JSON by columns, names that repeat written once.

A version keeps it with what was told about each example; an archive of examples keeps it for the job to come.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from gzip import compress, decompress
from itertools import repeat
from typing import Any

from headstart_server.learning.outcome import PredictionOutcome
from headstart_server.learning.stored_example import StoredExample
from headstart_server.learning.target import Target

#: Of the columns, so that later releases can tell them from their own.
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleList:
    """Examples, and what was told about each.

    Attributes:
        examples: in the order of their indexes: those that came with the fine-tune first, then the parent's.
        outcomes: what the version told about each; None where it was not asked. Empty before there is a
            version.
        left_out: content digests of the parent's examples that were left out or replaced.
    """

    examples: Sequence[StoredExample]
    outcomes: Sequence[PredictionOutcome | None] = ()
    left_out: Sequence[str] = ()

    @property
    def archives(self) -> set[str]:
        """The jobs in whose archives the contents lie."""
        return {example.archive for example in self.examples}

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        archives, kinds = _Names(), _Names()
        columns: dict[str, Any] = {
            "archive": [archives.place(example.archive) for example in self.examples],
            "member": [example.member for example in self.examples],
            "digest": [example.digest for example in self.examples],
            "kind": [kinds.place(example.kind) for example in self.examples],
            "id": [example.id for example in self.examples],
            "target": [example.target.to_json() for example in self.examples],
            "held_out": _places(example.held_out for example in self.examples),
        }
        if any(example.weight != 1 for example in self.examples):
            columns["weight"] = [example.weight for example in self.examples]
        fields: dict[str, Any] = {"format": _FORMAT, "count": len(self.examples), **columns}
        fields |= {"archives": archives.names, "kinds": kinds.names, "left_out": list(self.left_out)}
        if self.outcomes:
            fields["outcomes"] = _outcomes_json(self.outcomes)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ExampleList":
        """The list that `to_json` wrote.

        Raises:
            KeyError, IndexError, TypeError or ValueError: it is none, or one of a later release.
        """
        if fields["format"] != _FORMAT:
            raise ValueError(
                f"Expected a list of examples of format {_FORMAT}. Received: {fields['format']}."
            )
        held_out = set(fields["held_out"])
        columns = (fields[name] for name in ("archive", "member", "digest", "kind", "id", "target"))
        weights: Iterable[float] = fields.get("weight") or repeat(1.0, fields["count"])
        examples = [
            StoredExample(
                target=Target.from_json(target),
                id=name,
                held_out=place in held_out,
                digest=digest,
                kind=fields["kinds"][kind],
                weight=weight,
                archive=fields["archives"][archive],
                member=member,
            )
            for place, (weight, archive, member, digest, kind, name, target) in enumerate(
                zip(weights, *columns, strict=True)
            )
        ]
        outcomes = _outcomes_of(fields["outcomes"]) if "outcomes" in fields else ()
        return cls(examples=examples, outcomes=outcomes, left_out=fields["left_out"])

    def to_bytes(self) -> bytes:
        """As the content of a file: some 60 bytes for each example. Equal lists give equal bytes."""
        return compress(json.dumps(self.to_json(), ensure_ascii=False).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> "ExampleList":
        """The list that `to_bytes` wrote.

        Raises:
            OSError, EOFError, KeyError, IndexError, TypeError or ValueError: it is none.
        """
        return cls.from_json(json.loads(decompress(content)))


def read_outcomes(content: bytes) -> Sequence[PredictionOutcome | None]:
    """The outcomes alone of the list that `to_bytes` wrote.

    Raises:
        OSError, EOFError, KeyError, IndexError, TypeError or ValueError: it is none.
    """
    fields = json.loads(decompress(content))
    return _outcomes_of(fields["outcomes"]) if "outcomes" in fields else ()


class _Names:
    """Names that repeat, each written once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def place(self, name: str) -> int:
        return self._places.setdefault(name, len(self._places))


def _places(flags: Iterable[bool]) -> list[int]:
    return [place for place, flag in enumerate(flags) if flag]


def _outcomes_json(outcomes: Sequence[PredictionOutcome | None]) -> dict[str, Any]:
    classes = _Names()
    told = [outcome for outcome in outcomes if outcome is not None]
    return {
        "unasked": _places(outcome is None for outcome in outcomes),
        "labels": [[classes.place(label) for label in outcome.labels] for outcome in told],
        "value": [outcome.value for outcome in told] if any(one.value is not None for one in told) else None,
        "probability": [_short(outcome.probability) for outcome in told],
        "loss": [_short(outcome.loss) for outcome in told],
        "held_out": _places(outcome.held_out for outcome in told),
        "uncounted": _places(not outcome.counted for outcome in told),
        "classes": classes.names,
    }


def _outcomes_of(fields: Mapping[str, Any]) -> list[PredictionOutcome | None]:
    classes = fields["classes"]
    held_out, uncounted, unasked = (set(fields[name]) for name in ("held_out", "uncounted", "unasked"))
    values: Iterable[float | None] = fields["value"] or repeat(None, len(fields["loss"]))
    columns = zip(fields["labels"], values, fields["probability"], fields["loss"], strict=True)
    told = [
        PredictionOutcome(
            labels=tuple(classes[place] for place in labels),
            value=value,
            probability=probability,
            loss=loss,
            held_out=place in held_out,
            counted=place not in uncounted,
        )
        for place, (labels, value, probability, loss) in enumerate(columns)
    ]
    coming = iter(told)
    return [None if place in unasked else next(coming) for place in range(len(told) + len(unasked))]


def _short(number: float | None) -> float | None:
    """A number to the seven digits that single precision has."""
    return None if number is None else float(f"{number:.7g}")
