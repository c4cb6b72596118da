"""The gRPC services: decode, call, encode."""

import os

# Read when grpc is imported. By default its core writes a line of plain text for each connection whose TLS
# handshake fails, which any stranger can cause.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
