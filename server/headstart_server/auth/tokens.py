"""Bearer tokens: they are created here and not stored; access files hold their SHA-256."""

import secrets
from hashlib import sha256

#: The prefix of every token, so that secret scanners find leaked ones.
PREFIX = "headstart_"


def make_token() -> str:
    """Return a new token of 256 random bits, too many to guess it from its unsalted hash."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Return the form of a token in an access file: the SHA-256 of its UTF-8, in hexadecimal."""
    return sha256(token.encode()).hexdigest()


def lines_for(name: str, token: str) -> str:
    """Return the lines of an access file for the principal of a token, with a grant to edit."""
    return (
        "[[principals]]\n"
        f'name = "{name}"\n'
        f'token_sha256 = ["{token_hash(token)}"]\n'
        'grants = [{ rights = ["predict"], models = ["*"] }]\n'
    )
