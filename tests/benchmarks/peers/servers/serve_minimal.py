"""Serves one network with as little code as a person would write by hand: gRPC, threads and OpenVINO.

It does not batch, has no models, metrics or limits, and decodes as the peers do. A call is the name of a
variant, a zero byte and an image file; the answer is the probabilities in float32.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
from network import Network, read_settings

METHOD = "/minimal.Classifier/Classify"


class Classifier(grpc.GenericRpcHandler):
    """Classifies in as many threads as there are cores: the event loop goes on meanwhile."""

    def __init__(self) -> None:
        settings = read_settings()
        self._threads = ThreadPoolExecutor(settings.workers)
        self._networks = {name: Network(name, settings) for name in settings.variants}

    def service(self, handler_call_details):
        """Return the only method."""
        return grpc.unary_unary_rpc_method_handler(self.classify)

    async def classify(self, message: bytes, context) -> bytes:
        """Return the probabilities of an image."""
        name, _, file = message.partition(b"\0")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._classified, name.decode(), file)

    def _classified(self, name: str, file: bytes) -> bytes:
        return self._networks[name].classify([file])[0].tobytes()


async def main() -> None:
    """Serve until the process is signaled to stop."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Classifier()])
    server.add_insecure_port(f"127.0.0.1:{read_settings().port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
