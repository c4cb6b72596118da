"""The calls of the contract over gRPC and HTTP, and the protocols of other model servers."""

import os

# Read when grpc is imported. Its core logs a line of plain text for each connection whose TLS handshake
# fails, and for each compressed message, which any client can cause. Errors that matter are raised, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
