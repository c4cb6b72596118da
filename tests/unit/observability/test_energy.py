"""What a fine-tune costs: counters are divided among those that ran, and what is estimated says so."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakes import JobDriver, ManualClock, Publisher, make_manifest
from headstart_server.api.grpc.messages.models import energy_message
from headstart_server.jobs.job import Findings
from headstart_server.models.version import Manifest
from headstart_server.observability.energy import Energy, EnergyMeter, EnergySource
from headstart_server.observability.power import EstimatedCounter, Gpus, RaplCounter, counters, rapl_zones
from headstart_server.report.formatting import energy_line
from headstart_server.training.fine_tune import FineTuneRun
from workbench import Workbench, pets


class Counter:
    """Shows the joules that the test gives it."""

    def __init__(self, source: EnergySource = EnergySource.CPU_TIME) -> None:
        self.source = source
        self.joules = 0.0

    def read_joules(self) -> float:
        taken, self.joules = self.joules, 0.0
        return taken


# Dividing


def test_a_piece_of_work_gets_what_was_used_while_it_went_on():
    counter = Counter()
    meter = EnergyMeter([counter])
    counter.joules = 100.0
    with meter.measure() as work:
        counter.joules = 7.0
    counter.joules = 50.0

    assert meter.so_far(work).joules == {"cpu_time": 7.0}
    assert meter.totals() == {"cpu_time": 157.0}


def test_pieces_of_work_at_the_same_time_share_in_equal_parts():
    counter = Counter()
    meter = EnergyMeter([counter])
    with meter.measure() as first:
        counter.joules = 10.0
        with meter.measure() as second:
            counter.joules = 6.0
        counter.joules = 1.0

    assert meter.so_far(first).total_joules == 10.0 + 3.0 + 1.0
    assert meter.so_far(second).total_joules == 3.0


def test_running_work_has_energy_until_now():
    counter = Counter()
    meter = EnergyMeter([counter])
    with meter.measure() as work:
        counter.joules = 2.0
        assert meter.so_far(work).total_joules == 2.0
        counter.joules = 3.0
        assert meter.so_far(work).total_joules == 5.0


def test_without_counters_no_energy_is_reported():
    meter = EnergyMeter([])
    with meter.measure() as work:
        pass

    assert meter.so_far(work) is None


def test_a_kilowatt_hour_gives_the_grams_of_the_grid():
    energy = Energy(joules={"rapl": 2.0e6, "nvml": 1.6e6}, grid_gco2e_per_kwh=50.0)

    assert energy.gco2e == pytest.approx(50.0)
    assert not energy.is_estimated


def test_one_estimated_part_makes_the_whole_an_estimate():
    energy = Energy(joules={"nvml": 1.0, "cpu_time": 1.0}, grid_gco2e_per_kwh=480.0)

    assert energy.is_estimated
    message = energy_message(energy)
    assert (message.joules, message.estimated) == (2.0, True)
    assert energy_line(energy).startswith("about 2 J (estimated from processor time + whole GPUs)")


# Counters


def test_the_estimate_is_processor_time_times_watts():
    used = iter([10.0, 13.0])
    assert EstimatedCounter(4.0, own=lambda: next(used)).read_joules() == 12.0


class Powercap:
    """Linux's powercap folder of a machine with one package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zone("intel-rapl:0", "package-0", 1_000_000)
        self.zone("intel-rapl:0:0", "core", 400_000)
        self.zone("intel-rapl:0:1", "dram", 100_000)
        self.zone("intel-rapl:1", "psys", 9_000_000)

    def zone(self, place: str, name: str, energy: int) -> None:
        zone = self.folder / place
        zone.mkdir(exist_ok=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text("10000000\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def test_only_packages_and_their_memory_are_counted_for_the_others_are_parts_of_them(powercap: Powercap):
    assert [zone.name for zone in rapl_zones(powercap.folder)] == ["intel-rapl:0", "intel-rapl:0:1"]


def test_a_process_has_its_share_of_the_busy_time(powercap: Powercap):
    seconds = {"own": 5.0, "busy": 100.0}
    counter = RaplCounter(
        rapl_zones(powercap.folder), own=lambda: seconds["own"], busy=lambda: seconds["busy"]
    )
    seconds.update(own=6.0, busy=104.0)
    powercap.zone("intel-rapl:0", "package-0", 7_000_000)
    powercap.zone("intel-rapl:0:1", "dram", 2_100_000)

    assert counter.read_joules() == pytest.approx((6.0 + 2.0) / 4)


def test_a_counter_that_restarts_loses_nothing(powercap: Powercap):
    seconds = {"own": 0.0, "busy": 0.0}
    counter = RaplCounter(
        rapl_zones(powercap.folder), own=lambda: seconds["own"], busy=lambda: seconds["busy"]
    )
    seconds.update(own=1.0, busy=1.0)
    powercap.zone("intel-rapl:0", "package-0", 500_000)

    assert counter.read_joules() == pytest.approx(9.5)


def test_what_is_used_between_two_ticks_of_the_machines_time_is_counted_with_the_next(powercap: Powercap):
    seconds = {"own": 0.0, "busy": 0.0}
    counter = RaplCounter(
        rapl_zones(powercap.folder), own=lambda: seconds["own"], busy=lambda: seconds["busy"]
    )
    seconds["own"] = 0.005
    powercap.zone("intel-rapl:0", "package-0", 2_000_000)
    assert counter.read_joules() == 0.0

    seconds.update(own=0.01, busy=0.01)
    assert counter.read_joules() == pytest.approx(1.0)


def test_a_counter_that_is_taken_away_breaks_no_work(powercap: Powercap):
    seconds = {"own": 0.0, "busy": 0.0}
    counter = RaplCounter(
        rapl_zones(powercap.folder), own=lambda: seconds["own"], busy=lambda: seconds["busy"]
    )
    seconds.update(own=1.0, busy=1.0)
    (powercap.folder / "intel-rapl:0" / "energy_uj").unlink()

    assert counter.read_joules() == 0.0


def test_energy_is_measured_with_processor_counters_and_estimated_without(powercap: Powercap, tmp_path: Path):
    (measured,) = counters(None, watts_per_core=5.0, powercap=powercap.folder)
    (estimated,) = counters(None, watts_per_core=5.0, powercap=tmp_path / "none")

    assert measured.source is EnergySource.RAPL
    assert estimated.source is EnergySource.CPU_TIME


class Nvml:
    """The module of NVML on a machine with two GPUs, the older of which counts no joules."""

    class NVMLError(Exception):
        """As NVML's."""

    def __init__(self) -> None:
        self.millijoules = 5_000
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetTotalEnergyConsumption = self.energy
        self.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=25)
        self.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=3, total=8)

    def energy(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return self.millijoules


def test_gpus_tell_joules_use_and_memory_as_far_as_they_can():
    nvml = Nvml()
    gpus = Gpus(nvml)
    nvml.millijoules += 2_500

    assert gpus.have_energy
    assert gpus.read_joules() == pytest.approx(2.5)
    assert gpus.use() == {"gpu0": 0.25, "gpu1": 0.25}
    assert (gpus.memory_used(), gpus.memory()) == ({"gpu0": 3, "gpu1": 3}, {"gpu0": 8, "gpu1": 8})
    assert [counter.source for counter in counters(gpus, watts_per_core=5.0, powercap=Path("none"))] == [
        EnergySource.CPU_TIME,
        EnergySource.NVML,
    ]


# With jobs and versions


def test_a_job_and_its_version_tell_what_the_run_cost(tmp_path_factory: pytest.TempPathFactory):
    with (
        closing(Publisher(tmp_path_factory.mktemp("driver"), ManualClock())) as publisher,
        closing(Workbench(tmp_path_factory.mktemp("bench"), driver := JobDriver(publisher))) as bench,
    ):
        counter = Counter()
        tools = replace(bench.steps, energy=EnergyMeter([counter], grid_gco2e_per_kwh=100.0))
        job = bench.accept(pets())
        counter.joules = 36.0

        def checkpoint() -> None:
            counter.joules += 1.0

        FineTuneRun(driver.claim(), tools, checkpoint).execute()
        ended = driver.job_store.reader.get(job.job_id).findings.energy
        version = bench.registry.reader.version("pets", 1).manifest.energy

    assert version.total_joules > 0
    assert ended.total_joules >= version.total_joules
    assert version.grid_gco2e_per_kwh == 100.0
    assert version.is_estimated


def test_a_manifest_stores_energy_and_may_have_none():
    energy = Energy(joules={"rapl": 3.0}, grid_gco2e_per_kwh=480.0)
    written = make_manifest(energy=energy).to_json()

    assert Manifest.from_json(written).energy == energy
    assert Manifest.from_json(make_manifest().to_json()).energy is None
    assert Findings().energy is None
