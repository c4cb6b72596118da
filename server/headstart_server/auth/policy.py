"""The access file: principals and their rights, as TOML. See docs/operate/tls-and-access.md for its form."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart_server.auth.permissions import Grant, Principal, Right
from headstart_server.settings.kinds import Kind, Number
from headstart_server.settings.measures import Size
from headstart_server.toml_text import read_toml

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}\Z")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_PATTERN = re.compile(r"(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127}\*?)\Z")
#: Accepted signature algorithms: all of them need a private key, which only the issuer has.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class PolicyError(ValueError):
    """The access file is invalid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuerSettings:
    """An OpenID issuer whose tokens are accepted."""

    issuer: str  # the required claim ``iss``
    audience: str  # the required claim ``aud``, or an entry of it
    keys: str  # an ``https://`` address of its key set, or a file
    leeway_seconds: float = 30.0  # the tolerated difference between clocks
    algorithms: tuple[str, ...] = ("RS256", "ES256")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRule:
    """The principal of tokens that have certain claims."""

    issuer: str
    claims: Mapping[str, str]
    principal: Principal

    def matches(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Return whether a token of an issuer with such claims is the principal's."""
        return self.issuer == issuer and all(
            wanted in found if isinstance(found := claims.get(name), list) else found == wanted
            for name, wanted in self.claims.items()
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantSettings:
    """The limits of a tenant."""

    # maximum versions of all its models, 0 for no limit; None uses the server's setting
    max_versions: int | None = None
    max_storage: int | None = None  # maximum stored bytes, 0 for no limit; None uses the server's setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The principals by their credentials, the issuers and the tenants of an access file."""

    by_token: Mapping[str, Principal] = field(default_factory=dict)
    by_certificate: Mapping[str, Principal] = field(default_factory=dict)
    claim_rules: Sequence[ClaimRule] = ()  # rules for tokens of issuers; the first that matches counts
    issuers: Mapping[str, IssuerSettings] = field(default_factory=dict)
    tenants: Mapping[str, TenantSettings] = field(default_factory=dict)


def read_policy(path: Path) -> Policy:
    """Read an access file; raise OSError, or PolicyError if it is invalid."""
    try:
        document = read_toml(path)
    except ValueError as error:
        raise PolicyError(f"The access file {path} cannot be read as TOML: {error}.") from None
    try:
        return policy_of(document)
    except PolicyError as error:
        raise PolicyError(f"The access file {path}: {error}") from None


def policy_of(document: Mapping[str, Any]) -> Policy:
    """Return the policy of a document; raise PolicyError, which names the invalid entry."""
    _known(document, {"principals", "issuers", "tenants"}, "the file")
    issuers = _issuers(document)
    by_token: dict[str, Principal] = {}
    by_certificate: dict[str, Principal] = {}
    claim_rules, names = [], set[str]()
    for place, entry in enumerate(_tables(document, "principals")):
        where = f"principals[{place}]"
        keys = {"name", "tenant", "grants", "token_sha256", "certificates", "issuer", "claims"}
        _known(entry, keys, where)
        principal = _principal(entry, where)
        if principal.name in names:
            raise PolicyError(f"Expected each principal once. Received: {principal.name!r} again.")
        names.add(principal.name)
        ways = _add_credentials(entry, "token_sha256", where, principal, by_token)
        ways += _add_credentials(entry, "certificates", where, principal, by_certificate)
        if "issuer" in entry or "claims" in entry:
            claim_rules.append(_claim_rule(entry, principal, issuers, where))
            ways += 1
        if not ways:
            raise PolicyError(
                f"{where} has no credentials. Add token_sha256 ('headstart-server token NAME' prints one), "
                "certificates, or issuer and claims."
            )
    return Policy(
        by_token=by_token,
        by_certificate=by_certificate,
        claim_rules=claim_rules,
        issuers=issuers,
        tenants=_tenants(document),
    )


def _add_credentials(
    entry: Mapping[str, Any], key: str, where: str, principal: Principal, known: dict[str, Principal]
) -> int:
    """Add the tokens or certificates of a principal to a mapping; return their number."""
    values = _strings(entry, key, where)
    for value in values:
        if key == "token_sha256" and not _HASH.match(value):
            # The value is not shown: a token that was entered here by mistake must not get into a log.
            raise PolicyError(
                f"Expected SHA-256 sums of 64 lowercase hexadecimal digits in {where}."
                f"token_sha256. Received: {len(value)} other characters."
            )
        if value in known:
            raise PolicyError(
                f"{where}.{key} has a value of another principal. Use each for one principal only."
            )
        known[value] = principal
    return len(values)


def _issuers(document: Mapping[str, Any]) -> dict[str, IssuerSettings]:
    issuers: dict[str, IssuerSettings] = {}
    for place, entry in enumerate(_tables(document, "issuers")):
        made = _issuer(entry, f"issuers[{place}]")
        if made.issuer in issuers:
            raise PolicyError(f"Expected each issuer once. Received: {made.issuer!r} again.")
        issuers[made.issuer] = made
    return issuers


def _tenants(document: Mapping[str, Any]) -> Mapping[str, TenantSettings]:
    tenants: dict[str, TenantSettings] = {}
    for place, entry in enumerate(_tables(document, "tenants")):
        where = f"tenants[{place}]"
        _known(entry, {"name", "max_versions", "max_storage"}, where)
        name = _matching(entry.get("name"), _TENANT, f"{where}.name", "1 to 63 of a-z A-Z 0-9 . _ -")
        if name in tenants:
            raise PolicyError(f"Expected each tenant once. Received: {name!r} again.")
        tenants[name] = TenantSettings(
            max_versions=_limit(entry, "max_versions", Number(1), where),
            max_storage=_limit(entry, "max_storage", Size("1MiB"), where),
        )
    return tenants


def _limit(entry: Mapping[str, Any], key: str, kind: Kind, where: str) -> int | None:
    """Return a limit, 0 for `off`; None if the entry has none."""
    found = entry.get(key)
    if found is None or found == "off":
        return None if found is None else 0
    try:
        return int(kind.of_toml(found))
    except ValueError as error:
        raise PolicyError(f'{where}.{key}: {error} Or use "off".') from None


def _principal(entry: Mapping[str, Any], where: str) -> Principal:
    tenant = entry.get("tenant", "")
    if tenant != "":
        _matching(tenant, _TENANT, f"{where}.tenant", "1 to 63 of a-z A-Z 0-9 . _ -")
    grants = [
        _grant(grant, f"{where}.grants[{place}]") for place, grant in enumerate(_tables(entry, "grants"))
    ]
    if not grants:
        raise PolicyError(
            f"{where} needs at least one grant, such as "
            'grants = [{ rights = ["predict"], models = ["*"] }].'
        )
    name = _matching(entry.get("name"), _NAME, f"{where}.name", "1 to 128 of a-z A-Z 0-9 . _ @ -")
    return Principal(name=name, tenant=tenant, grants=tuple(grants))


def _grant(entry: Mapping[str, Any], where: str) -> Grant:
    _known(entry, {"rights", "models"}, where)
    rights = _strings(entry, "rights", where)
    unknown = [right for right in rights if right not in set(Right)]
    if not rights:
        raise PolicyError(f"{where} needs rights. Choose from {', '.join(Right)}.")
    if unknown:
        raise PolicyError(
            f"Expected rights from {', '.join(Right)} in {where}.rights. Received: {unknown[0]!r}."
        )
    models = _strings(entry, "models", where)
    for pattern in models:
        _matching(pattern, _PATTERN, f"{where}.models", "names of models, or prefixes and *")
    if not models:
        raise PolicyError(f'{where} needs models. Name models, or use models = ["*"] for all.')
    return Grant(rights=frozenset(map(Right, rights)), models=tuple(models))


def _claim_rule(
    entry: Mapping[str, Any], principal: Principal, issuers: Mapping[str, IssuerSettings], where: str
) -> ClaimRule:
    issuer, claims = entry.get("issuer"), entry.get("claims")
    if not isinstance(issuer, str) or issuer not in issuers:
        known = ", ".join(issuers) or "the file declares no issuer"
        raise PolicyError(
            f"Expected one of the file's issuers in {where}.issuer: {known}. Received: {issuer!r}."
        )
    # Without a claim, every token of the issuer would be this principal's.
    if not isinstance(claims, dict) or not claims or not all(isinstance(v, str) for v in claims.values()):
        raise PolicyError(f"{where}.claims must have at least one claim, and each must be a string.")
    return ClaimRule(issuer=issuer, claims=claims, principal=principal)


def _issuer(entry: Mapping[str, Any], where: str) -> IssuerSettings:
    _known(entry, {"issuer", "audience", "keys", "leeway_seconds", "algorithms"}, where)
    for name in ("issuer", "audience", "keys"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            raise PolicyError(f"Expected a text in {where}.{name}. Received: {entry.get(name)!r}.")
    keys = entry["keys"]
    if "://" in keys and not keys.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise PolicyError(f"Expected an https:// address or a file in {where}.keys. Received: {keys!r}.")
    leeway = entry.get("leeway_seconds", 30.0)
    if isinstance(leeway, bool) or not isinstance(leeway, (int, float)) or not 0 <= leeway <= 300:
        raise PolicyError(f"Expected 0 to 300 in {where}.leeway_seconds. Received: {leeway!r}.")
    algorithms = _strings(entry, "algorithms", where) or ["RS256", "ES256"]
    if set(algorithms) - set(ALGORITHMS):
        raise PolicyError(
            f"Expected algorithms from {', '.join(ALGORITHMS)} in {where}.algorithms. "
            f"Received: {algorithms!r}."
        )
    return IssuerSettings(
        issuer=entry["issuer"],
        audience=entry["audience"],
        keys=keys,
        leeway_seconds=float(leeway),
        algorithms=tuple(algorithms),
    )


def _known(entry: Mapping[str, Any], keys: set[str], where: str) -> None:
    unknown = sorted(set(entry) - keys)
    if unknown:
        raise PolicyError(
            f"Expected only the keys {', '.join(sorted(keys))} in {where}. Received: {unknown[0]!r}."
        )


def _tables(entry: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise PolicyError(f"Expected a list of tables in {key}. Received: {type(found).__name__}.")
    return found


def _strings(entry: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) and item for item in found):
        raise PolicyError(f"{where}.{key} must be a list of strings.")
    return found


def _matching(value: Any, pattern: re.Pattern[str], where: str, expected: str) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise PolicyError(f"Expected {expected} in {where}. Received: {value!r}.")
    return value
