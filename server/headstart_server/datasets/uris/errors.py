"""Why something at a place cannot be read, in words for the caller; never those of a library."""


class Unreadable(Exception):
    """It is not there, or may not be read; the message goes on from "it cannot be read:"."""


class TooLarge(Unreadable):
    """It has more bytes than may be read."""


class SourceAway(Exception):
    """What keeps it does not answer; a later try may succeed."""
