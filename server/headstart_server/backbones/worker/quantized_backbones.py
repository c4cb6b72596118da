"""Quantized forms of backbones: prepared in advance, proven, and preferred if they are faster."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    processor,
)
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.quantization import MIN_SPEEDUP, SUFFIX, QuantizationProof, base_name
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker.conversions import Conversions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """A prepared quantized form."""

    card: Card
    folder: Path
    proof: QuantizationProof


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionChoice:
    """Whether a backbone is used in 8 bits, and the reason as a sentence; empty without a quantized form."""

    is_quantized: bool
    reason: str


class QuantizedBackbones:
    """The quantized forms of declared backbones.

    Only `quantize` creates them; a server uses forms that were prepared and proven before it started. Their
    cards are read once.
    """

    def __init__(
        self, declared: Mapping[str, Declaration], conversions: Conversions, runtimes: RuntimeSettings
    ) -> None:
        self._declared = declared
        self._conversions = conversions
        self._runtimes = runtimes
        #: Each form that is prepared and has a proof, by the backbone's name in floating point.
        self._prepared: dict[str, _Prepared] = {}
        for name in declared:
            self._look(name)

    def proof(self, base: str) -> QuantizationProof | None:
        """Return the proof of the quantized form of a backbone; None if it is not prepared."""
        prepared = self._prepared.get(base)
        return prepared.proof if prepared else None

    def usable(self) -> list[str]:
        """Return the names of the backbones, in floating point, whose quantized form may be used."""
        return [base for base, prepared in self._prepared.items() if not prepared.proof.problem]

    def preferred(self, name: str) -> str:
        """Return the name of the quantized form of a backbone if it is chosen, else the name itself."""
        return name + SUFFIX if self.choice(name).is_quantized else name

    def choice(self, base: str) -> PrecisionChoice:
        """Return whether the quantized form of a backbone is preferred, and why.

        With the precision `INT8`, it must be proven to be as accurate. With None, it must also be faster on
        this kind of processor.
        """
        proof, precision = self.proof(base), self._runtimes.precision
        if proof is None:
            return PrecisionChoice(is_quantized=False, reason="")
        problem = self._obstacle(proof) or ("" if precision is Precision.INT8 else self._slower(base, proof))
        if problem:
            return PrecisionChoice(is_quantized=False, reason=f"It is used in floating point. {problem}")
        gain = (
            f"In 8 bits it computes {proof.speedup:.2f} times as many rows per second as in "
            f"{proof.float_runtime}; its accuracy on {proof.dataset} is {proof.accuracy:.2%}, and "
            f"{proof.float_accuracy:.2%} in floating point."
        )
        return PrecisionChoice(is_quantized=True, reason=gain)

    def require(self, base: str) -> None:
        """Raise `SourceError` unless the quantized form of a backbone, or `base` as one, may be used."""
        if base_name(base) is not None or self.preferred(base) != base:
            return
        proof = self.proof(base)
        reason = "It is not prepared." if proof is None else self._obstacle(proof)
        raise SourceError(
            f"--precision int8: Backbone '{base}' cannot be used in 8 bits. {reason} Prepare it with "
            f"headstart-server prepare --int8 {base}, or use --precision auto."
        )

    def find(self, name: str) -> tuple[Card, Path]:
        """Return the card and the folder of a quantized backbone.

        Raise SourceError if it is not prepared, or its proof forbids its use.
        """
        base = base_name(name) or ""
        prepared = self._prepared.get(base)
        if prepared is None:
            raise SourceError(f"it is not prepared. Prepare it: headstart-server prepare --int8 {base}.")
        if prepared.proof.problem:
            raise SourceError(f"it is less accurate than in floating point. {prepared.proof.problem}")
        return prepared.card, prepared.folder

    def quantize(self, base: str, samples: Path | None) -> tuple[Card, Path]:
        """Quantize a backbone, unless done before; see `Conversions.quantize`."""
        return self._conversions.quantize(self._declared[base], samples)

    def prove(self, base: str, proof: QuantizationProof) -> None:
        """Store the proof of the quantized form of a backbone."""
        found = self._conversions.quantized(self._declared[base])
        if found is not None:
            proof.write(found[1])
            self._look(base)

    def _obstacle(self, proof: QuantizationProof) -> str:
        """Return the reason not to use a quantized form at all; empty if it may be used."""
        if self._runtimes.settled().kind is not RuntimeKind.OPENVINO:
            return "Only OpenVINO runs it in 8 bits."
        return proof.problem

    def _slower(self, base: str, proof: QuantizationProof) -> str:
        """Return the reason why a quantized form is not known to be faster here; empty if it is."""
        if self._runtimes.precision is not None:
            return f"The server computes with --precision {self._runtimes.precision.value}."
        if proof.processor != processor():
            return (
                "Its speed in 8 bits was measured on another kind of processor. Measure it on this one: "
                f"headstart-server prepare --int8 {base}."
            )
        if proof.speedup < MIN_SPEEDUP:
            return (
                f"In 8 bits it computes {proof.speedup:.2f} times as many rows per second as in "
                f"{proof.float_runtime}; --precision auto requires {MIN_SPEEDUP:.2f} times."
            )
        return ""

    def _look(self, base: str) -> None:
        found = self._conversions.quantized(self._declared[base])
        if found is None:
            return
        card, folder = found
        proof = QuantizationProof.read(folder)
        if proof is not None:
            self._prepared[base] = _Prepared(card=card, folder=folder, proof=proof)
