"""The message of what a fine-tune cost in energy."""

from headstart.v1 import energy_pb2
from headstart_server.observability.energy import Energy


def energy_message(energy: Energy | None) -> energy_pb2.Energy | None:
    """Return the message of joules and grams; None if nothing was measured."""
    if energy is None:
        return None
    return energy_pb2.Energy(
        joules=energy.total_joules,
        gco2e=energy.gco2e,
        estimated=energy.is_estimated,
        joules_by_source=energy.joules,
        grid_gco2e_per_kwh=energy.grid_gco2e_per_kwh,
    )
