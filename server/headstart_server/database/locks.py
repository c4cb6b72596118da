"""The locks that all replicas of a database share."""

from enum import Enum


class Lock(Enum):
    """What one transaction at a time may do; the number is the lock's in PostgreSQL."""

    SCHEMA = 1
    QUEUE = 2
    CLEANING = 3
    WEBHOOKS = 4
