"""Secrets are used and never printed, whatever prints them."""

import copy
import dataclasses
import gc
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from fakes import FakeBackbone, FakeSource
from headstart import TlsConfig
from headstart.cli.session import GlobalOptions, Session
from headstart_server.app.lifecycle import App
from headstart_server.auth.authenticator import Credentials
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.settings.secret import Secret
from headstart_server.settings.setting import Off
from headstart_server.settings.settings import SETTINGS, Settings
from headstart_server.webhooks.message import read_secrets

PLANTED = "planted-secret"


def failing(secret: Secret[str]) -> str:
    try:
        raise ValueError(secret)
    except ValueError:
        return traceback.format_exc()


def locals_shown(secret: Secret[str]) -> str:
    try:
        raise ValueError
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def logged(secret: Secret[str]) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("secrets")
    logger.addHandler(handler)
    logger.warning("%s %r", secret, secret)
    return stream.getvalue()


def structured(secret: Secret[str]) -> str:
    return str(
        structlog.processors.JSONRenderer()(None, "info", {"event": "a", "key": secret, "in": [secret]})
    )


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "{!r}".format,
        "%s".__mod__,
        lambda secret: repr([secret, {"a": secret}]),
        failing,
        locals_shown,
        logged,
        structured,
        lambda secret: repr(copy.copy(secret)),
        lambda secret: repr(copy.deepcopy({"a": secret})),
    ],
)
def test_a_secret_is_never_printed(shown: Callable[[Any], str]) -> None:
    text = shown(Secret(PLANTED))
    assert PLANTED not in text
    assert "***" in text


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps, vars])
def test_a_secret_cannot_be_written(write: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as caught:
        write(Secret(PLANTED))
    assert PLANTED not in str(caught.value)


def test_a_secret_is_its_value_where_it_is_used() -> None:
    assert Secret(PLANTED).reveal() == PLANTED
    assert Secret(b"key").reveal() == b"key"
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
    assert Secret.of(None) is None
    assert Secret.of("") is None


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    secrets = tmp_path / "secrets"
    secrets.write_text("whsec_" + "YWJj" * 8)
    return Settings.of(
        data_dir=tmp_path / "data",
        port=0,
        metrics_port=Off.OFF,
        default_backbone="fake",
        # SQLite takes no password: its file's name stands for one.
        database=f"sqlite:///{tmp_path}/{PLANTED}.sqlite3",
        webhook=f"https://hooks.example.com/in?token={PLANTED}",
        webhook_secret_file=secrets,
    )


def test_the_settings_print_no_secret(config: Settings) -> None:
    for shown in (repr(config), str(vars(config)), str(dataclasses.asdict(config))):
        assert PLANTED not in shown
    secrets = {name for name, one in SETTINGS.items() if one.is_secret}
    assert secrets == {"database", "webhook", "trace_endpoint", "label_studio_token"}
    assert {name for name in SETTINGS if isinstance(config[name], Secret)} == {"database", "webhook"}
    with pytest.raises(ValueError, match="--trace-endpoint") as caught:
        config.replace(trace_endpoint=f"grpc://user:{PLANTED}@host")
    assert PLANTED not in str(caught.value)


def reachable(start: object) -> Iterator[object]:
    """Every object of the server that others of it lead to."""
    seen: dict[int, object] = {}
    rest = [start]
    while rest:
        found = rest.pop()
        if id(found) in seen:
            continue
        seen[id(found)] = found
        is_ours = type(found).__module__.startswith("headstart_server")
        if is_ours:
            yield found
        if is_ours or isinstance(found, (dict, list, tuple, set, frozenset)):
            rest.extend(each for each in gc.get_referents(found) if not isinstance(each, type))


def test_no_object_of_a_server_prints_a_secret_of_its_settings(config: Settings) -> None:
    # The name of an SQLite file is no secret: that of a webhook is.
    app = App(config.replace(database=None), FakeSource(FakeBackbone()))
    try:
        seen = list(reachable(app))
        assert {"Settings", "JobQueue", "WebhookPolicy", "WebhookSender"} <= {
            type(each).__name__ for each in seen
        }
        for each in seen:
            attributes = getattr(each, "__dict__", {})
            assert PLANTED not in f"{each!r} {attributes!r}", type(each)
    finally:
        app.close()


def test_what_holds_tokens_and_keys_for_a_moment_does_not_print_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text("whsec_" + "cGxhbnRlZC1zZWNyZXQt" * 2)
    options = GlobalOptions(server="s:1", token=PLANTED)
    session = Session(options)
    holders = [
        Credentials(token=PLANTED),
        FineTuneSpec(model="m", backbone="b", webhook=f"https://h/{PLANTED}"),
        TlsConfig(key=PLANTED.encode()),
        options,
        session,
        session.connection,
    ]
    assert session.connection.token == PLANTED
    for each in holders:
        assert PLANTED not in repr(each), type(each)
    assert PLANTED not in repr(read_secrets(path))
    assert Credentials(token=PLANTED).bearer == PLANTED
