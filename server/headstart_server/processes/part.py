"""The role of one process of a server."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from headstart_server.processes.caller_table import CallerTable
from headstart_server.processes.engine_client import EngineClient


class Role(Enum):
    """The role of a process.

    WHOLE: everything, as with `--processes 1`.
    ENGINE: backbones, jobs and cleaning.
    SERVING: the ports; its features come from the engine.
    """

    WHOLE = "server"
    ENGINE = "engine"
    SERVING = "serving"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessPlace:
    """The number of a process among the processes of its server."""

    role: Role = Role.WHOLE
    number: int = 0  # its number among the serving processes, from 1
    count: int = 1  # number of serving processes
    is_restart: bool = False  # whether it replaces a process that ended, while the others continue


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One process of a server, and the objects that it shares with the others."""

    place: ProcessPlace = ProcessPlace()
    engine: EngineClient = field(default_factory=EngineClient)  # the engine, for a serving process
    # per-caller limits that all serving processes share; None for a single process
    callers: CallerTable | None = None

    @property
    def name(self) -> str:
        """The name of the process in logs."""
        place = self.place
        return f"{place.role.value}-{place.number}" if place.role is Role.SERVING else place.role.value

    @property
    def serves(self) -> bool:
        """Whether it serves the ports."""
        return self.place.role is not Role.ENGINE

    @property
    def runs_jobs(self) -> bool:
        """Whether it runs jobs and cleans up."""
        return self.place.role is not Role.SERVING

    @property
    def shares_data(self) -> bool:
        """Whether other processes of this server use the same data folder."""
        return self.place.role is not Role.WHOLE

    def share(self, limit: int) -> int:
        """Return this process's part of a limit of the whole server."""
        return -(-limit // self.place.count)

    def folder(self, data_dir: Path) -> Path:
        """Return the folder of this process's own temporary files."""
        return data_dir / self.name if self.place.role is Role.SERVING else data_dir


WHOLE = Part()
