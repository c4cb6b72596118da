"""The gRPC services and their interceptors."""
