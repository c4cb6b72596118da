"""What a fine-tune cost in electricity, from its message."""

from headstart.results import Energy
from headstart.v1 import job_pb2, model_pb2

__all__ = ["read_energy"]


def read_energy(message: job_pb2.Job | model_pb2.Version) -> Energy | None:
    """Reads what a job or a version cost; None where it is not told."""
    if not message.HasField("energy"):
        return None
    energy = message.energy
    return Energy(
        joules=energy.joules,
        gco2e=energy.gco2e,
        estimated=energy.estimated,
        joules_by_source=dict(sorted(energy.joules_by_source.items())),
        grid_gco2e_per_kwh=energy.grid_gco2e_per_kwh,
    )
