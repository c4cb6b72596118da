"""The checks of ``headstart-server doctor``, which read this machine and a server's settings."""
