"""The calls of the contract over gRPC and HTTP, and the protocols of other model servers."""
