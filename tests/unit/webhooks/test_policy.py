"""Where POSTs may go, and where they must not be led to."""

from collections.abc import Sequence

import pytest

from headstart_server.errors import InvalidField
from headstart_server.outbound.target import TargetRefusedError
from headstart_server.webhooks.policy import WebhookPolicy

PUBLIC = "93.184.216.34"


def policy(*prefixes: str, at: Sequence[str] = (PUBLIC,), private: bool = False) -> WebhookPolicy:
    return WebhookPolicy(
        prefixes or ("https://hooks.example.com/in/",), allow_private=private, resolve=lambda host, port: at
    )


@pytest.mark.parametrize(
    "uri",
    [
        "https://hooks.example.com/in/a",
        "https://hooks.example.com/in",
        "https://hooks.example.com/in/a?b=c",
        "https://HOOKS.example.com:443/in/a",
    ],
)
def test_urls_within_a_prefix_are_allowed(uri: str) -> None:
    assert policy().check(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "hooks.example.com/in/a",
        "ftp://hooks.example.com/in/a",
        "http://hooks.example.com/in/a",
        "https://hooks.example.com/other",
        "https://hooks.example.com/inside",
        "https://hooks.example.com:444/in/a",
        "https://hooks.example.com.evil.example/in/a",
        "https://evil.example/in/a",
        "https://evil.example#https://hooks.example.com/in/a",
        "https://hooks.example.com/in/../other",
        "https://hooks.example.com/in/%2E%2e/other",
        "https://hooks.example.com/in/..;/other",
        "https://hooks.example.com/in/..%3Bx/other",
        "https://hooks.example.com/in/..",
        "https://hooks.example.com/in%2f..%2fother",
        "https://hooks.example.com@evil.example/in/a",
        "https://user:password@hooks.example.com/in/a",
        "https://hooks.example.com\\@evil.example/in/a",
        "https://hooks.example.com/in/a b",
        "https://hooks.example.com/in/a\r\nHost: evil.example",
        "https://hooks.example.com:port/in/a",
        "https://hooks.example.com/in/" + "a" * 2048,
        "https://[::1/in/a",
    ],
)
def test_all_other_urls_are_refused(uri: str) -> None:
    with pytest.raises(InvalidField, match="Expected") as caught:
        policy().check(uri)
    assert caught.value.field == "spec.webhook"
    assert "password" not in caught.value.message
    with pytest.raises(TargetRefusedError):
        policy().target(uri)


def test_a_prefix_of_a_host_alone_does_not_allow_hosts_that_begin_with_it() -> None:
    only = policy("https://hooks.example.com")
    assert only.check("https://hooks.example.com/a")
    with pytest.raises(InvalidField):
        only.check("https://hooks.example.company/a")


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(InvalidField):
        WebhookPolicy(()).check("https://example.com/")


def test_the_servers_own_url_is_for_the_server_alone() -> None:
    own = "https://ops.example.com/ended?token=t"
    mine = WebhookPolicy((), own=own, resolve=lambda host, port: [PUBLIC])
    assert mine.target(own).path == "/ended?token=t"
    with pytest.raises(InvalidField):
        mine.check(own)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:5ef5:79fd::1",
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "5f00::1",
        "192.0.0.8",
    ],
)
def test_addresses_that_are_not_of_the_internet_are_refused_unless_allowed(address: str) -> None:
    uri = "https://hooks.example.com/in/a"
    with pytest.raises(TargetRefusedError, match="that is not public"):
        policy(at=[address]).target(uri)
    # A name that has both is no honest one.
    with pytest.raises(TargetRefusedError):
        policy(at=[PUBLIC, address]).target(uri)
    assert policy(at=[address], private=True).target(uri).address == address


def test_what_was_checked_is_what_is_connected_to() -> None:
    target = policy(at=[PUBLIC, "1.1.1.1"]).target("https://hooks.example.com/in/a?b=c")
    assert (target.address, target.port, target.host, target.path) == (
        PUBLIC,
        443,
        "hooks.example.com",
        "/in/a?b=c",
    )
    assert target.authority == "hooks.example.com"
    assert policy("http://[::1]:8080", private=True).target("http://[::1]:8080/x").authority == "[::1]:8080"


def test_a_prefix_that_is_no_url_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match="Expected an http or https URL as a webhook"):
        WebhookPolicy(["hooks.example.com"])


def test_a_tenant_may_name_only_its_urls() -> None:
    each = policy("https://hooks.example.com/{tenant}/in", "https://all.example.com/")
    mine = "https://hooks.example.com/shop/in/a"
    assert each.check(mine, "shop") == mine
    assert each.target(mine, "shop").path == "/shop/in/a"
    assert each.check("https://all.example.com/x", "farm")
    for tenant in ("farm", "", "shop2"):
        with pytest.raises(InvalidField, match="--allow-webhook"):
            each.check(mine, tenant)
        with pytest.raises(TargetRefusedError):
            each.target(mine, tenant)
    with pytest.raises(InvalidField):
        each.check("https://hooks.example.com/{tenant}/in/a", "shop")


@pytest.mark.parametrize(
    "pattern",
    [
        "https://{tenant}.example.com/",
        "https://hooks.example.com/x-{tenant}/",
        "https://hooks.example.com/?tenant={tenant}",
        "https://{tenant}/{tenant}",
    ],
)
def test_a_tenant_is_a_whole_step_of_a_path(pattern: str) -> None:
    with pytest.raises(ValueError, match="whole path segment"):
        policy(pattern)
