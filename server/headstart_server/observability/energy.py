"""What work costs in energy: joules by where they are known from, and grams of CO2-equivalent."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

#: Grams of CO2-equivalent for a kilowatt-hour unless a setting says otherwise: about the mean of the world's
#: electricity in 2023 (Ember, Global Electricity Review 2024). Grids differ by a factor of twenty.
GRID_GCO2E_PER_KWH = 480.0
#: Watts of one busy core, its part of memory and power supply included, for the estimate: servers with 64
#: cores draw some 200 to 400 W under load, laptops and small ones more for each core. Right to a factor of
#: two or three, not better.
WATTS_PER_CORE = 5.0
#: Joules of a kilowatt-hour.
_KWH = 3.6e6


class EnergySource(Enum):
    """Where joules are known from."""

    #: Counters of the processor's packages and memory: this process's share, by processor time.
    RAPL = "rapl"
    #: Counters of NVIDIA's GPUs: whole devices, whoever uses them.
    NVML = "nvml"
    #: An estimate: processor time times watts for each busy core.
    CPU_TIME = "cpu_time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """What a piece of work cost.

    Attributes:
        joules: by source; those of all sources together are the whole.
        grid_gco2e_per_kwh: grams of CO2-equivalent of a kilowatt-hour that the grams are told by.
    """

    joules: Mapping[str, float]
    grid_gco2e_per_kwh: float

    @property
    def total_joules(self) -> float:
        """Of all sources."""
        return sum(self.joules.values())

    @property
    def gco2e(self) -> float:
        """Grams of CO2-equivalent: of the electricity used, not of the machine's making or its cooling."""
        return self.total_joules / _KWH * self.grid_gco2e_per_kwh

    @property
    def is_estimated(self) -> bool:
        """Whether joules were estimated, all or some."""
        return EnergySource.CPU_TIME.value in self.joules

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Energy":
        """Of the fields as JSON values, this or a newer release's."""
        return cls(
            joules={str(name): float(joules) for name, joules in values["joules"].items()},
            grid_gco2e_per_kwh=float(values["grid_gco2e_per_kwh"]),
        )


class EnergyCounter(Protocol):
    """Counts the joules of one source."""

    source: EnergySource

    def taken(self) -> float:
        """Joules since the last look; 0 at the first."""


@dataclass(kw_only=True, slots=True, eq=False)
class Measurement:
    """A piece of work that is being measured; its meter fills it."""

    joules: dict[str, float] = field(default_factory=dict)


class EnergyMeter:
    """Divides what the counters show among the pieces of work that go on at the same time, in equal parts.

    What the server does beside, such as answering Predicts, cannot be told apart and is in their parts.

    Args:
        counters: one for each source.
        grid_gco2e_per_kwh: grams of CO2-equivalent of a kilowatt-hour.
    """

    def __init__(
        self, counters: Sequence[EnergyCounter], *, grid_gco2e_per_kwh: float = GRID_GCO2E_PER_KWH
    ) -> None:
        self._counters = counters
        self._grid = grid_gco2e_per_kwh
        self._lock = threading.Lock()
        self._going: list[Measurement] = []
        self._all = {counter.source.value: 0.0 for counter in counters}
        self.update()

    def update(self) -> None:
        """Look at the counters; at least every few minutes, since some begin anew when they are full."""
        with self._lock:
            self._look()

    def totals(self) -> Mapping[str, float]:
        """Joules since the meter was made, by source."""
        with self._lock:
            self._look()
            return dict(self._all)

    @contextmanager
    def measured(self) -> Iterator[Measurement]:
        """A piece of work is done in this block."""
        measurement = Measurement()
        with self._lock:
            self._look()
            self._going.append(measurement)
        try:
            yield measurement
        finally:
            with self._lock:
                self._look()
                self._going.remove(measurement)

    def so_far(self, measurement: Measurement) -> Energy | None:
        """What a piece of work has cost until now; None if nothing can be told of it."""
        with self._lock:
            if measurement in self._going:
                self._look()
            joules = dict(measurement.joules)
        return Energy(joules=joules, grid_gco2e_per_kwh=self._grid) if joules else None

    def _look(self) -> None:
        for counter in self._counters:
            name, joules = counter.source.value, counter.taken()
            self._all[name] += joules
            for measurement in self._going:
                measurement.joules[name] = measurement.joules.get(name, 0.0) + joules / len(self._going)
