"""The specification of a process that the supervisor starts."""

import ctypes
import importlib
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from typing import BinaryIO

from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.processes.caller_table import CallerTable
from headstart_server.processes.channel import pickled
from headstart_server.processes.part import Part, ProcessPlace, Role
from headstart_server.settings.settings import Settings

#: prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSpec:
    """The specification of a process of a server."""

    settings: Settings  # the settings of the server, with the ports that the supervisor reserved
    role: Role  # role of the process
    number: int  # its number among the serving processes, from 1
    count: int  # number of serving processes
    is_restart: bool  # whether it replaces a process that ended
    supervisor: int  # process ID of the supervisor
    control: int  # descriptor of its end of the connection to the supervisor
    callers: int  # descriptor of the table of callers
    locks: tuple[int, ...]  # descriptors of the lock files, which it keeps open
    source: str | None  # ``MODULE:FUNCTION`` that returns the source of backbones; None for the catalog

    def pickled(self) -> bytes:
        """Return the pickled spec, including the secrets of the settings."""
        return pickled(self)

    @classmethod
    def read(cls, pipe: BinaryIO) -> "ProcessSpec":
        """Read the spec in the started process."""
        spec: ProcessSpec = pickle.load(pipe)
        return spec

    @property
    def part(self) -> Part:
        """Return the process as a part of the server."""
        # Limits of the whole server are divided among the serving processes only.
        if self.role is Role.ENGINE:
            return Part(place=ProcessPlace(role=self.role, is_restart=self.is_restart))
        return Part(
            place=ProcessPlace(
                role=self.role, number=self.number, count=self.count, is_restart=self.is_restart
            ),
            callers=CallerTable(self.callers, count=self.count, number=self.number),
        )

    def open_source(self) -> BackboneSource | None:
        """Return the source of backbones; None for the catalog."""
        if self.source is None:
            return None
        module, _, function = self.source.partition(":")
        source: BackboneSource = getattr(importlib.import_module(module), function)()
        return source


def die_with(supervisor: int) -> None:
    """Let the kernel kill this process when the supervisor ends, so that no two engines use the data."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("The supervisor has ended.")
