"""The energy of a job."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energy and emissions of the run that ended a job, of its server's machine alone.

    Other work of the server, such as predictions, is included; earlier attempts are not.

    Attributes:
        joules: energy of all sources.
        gco2e: grams of CO2-equivalent at the server's grid intensity; always an estimate.
        estimated: whether a part of the joules was estimated and not measured.
        joules_by_source: energy of ``rapl`` (CPU counters, the server's fraction), ``nvml`` (counters of
            whole GPUs) and ``cpu_time`` (an estimate, without GPUs).
        grid_gco2e_per_kwh: the server's grid intensity, in grams of CO2-equivalent per kilowatt-hour.
    """

    joules: float
    gco2e: float
    estimated: bool
    joules_by_source: Mapping[str, float]
    grid_gco2e_per_kwh: float

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        return f"{about}{self.joules:.3g} J, {self.gco2e:.2g} g CO2e"
