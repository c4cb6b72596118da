"""Names become parts of messages, tokens and paths: nothing beyond the alphabet may pass."""

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headstart_server.errors import InvalidField
from headstart_server.models.names import check_alias_name, check_model_name

LETTERS = set(string.ascii_letters)
FIRST = {check_model_name: LETTERS | set(string.digits), check_alias_name: LETTERS}
REST = LETTERS | set(string.digits) | set("._-")
CHECKS = st.sampled_from([check_model_name, check_alias_name])
NEARLY = st.text(st.sampled_from([*sorted(REST), "/", "\n", " ", "é", "٣", "İ", "\x00"]), max_size=130)


def passes(check, name: str) -> bool:
    try:
        assert check(name) == name
    except InvalidField:
        return False
    return True


@given(CHECKS, st.text(max_size=140) | NEARLY)
@example(check_model_name, "a" * 128)
@example(check_model_name, "a" * 129)
@settings(deadline=None)
def test_exactly_the_names_of_the_alphabet_pass(check, name: str) -> None:
    allowed = 1 <= len(name) <= 128 and name[0] in FIRST[check] and set(name) <= REST
    assert passes(check, name) == allowed


@pytest.mark.parametrize("check", [check_model_name, check_alias_name])
@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        ".",
        "..",
        "a/b",
        "a\\b",
        "name\n",
        "\nname",
        "n\0",
        "٣",
        "na٣",
        "nameé",
        "-a",
        "_a",
        " a",
        "a ",
    ],
)
def test_what_could_do_harm_is_refused(check, name: str) -> None:
    assert not passes(check, name)


def test_a_model_may_begin_with_a_digit_and_an_alias_may_not() -> None:
    assert passes(check_model_name, "2024-pets")
    assert not passes(check_alias_name, "2024-pets")


def test_the_refusal_names_the_field_what_was_expected_and_what_came() -> None:
    with pytest.raises(InvalidField) as caught:
        check_model_name("../x", "spec.model")
    assert caught.value.field == "spec.model"
    assert caught.value.message == (
        "Expected a model name of 1 to 128 of the characters a-z A-Z 0-9 . _ - that begins with a letter or "
        "a digit. Received: '../x'."
    )
    with pytest.raises(InvalidField) as caught:
        check_alias_name("9", "alias")
    assert caught.value.field == "alias"
    assert caught.value.message.endswith("that begins with a letter. Received: '9'.")


def test_a_very_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidField) as caught:
        check_model_name("x" * 100_000)
    assert caught.value.message.endswith(f"Received: '{'x' * 40}'... (100000 characters).")
