"""Backbones in 8 bits: their names, and the proof that they are as accurate as in floating point."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

#: Suffix of the name of a backbone's quantized form, which has its own digest.
SUFFIX = ":int8"
#: File name of the network in floating point next to the quantized one: tails are trained and run in it.
FLOAT_FILE = "float.xml"
#: Largest decrease of the accuracy, and largest increase of the calibration error (ECE).
MAX_ACCURACY_DROP, MAX_CALIBRATION_INCREASE = 0.003, 0.01
#: Smallest gain in rows per second that makes quantized backbones the default.
MIN_SPEEDUP = 1.05

_FILE = "proof.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationProof:
    """Heads that were fitted on features of a quantized backbone and of the same one in floating point."""

    dataset: str  # name of the labeled examples
    example_count: int  # number of examples that were predicted
    float_runtime: str  # runtime and precision of the comparison, such as ``openvino bfloat16``
    float_accuracy: float  # mean accuracy on test examples in floating point
    accuracy: float  # mean accuracy of the quantized backbone on the same examples
    float_calibration_error: float  # mean ECE in floating point
    calibration_error: float  # mean ECE of the quantized backbone
    float_rows_per_second: float  # rows per second of one thread in floating point
    rows_per_second: float  # rows per second of one thread of the quantized backbone
    processor: str = ""  # kind of the processor that the speed was measured on, as `processor` returns it

    @property
    def speedup(self) -> float:
        """Rows per second relative to floating point."""
        return self.rows_per_second / self.float_rows_per_second

    @property
    def problem(self) -> str:
        """Sentence with the reason not to use the quantized backbone; empty if it is as accurate."""
        if self.accuracy < self.float_accuracy - MAX_ACCURACY_DROP:
            return (
                f"Its accuracy on {self.dataset} is {self.accuracy:.2%}, and {self.float_accuracy:.2%} in "
                f"floating point, more than {MAX_ACCURACY_DROP:.1%} above."
            )
        if self.calibration_error > self.float_calibration_error + MAX_CALIBRATION_INCREASE:
            return (
                f"Its calibration error on {self.dataset} is {self.calibration_error:.2%}, and "
                f"{self.float_calibration_error:.2%} in floating point, more than "
                f"{MAX_CALIBRATION_INCREASE:.0%} below."
            )
        return ""

    def write(self, folder: Path) -> None:
        """Write the proof into the folder of the quantized backbone."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        part = folder / f"{_FILE}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / _FILE)

    @classmethod
    def read(cls, folder: Path) -> "QuantizationProof | None":
        """Return the proof in a folder; None if it is missing or damaged."""
        try:
            return cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def base_name(name: str) -> str | None:
    """Return the name of the backbone in the name of its quantized form; None for other names."""
    base = name.removesuffix(SUFFIX)
    return base if base != name and base else None
