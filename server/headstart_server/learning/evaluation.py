"""How good a head is, measured on examples it was not fitted on."""

from headstart_server.learning.metrics import Metrics, MetricsSource, measure, wilson_interval

__all__ = ["Metrics", "MetricsSource", "measure", "wilson_interval"]
