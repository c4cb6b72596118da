"""The calls of the contract over gRPC and HTTP, and the protocols of other model servers."""

import os

# Read when grpc is imported. By default its core logs a line of plain text for each connection whose TLS
# handshake fails, which any client can cause.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
