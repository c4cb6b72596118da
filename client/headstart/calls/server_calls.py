"""Calls of ServerService as values."""

from headstart.calls.calls import Call
from headstart.decode import decode
from headstart.results import Caller, ServerInfo, Usage
from headstart.v1 import server_service_pb2 as pb

_SERVICE = "/headstart.v1.ServerService/"


def server_info() -> Call[ServerInfo]:
    """Return the call of GetServerInfo."""
    return Call(
        path=_SERVICE + "GetServerInfo",
        request=pb.GetServerInfoRequest(),
        response=pb.GetServerInfoResponse,
        read=lambda response: decode(response.info, ServerInfo),
    )


def who_am_i() -> Call[Caller]:
    """Return the call of WhoAmI."""
    return Call(
        path=_SERVICE + "WhoAmI",
        request=pb.WhoAmIRequest(),
        response=pb.WhoAmIResponse,
        read=lambda response: decode(response.caller, Caller),
    )


def usage() -> Call[Usage]:
    """Return the call of GetUsage."""
    return Call(
        path=_SERVICE + "GetUsage",
        request=pb.GetUsageRequest(),
        response=pb.GetUsageResponse,
        read=lambda response: decode(response.usage, Usage),
    )
