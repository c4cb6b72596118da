"""The same calls over HTTP, for people and for what speaks no gRPC: JSON, pictures and files."""
