"""Quantized forms of backbones: prepared ahead, proven, and preferred where they are faster."""

from collections.abc import Mapping
from pathlib import Path

from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings, has_int8
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.quantization import (
    MIN_SPEEDUP,
    SUFFIX,
    QuantizationProof,
    base_name,
)
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker.conversions import Conversions


class QuantizedBackbones:
    """The quantized forms of declared backbones.

    Only `quantize` makes them; a server uses those that were prepared and proven before it started.
    """

    def __init__(
        self, declared: Mapping[str, Declaration], conversions: Conversions, runtimes: RuntimeSettings
    ) -> None:
        self._declared = declared
        self._conversions = conversions
        self._runtimes = runtimes
        #: Proof of each that is prepared, by the name in floating point.
        self._proofs: dict[str, QuantizationProof] = {}
        for name in declared:
            self._look(name)

    def proof(self, base: str) -> QuantizationProof | None:
        """Return the proof of the quantized form of a backbone; None if it is not prepared."""
        return self._proofs.get(base)

    def usable(self) -> list[str]:
        """Return the names in floating point of the backbones whose quantized form may be used."""
        return [base for base, proof in self._proofs.items() if not proof.problem]

    def preferred(self, name: str) -> str:
        """Return the name of the quantized form of a backbone if the settings and its proof speak for it.

        With the precision `INT8` it must be proven to be as accurate, and with None also faster, on a
        processor that multiplies 8-bit integers. Otherwise return the name itself.
        """
        proof, precision = self._proofs.get(name), self._runtimes.precision
        if proof is None or proof.problem or self._runtimes.settled().kind is not RuntimeKind.OPENVINO:
            return name
        is_chosen = precision is None and has_int8() and proof.speedup >= MIN_SPEEDUP
        return name + SUFFIX if is_chosen or precision is Precision.INT8 else name

    def require(self, base: str) -> None:
        """Raise `SourceError` unless the quantized form of a backbone, or `base` as one, may be used."""
        if base_name(base) is not None or self.preferred(base) != base:
            return
        proof = self._proofs.get(base)
        reason = "It is not prepared." if proof is None else proof.problem or "Only OpenVINO runs it."
        raise SourceError(
            f"--precision int8: Backbone '{base}' cannot be used in 8 bits. {reason} Prepare it with "
            f"headstart-server prepare --int8 {base}, or use --precision auto."
        )

    def folder(self, name: str) -> Path:
        """Return the folder of a quantized backbone.

        Raises:
            SourceError: it is not prepared, or its proof does not allow to use it.
        """
        base = base_name(name) or ""
        proof, folder = self._proofs.get(base), self._conversions.quantized(self._declared[base])
        if proof is None or folder is None:
            raise SourceError(f"it is not prepared. Prepare it: headstart-server prepare --int8 {base}.")
        if proof.problem:
            raise SourceError(f"it is less accurate than in floating point. {proof.problem}")
        return folder

    def quantize(self, base: str, samples: Path | None) -> Path:
        """Quantize a backbone, unless done before, and return its folder; see `Conversions.quantize`."""
        return self._conversions.quantize(self._declared[base], samples)

    def prove(self, base: str, proof: QuantizationProof) -> None:
        """Store the proof of the quantized form of a backbone."""
        folder = self._conversions.quantized(self._declared[base])
        if folder is not None:
            proof.write(folder)
            self._look(base)

    def _look(self, base: str) -> None:
        folder = self._conversions.quantized(self._declared[base])
        proof = folder and QuantizationProof.read(folder)
        if isinstance(proof, QuantizationProof):
            self._proofs[base] = proof
