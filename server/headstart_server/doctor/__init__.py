"""The checks of ``headstart-server doctor``: this machine and a server's settings; nothing is changed."""
