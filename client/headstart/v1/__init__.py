"""Generated code of the contract, package ``headstart.v1``: messages and gRPC stubs."""
