"""Tokens of an OpenID issuer: JSON Web Tokens (RFC 7519), checked against its keys."""

from collections.abc import Mapping
from typing import Any

from headstart_server.auth.key_set import KeysAwayError, KeySet
from headstart_server.auth.policy import IssuerSettings
from headstart_server.errors import NOT_STARTED, IssuerKeysUnavailable, Unauthenticated

try:
    import jwt
except ModuleNotFoundError:  # the extra `oidc`
    jwt = None  # type: ignore[assignment]


def check_installed() -> None:
    """Check that tokens of issuers can be checked.

    Raises:
        ModuleNotFoundError: what that needs is not installed.
    """
    if jwt is None:
        raise ModuleNotFoundError("The access file has issuers: pip install 'headstart[oidc]'.", name="jwt")


class Issuer:
    """Checks the tokens of one issuer.

    Args:
        settings: what its tokens have to be.
        keys: its keys; None takes those that the settings name.
    """

    def __init__(self, settings: IssuerSettings, keys: KeySet | None = None) -> None:
        check_installed()
        self._settings = settings
        self._keys = keys or KeySet(settings.keys, _key)

    def claims(self, token: str) -> Mapping[str, Any]:
        """What a token says. May wait for the network.

        Raises:
            Unauthenticated: its signature, issuer, audience or times are not what they have to be.
            IssuerKeysUnavailable: the issuer's keys cannot be had.
        """
        settings = self._settings
        try:
            key = self._keys.key(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise Unauthenticated(
                    "The token is not signed by a key of its issuer. Request a new token from the issuer."
                )
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except KeysAwayError:
            raise IssuerKeysUnavailable(
                f"The keys of the issuer {settings.issuer} are unavailable. Try again in 10 seconds.",
                metadata=dict([NOT_STARTED]),
                retry_after=10.0,
            ) from None
        except jwt.PyJWTError as error:
            raise Unauthenticated(_invalid(error, settings)) from None
        return claims


def issuer_name(token: str) -> str | None:
    """The issuer that a token says it is of, unchecked; None if it is no JSON Web Token."""
    if jwt is None or token.count(".") != 2:
        return None
    try:
        name = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        return None
    return name if isinstance(name, str) else None


def _key(entry: Mapping[str, Any]) -> Any:
    """A key of its JSON form; None for one that signs nothing that is taken."""
    try:
        return jwt.PyJWK(dict(entry))
    except jwt.PyJWTError:
        return None


def _invalid(error: jwt.PyJWTError, settings: IssuerSettings) -> str:
    """Return the message for a token that is not valid."""
    expected = f"Request a new token of {settings.issuer} for {settings.audience}."
    match error:
        case jwt.ExpiredSignatureError():
            return f"The token has expired. {expected}"
        case jwt.InvalidAudienceError():
            return f"The token is for another audience. {expected}"
        case jwt.InvalidSignatureError():
            return f"The signature of the token is invalid. {expected}"
    return f"The token is invalid ({type(error).__name__}). {expected}"
