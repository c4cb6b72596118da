"""Why something at a place cannot be read, in words for the caller; never those of a library."""


class UnreadableError(Exception):
    """It is not there, or may not be read; the message goes on from "it cannot be read:"."""


class TooLargeError(UnreadableError):
    """It has more bytes than may be read."""


class SourceUnavailableError(Exception):
    """What keeps it does not answer; a later try may succeed."""
