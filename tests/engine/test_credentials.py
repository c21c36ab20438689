"""Where keys come from, and what is said of those that cannot be used: the variable's name, never the value."""

from __future__ import annotations

from typing import Any

import pytest

from agentdash import APICredential
from agentdash.engine.credentials import load_credentials, require_credentials
from agentdash.errors import CredentialsError
from tests.support.virtual_loop import EPOCH

A, B, C = "key-aaaaaaaaaaaaaaaaaaaa", "key-bbbbbbbbbbbbbbbbbbbb", "key-cccccccccccccccccccc"


def keys(environ: dict[str, str], configured: tuple[dict[str, Any], ...] = ()) -> list[tuple[str, str]]:
    return [(c.name, c.api_key.reveal()) for c in load_credentials(environ, configured).credentials]


def test_numbered_keys_in_order_of_their_numbers() -> None:
    environ = {"ANTHROPIC_API_KEY_10": C, "ANTHROPIC_API_KEY_2": B, "ANTHROPIC_API_KEY_1": A}
    assert keys(environ) == [("key-1", A), ("key-2", B), ("key-10", C)]


def test_numbered_keys_go_before_the_single_one() -> None:
    assert keys({"ANTHROPIC_API_KEY": A, "ANTHROPIC_API_KEY_1": B}) == [("key-1", B)]


def test_the_single_key() -> None:
    loaded = load_credentials({"ANTHROPIC_API_KEY": A, "ANTHROPIC_BASE_URL": "http://localhost:8080/"})
    (credential,) = loaded.credentials
    assert (credential.name, credential.base_url, credential.server) == (
        "key-1",
        "http://localhost:8080",
        "http://localhost:8080",
    )
    assert loaded.notes == ()
    assert load_credentials({"ANTHROPIC_API_KEY": A}).credentials[0].server == "https://api.anthropic.com"


def test_base_url_and_model_of_each_number() -> None:
    loaded = load_credentials(
        {
            "ANTHROPIC_API_KEY_1": A,
            "ANTHROPIC_BASE_URL_1": "https://one.example",
            "ANTHROPIC_MODEL_1": "m1",
            "ANTHROPIC_API_KEY_2": B,
            "ANTHROPIC_BASE_URL": "https://all.example/v1/",
            "ANTHROPIC_MODEL": "m",
            "ANTHROPIC_MODEL_3": "of no key",
        }
    )
    assert [(c.base_url, c.model) for c in loaded.credentials] == [
        ("https://one.example", "m1"),
        ("https://all.example/v1", "m"),
    ]


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        ((1, 3), "ANTHROPIC_API_KEY_2 is not set, although ANTHROPIC_API_KEY_3 is"),
        ((2, 5), "ANTHROPIC_API_KEY_1, ANTHROPIC_API_KEY_3, ANTHROPIC_API_KEY_4 are not set, although"),
        ((1, 90), ", … are not set, although ANTHROPIC_API_KEY_90 is"),
    ],
)
def test_gaps_are_reported_and_everything_is_used(numbers: tuple[int, ...], note: str) -> None:
    loaded = load_credentials({f"ANTHROPIC_API_KEY_{n}": f"{A}{n}" for n in numbers})
    assert len(loaded.credentials) == len(numbers)
    assert len(loaded.notes) == 1
    assert note in loaded.notes[0]


def test_other_spellings_are_no_numbers() -> None:
    environ = dict.fromkeys(
        [f"ANTHROPIC_API_KEY{suffix}" for suffix in ("_0", "_01", "_x", "_1_OLD", "_", "S", "_-1", "_1 ", "_10000")], A
    )
    assert keys(environ) == []


@pytest.mark.parametrize("blank", ["", " ", "\t", "\n"])
def test_an_empty_variable_is_not_set(blank: str) -> None:
    assert keys({"ANTHROPIC_API_KEY": blank, "ANTHROPIC_API_KEY_1": blank}) == []
    assert keys({"ANTHROPIC_API_KEY": A, "ANTHROPIC_API_KEY_1": blank}) == [("key-1", A)]


def test_the_same_key_twice_is_used_once_and_said() -> None:
    loaded = load_credentials({"ANTHROPIC_API_KEY_1": A, "ANTHROPIC_API_KEY_2": B, "ANTHROPIC_API_KEY_3": A})
    assert [c.name for c in loaded.credentials] == ["key-1", "key-2"]
    assert loaded.notes == ("key-3 is the same key as key-1 and is used once",)


def test_the_same_key_at_two_servers_is_two_credentials() -> None:
    loaded = load_credentials(
        {
            "ANTHROPIC_API_KEY_1": A,
            "ANTHROPIC_API_KEY_2": A,
            "ANTHROPIC_BASE_URL_2": "https://gateway.example",
        }
    )
    one, two = loaded.credentials
    assert one.fingerprint != two.fingerprint  # clients, pools and the store tell them apart by it


def test_blanks_around_a_key_are_dropped() -> None:
    assert keys({"ANTHROPIC_API_KEY": f"  {A} "}) == [("key-1", A)]


@pytest.mark.parametrize(
    "value",
    [f"{A}\n", f"\n{A}", f"{A[:10]}\r\n{A[10:]}", f"{A[:10]} {A[10:]}", f"{A}\x07", f"{A}\x00", f"{A}é", f"\ufeff{A}",
     f"{A}\u2028", f"{A}\t", "ключ-ключ-ключ", f"{A}\ud800"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_7"])
def test_a_key_that_cannot_be_sent_is_named_never_shown(value: str, variable: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        load_credentials({variable: value})
    shown = f"{caught.value.message} {caught.value.hint} {caught.value!r}"
    assert f"{variable} has a " in shown
    assert A[:8] not in shown
    assert "ключ" not in shown
    assert caught.value.exit_code == 2


def test_a_newline_is_called_one() -> None:
    with pytest.raises(CredentialsError, match="ANTHROPIC_API_KEY_2 has a line break in it"):
        load_credentials({"ANTHROPIC_API_KEY_1": A, "ANTHROPIC_API_KEY_2": f"{B}\n"})


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://x", "https://", "http://[", "https://x y", "http://x:99999", "http://x:0", "x"]
)
@pytest.mark.parametrize("variable", ["ANTHROPIC_BASE_URL_1", "ANTHROPIC_BASE_URL"])
def test_a_bad_base_url_is_named_by_the_variable_it_came_from(url: str, variable: str) -> None:
    with pytest.raises(CredentialsError, match=rf"^{variable} is not an http or https URL"):
        load_credentials({"ANTHROPIC_API_KEY_1": A, variable: url})


def test_no_key_at_all_points_to_the_demo_and_the_variables() -> None:
    with pytest.raises(CredentialsError) as caught:
        require_credentials(load_credentials({}))
    assert "agentdash demo" in (caught.value.hint or "")
    assert "ANTHROPIC_API_KEY" in (caught.value.hint or "")


# -- the config file's -------------------------------------------------------------------------------------------------
def test_configured_credentials_name_their_variables() -> None:
    loaded = load_credentials(
        {"TEAM": A, "MINE": B, "ANTHROPIC_API_KEY_1": C, "ANTHROPIC_BASE_URL": "https://all.example"},
        (
            {"api_key_env": "TEAM", "name": "team", "base_url": "https://t.example", "model": "m", "limit_group": "g"},
            {"api_key_env": "MINE"},
        ),
    )
    team, mine = loaded.credentials
    assert (team.name, team.base_url, team.model, team.limit_group) == ("team", "https://t.example", "m", "g")
    assert (mine.name, mine.base_url, mine.api_key.reveal()) == ("key-2", "https://all.example", B)


@pytest.mark.parametrize("entry", [{}, {"api_key_env": ""}, {"api_key_env": 5}, {"name": "x"}])
def test_an_entry_without_a_variable(entry: dict[str, Any]) -> None:
    with pytest.raises(CredentialsError, match="credentials entry 1: `api_key_env` must name"):
        load_credentials({}, (entry,))


def test_an_entry_whose_variable_is_not_set() -> None:
    with pytest.raises(CredentialsError, match="entry 2: the environment variable MISSING is not set"):
        load_credentials({"TEAM": A}, ({"api_key_env": "TEAM"}, {"api_key_env": "MISSING"}))


@pytest.mark.parametrize("key", ["sk-ant-api03-abcdefghijklmnop", "abc.def.ghi", "a key"])
def test_a_key_where_the_variables_name_belongs_is_not_shown(key: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        load_credentials({}, ({"api_key_env": key},))
    assert key not in f"{caught.value.message} {caught.value.hint}"
    assert "api_key_env" in caught.value.message


def test_a_bad_key_of_an_entry_names_its_variable() -> None:
    with pytest.raises(CredentialsError, match="TEAM has a line break"):
        load_credentials({"TEAM": f"{A}\n"}, ({"api_key_env": "TEAM"},))


# -- a credential ------------------------------------------------------------------------------------------------------
def test_the_public_fields() -> None:
    credential = APICredential("key-of-a-library-user-1", base_url="https://x.example", model="m")  # type: ignore[arg-type]
    assert credential.api_key == "key-of-a-library-user-1"
    assert "library-user" not in repr(credential)
    assert (credential.is_exhausted, credential.last_error) == (False, None)


def test_exhausted_until_its_date_comes() -> None:
    credential = load_credentials({"ANTHROPIC_API_KEY": A}).credentials[0]
    credential.is_exhausted, credential.exhausted_until = True, EPOCH + 10
    assert not credential.is_usable(EPOCH + 9)
    assert credential.is_usable(EPOCH + 10)
    assert not credential.is_exhausted
    credential.is_exhausted = True  # without a date: by hand only
    assert not credential.is_usable(EPOCH + 1e9)
