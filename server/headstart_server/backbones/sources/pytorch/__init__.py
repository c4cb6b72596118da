"""Networks of PyTorch: exported programs, and weights of known architectures."""
