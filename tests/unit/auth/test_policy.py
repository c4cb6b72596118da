"""The access file: who may do what, and what is wrong with it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from headstart_server.auth.permissions import UNRESTRICTED, Grant, Principal, Right, Scope, matches
from headstart_server.auth.policy import PolicyError, policy_of, read_policy
from headstart_server.auth.tokens import PREFIX, lines_for, make_token, token_hash

HASH = token_hash("secret")


def principal(**more: Any) -> dict[str, Any]:
    entry = {
        "name": "ci",
        "token_sha256": [HASH],
        "grants": [{"rights": ["predict", "train"], "models": ["pets-*", "cars"]}],
    }
    return {name: value for name, value in {**entry, **more}.items() if value is not None}


ISSUER = {"issuer": "https://id.example", "audience": "headstart", "keys": "/keys.json"}


def test_a_principal_is_found_by_each_of_its_tokens_and_names() -> None:
    other = token_hash("next")
    policy = policy_of(
        {"principals": [principal(token_sha256=[HASH, other], certificates=["ci.example"], tenant="red")]}
    )
    found = policy.by_token[HASH]
    assert found == policy.by_token[other] == policy.by_certificate["ci.example"]
    assert (found.name, found.tenant) == ("ci", "red")


@pytest.mark.parametrize(
    ("model", "rights"),
    [
        ("pets-1", {Right.PREDICT, Right.TRAIN}),
        ("pets-", {Right.PREDICT, Right.TRAIN}),
        ("pets", set()),
        ("Pets-1", set()),
        ("cars", {Right.PREDICT, Right.TRAIN}),
        ("cars2", set()),
        ("", set()),
    ],
)
def test_rights_are_on_names_or_on_what_they_begin_with(model: str, rights: set[Right]) -> None:
    found = policy_of({"principals": [principal()]}).by_token[HASH]
    assert {right for right in Right if found.may(right, model)} == rights
    assert found.knows(model) == bool(rights)


def test_no_right_includes_another() -> None:
    for right in Right:
        someone = Principal(name="a", grants=(Grant(rights=frozenset({right}), models=("*",)),))
        assert {each for each in Right if someone.may(each, "m")} == {right}


def test_a_scope_has_the_models_of_the_grants_with_one_of_the_rights() -> None:
    grants = [
        {"rights": ["predict"], "models": ["a", "b*"]},
        {"rights": ["train"], "models": ["b*", "c"]},
        {"rights": ["admin"], "models": ["d"]},
    ]
    found = policy_of({"principals": [principal(grants=grants, tenant="red")]}).by_token[HASH]
    assert found.scope({Right.TRAIN, Right.PREDICT}) == Scope(tenant="red", models=("a", "b*", "c"))
    assert found.scope() == Scope(tenant="red", models=("a", "b*", "c", "d"))


def test_everybody_may_do_everything_where_there_is_no_file() -> None:
    assert all(UNRESTRICTED.may(right, "m") for right in Right)


def test_a_star_stands_for_anything_at_the_end_only() -> None:
    assert matches("*", "anything")
    assert not matches("a*", "b")


def test_the_lines_for_a_new_token_let_it_in_and_hold_no_token() -> None:
    token = make_token()
    lines = lines_for("ci", token)
    assert token.startswith(PREFIX)
    assert len(token) >= 50
    assert token != make_token()
    assert token not in lines
    assert policy_of(tomllib.loads(lines)).by_token[token_hash(token)].name == "ci"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"principal": []}, "in the file. Received: 'principal'"),
        ({"principals": {}}, "list of tables in principals"),
        ({"principals": [principal(name="a b")]}, "principals[0].name"),
        ({"principals": [principal(name=None)]}, "principals[0].name"),
        ({"principals": [principal(), principal()]}, "each principal once"),
        ({"principals": [principal(), principal(name="b")]}, "for one principal only"),
        ({"principals": [principal(token="x")]}, "Received: 'token'"),
        ({"principals": [principal(token_sha256=None)]}, "has no credentials. Add token_sha256"),
        ({"principals": [principal(token_sha256=["A" * 64])]}, "Received: 64 other characters"),
        ({"principals": [principal(token_sha256=HASH)]}, "must be a list of strings"),
        ({"principals": [principal(tenant="a/b")]}, "principals[0].tenant"),
        ({"principals": [principal(tenant="a" * 64)]}, "principals[0].tenant"),
        ({"principals": [principal(grants=None)]}, "needs at least one grant, such as"),
        ({"principals": [principal(grants=[{"rights": ["all"], "models": ["*"]}])]}, "Received: 'all'"),
        ({"principals": [principal(grants=[{"rights": [], "models": ["*"]}])]}, "needs rights. Choose from"),
        (
            {"principals": [principal(grants=[{"rights": ["train"], "models": []}])]},
            "needs models.",
        ),
        ({"principals": [principal(grants=[{"rights": ["train"], "models": ["a*b"]}])]}, "grants[0].models"),
        ({"principals": [principal(grants=[{"rights": ["train"], "models": ["r/a"]}])]}, "grants[0].models"),
        ({"principals": [principal(issuer="https://id.example", claims={"sub": "x"})]}, "declares no issuer"),
        ({"principals": [principal(issuer=ISSUER["issuer"])], "issuers": [ISSUER]}, "at least one claim"),
        (
            {"principals": [principal(issuer=ISSUER["issuer"], claims={"sub": 1})], "issuers": [ISSUER]},
            "each must be a string",
        ),
        ({"issuers": [ISSUER, ISSUER]}, "each issuer once"),
        ({"issuers": [{**ISSUER, "audience": ""}]}, "issuers[0].audience"),
        ({"issuers": [{**ISSUER, "keys": "http://id.example/keys"}]}, "https:// address or a file"),
        ({"issuers": [{**ISSUER, "keys": "file:///etc/passwd"}]}, "https:// address or a file"),
        ({"issuers": [{**ISSUER, "algorithms": ["HS256"]}]}, "issuers[0].algorithms"),
        ({"issuers": [{**ISSUER, "algorithms": ["none"]}]}, "issuers[0].algorithms"),
        ({"issuers": [{**ISSUER, "leeway_seconds": 3600}]}, "leeway_seconds"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(said)):
        policy_of(document)


def test_a_token_in_place_of_its_hash_is_not_repeated() -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of({"principals": [principal(token_sha256=["headstart_secret"])]})
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    file.write_text("principals = [")
    with pytest.raises(PolicyError, match=re.escape(str(file))):
        read_policy(file)


def test_a_file_that_is_too_large_is_named(tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    with file.open("wb") as opened:
        # Without blocks on the disk.
        opened.truncate((16 << 20) + 1)
    with pytest.raises(
        PolicyError, match=rf"{file} cannot be read as TOML: it is larger than 16 MiB, so shorten"
    ):
        read_policy(file)


def test_limits_of_tenants_are_read_and_what_is_not_said_is_left_to_the_server() -> None:
    tenants = [{"name": "red", "max_versions": 5, "max_storage": "off"}, {"name": "blue"}]
    found = policy_of({"tenants": tenants}).tenants
    assert (found["red"].max_versions, found["red"].max_storage) == (5, 0)
    assert (found["blue"].max_versions, found["blue"].max_storage) == (None, None)


@pytest.mark.parametrize(
    ("tenants", "expected"),
    [
        ([{"max_versions": 1}], "tenants[0].name"),
        ([{"name": "a/b"}], "tenants[0].name"),
        ([{"name": "a"}, {"name": "a"}], "each tenant once"),
        ([{"name": "a", "max_stored": 1}], "max_stored"),
        ([{"name": "a", "max_versions": -1}], "tenants[0].max_versions"),
        ([{"name": "a", "max_storage": True}], "tenants[0].max_storage: Expected a string with a unit"),
        ([{"name": "a", "max_storage": "5"}], "tenants[0].max_storage: Expected a size with a unit"),
    ],
)
def test_errors_of_a_tenant_is_reported(tenants: list[dict[str, object]], expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of({"tenants": tenants})
    assert expected in str(caught.value)
