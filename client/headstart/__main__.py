"""Run `python -m headstart` as the command `headstart`."""

from importlib import import_module

if __name__ == "__main__":
    # Not an import statement: the library must not depend on the command, which is an extra.
    import_module("headstart.cli").main()
