"""The checkpoint of a job's backbone selection, stored for its next attempt."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import compress, decompress

import numpy as np

from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.backbone_selection import BackboneCandidate, BackboneSelection


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CandidateTrial:
    """The result of one candidate."""

    candidate: BackboneCandidate
    # score on each example of the dataset, [N], higher is better: 1 or 0, or the negative absolute error;
    # NaN without a prediction. None if it was not tried
    scores: Float32 | None = None
    digest: str = ""  # digest of the backbone; empty if it was not tried


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SelectionCheckpoint:
    """The results of a job's candidates, stored after each candidate for the next attempt."""

    dataset: str  # digest of the examples of the scores
    trials: tuple[CandidateTrial, ...] = ()  # results of finished candidates, in their order
    seconds: float = 0.0  # seconds of all trials, over all attempts
    choice: BackboneSelection | None = None  # the choice; None before it
    trying: str = ""  # the candidate in progress; empty before the first
    crashes: int = 0  # number of crashes of the job when this candidate began

    def to_json(self) -> dict[str, Any]:
        """Return the checkpoint as JSON values."""
        return {
            "dataset": self.dataset,
            "trials": [
                {
                    "candidate": trial.candidate.to_json(),
                    "scores": _packed(trial.scores),
                    "digest": trial.digest,
                }
                for trial in self.trials
            ],
            "seconds": self.seconds,
            "choice": None if self.choice is None else self.choice.to_json(),
            "trying": self.trying,
            "crashes": self.crashes,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "SelectionCheckpoint":
        """Return the checkpoint that `to_json` wrote."""
        trials = [
            CandidateTrial(
                candidate=BackboneCandidate.from_json(each["candidate"]),
                scores=_unpacked(each["scores"]),
                digest=each.get("digest", ""),
            )
            for each in fields["trials"]
        ]
        choice = fields["choice"]
        return cls(
            dataset=fields["dataset"],
            trials=tuple(trials),
            seconds=fields["seconds"],
            choice=None if choice is None else BackboneSelection.from_json(choice),
            trying=fields["trying"],
            crashes=fields["crashes"],
        )


def _packed(scores: Float32 | None) -> str | None:
    if scores is None:
        return None
    return b64encode(compress(scores.astype("<f4").tobytes())).decode()


def _unpacked(packed: str | None) -> Float32 | None:
    if packed is None:
        return None
    return np.frombuffer(decompress(b64decode(packed)), "<f4").astype(np.float32)
