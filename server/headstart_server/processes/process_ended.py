"""The end of a process before its server had started."""


class ProcessEndedError(Exception):
    """A process ended before the server had started; it printed the reason."""
