"""A server with nothing but health, on the port in the first argument: how slow checks are here."""

import asyncio
import sys

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(aio.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
