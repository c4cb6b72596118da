"""Bearer tokens: made here, kept nowhere; files hold their SHA-256."""

import secrets
from hashlib import sha256

#: What every token that is made here begins with, so that scanners of secrets find those that got out.
PREFIX = "headstart_"


def make_token() -> str:
    """A new token of 256 random bits: too many to guess, so that a plain hash reveals nothing."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What stands for a token in a file: the SHA-256 of its UTF-8, in hexadecimal."""
    return sha256(token.encode()).hexdigest()


def lines_for(name: str, token: str) -> str:
    """The lines for an access file that let a token in, with a grant to be changed."""
    return (
        "[[principals]]\n"
        f'name = "{name}"\n'
        f'token_sha256 = ["{token_hash(token)}"]\n'
        'grants = [{ rights = ["predict"], models = ["*"] }]\n'
    )
