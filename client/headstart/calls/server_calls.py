"""Calls of ServerService as values."""

from headstart.calls.calls import Call
from headstart.decode import decode
from headstart.results import Caller, ServerInfo, Usage
from headstart.v1 import server_service_pb2 as pb


def server_info() -> Call[ServerInfo]:
    """Return the call of GetServerInfo."""
    return Call.of(pb.GetServerInfoRequest(), read=lambda response: decode(response.info, ServerInfo))


def who_am_i() -> Call[Caller]:
    """Return the call of WhoAmI."""
    return Call.of(pb.WhoAmIRequest(), read=lambda response: decode(response.caller, Caller))


def usage() -> Call[Usage]:
    """Return the call of GetUsage."""
    return Call.of(pb.GetUsageRequest(), read=lambda response: decode(response.usage, Usage))
