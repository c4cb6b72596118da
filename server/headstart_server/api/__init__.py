"""The calls of the contract over gRPC and HTTP, and the protocols of other model servers."""

import os

# grpc reads this at import. Its core logs a line of plain text for each failed TLS handshake and for each
# compressed message, which any client can cause. Important errors are raised, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
