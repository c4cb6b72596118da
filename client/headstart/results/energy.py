"""What a fine-tune cost in electricity."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Energy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Joules and grams of CO2-equivalent of the run that ended a job, of the machine alone.

    Other work of the server, such as predictions, is included; earlier attempts are not.

    Attributes:
        joules: of all sources together.
        gco2e: grams of CO2-equivalent, at the server's figure for a kilowatt-hour; an estimate always.
        estimated: whether joules, or a part of them, were estimated and not measured.
        joules_by_source: those of ``rapl`` (counters of the processor, the server's share), ``nvml``
            (counters of whole GPUs) and ``cpu_time`` (an estimate, without any GPU).
        grid_gco2e_per_kwh: the server's figure for a kilowatt-hour.
    """

    joules: float
    gco2e: float
    estimated: bool
    joules_by_source: Mapping[str, float]
    grid_gco2e_per_kwh: float

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        return f"{about}{self.joules:.3g} J, {self.gco2e:.2g} g CO2e"
