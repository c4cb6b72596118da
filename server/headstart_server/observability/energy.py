"""The energy of jobs: joules by source, and grams of CO2-equivalent."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

#: Default grams of CO2-equivalent per kilowatt-hour: about the mean of the world's
#: electricity in 2023 (Ember, Global Electricity Review 2024). Grids differ by a factor of twenty.
GRID_GCO2E_PER_KWH = 480.0
#: Watts of one busy core, including its share of memory and power supply, for the estimate: servers with 64
#: cores draw some 200 to 400 W under load, laptops and small servers more per core. Accurate to a factor of
#: two or three.
WATTS_PER_CORE = 5.0
#: Joules of a kilowatt-hour.
_KWH = 3.6e6


class EnergySource(Enum):
    """A source of measured or estimated joules."""

    #: Counters of the processor's packages and memory: this process's share, by processor time.
    RAPL = "rapl"
    #: Counters of NVIDIA's GPUs: whole devices, including other processes.
    NVML = "nvml"
    #: An estimate: processor time times watts for each busy core.
    CPU_TIME = "cpu_time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """The energy of a piece of work: joules by source, and the carbon intensity of the grid."""

    joules: Mapping[str, float]
    grid_gco2e_per_kwh: float

    @property
    def total_joules(self) -> float:
        """The joules of all sources."""
        return sum(self.joules.values())

    @property
    def gco2e(self) -> float:
        """Grams of CO2-equivalent of the electricity, without the machine's manufacturing or its cooling."""
        return self.total_joules / _KWH * self.grid_gco2e_per_kwh

    @property
    def is_estimated(self) -> bool:
        """Whether joules were estimated, all or some."""
        return EnergySource.CPU_TIME.value in self.joules

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Energy":
        """Return the energy from JSON values."""
        return cls(
            joules={str(name): float(joules) for name, joules in values["joules"].items()},
            grid_gco2e_per_kwh=float(values["grid_gco2e_per_kwh"]),
        )


class EnergyCounter(Protocol):
    """A counter of the joules of one source."""

    source: EnergySource

    def read_joules(self) -> float:
        """Return the joules since the last read; 0 at the first."""


@dataclass(kw_only=True, slots=True, eq=False)
class Measurement:
    """The joules of a piece of work; its meter fills them."""

    joules: dict[str, float] = field(default_factory=dict)


class EnergyMeter:
    """Divide the counted joules among concurrent pieces of work, in equal parts.

    Other work of the server, such as Predicts, cannot be separated and counts in their parts.
    """

    def __init__(
        self, counters: Sequence[EnergyCounter], *, grid_gco2e_per_kwh: float = GRID_GCO2E_PER_KWH
    ) -> None:
        self._counters = counters
        self._grid = grid_gco2e_per_kwh
        self._lock = threading.Lock()
        self._running: list[Measurement] = []
        self._all = {counter.source.value: 0.0 for counter in counters}
        self.update()

    def update(self) -> None:
        """Read the counters, at least every few minutes: some restart at 0 when they are full."""
        with self._lock:
            self._read()

    def totals(self) -> Mapping[str, float]:
        """Return the joules since the meter was created, by source."""
        with self._lock:
            self._read()
            return dict(self._all)

    @contextmanager
    def measure(self) -> Iterator[Measurement]:
        """Measure the block as one piece of work."""
        measurement = Measurement()
        with self._lock:
            self._read()
            self._running.append(measurement)
        try:
            yield measurement
        finally:
            with self._lock:
                self._read()
                self._running.remove(measurement)

    def so_far(self, measurement: Measurement) -> Energy | None:
        """Return the energy of a piece of work until now; None without counters."""
        with self._lock:
            if measurement in self._running:
                self._read()
            joules = dict(measurement.joules)
        return Energy(joules=joules, grid_gco2e_per_kwh=self._grid) if joules else None

    def _read(self) -> None:
        for counter in self._counters:
            name, joules = counter.source.value, counter.read_joules()
            self._all[name] += joules
            for measurement in self._running:
                measurement.joules[name] = measurement.joules.get(name, 0.0) + joules / len(self._running)
