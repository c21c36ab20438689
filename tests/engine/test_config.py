"""Settings: which source wins, and one clear error for each thing that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agentdash.config import Settings, load_settings, user_config_path
from agentdash.errors import UsageError


def load(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    if text:
        (tmp_path / "agentdash.toml").write_text(text)
    return load_settings({"project": tmp_path, **flags}, environ=environ or {})


def test_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings(project=tmp_path)
    assert settings.results_path == tmp_path / "results.jsonl"
    with pytest.raises(AttributeError):
        settings.workers = 3  # type: ignore[misc]


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    user = user_config_path()
    user.parent.mkdir(parents=True)
    user.write_text('workers = 2\nmodel = "u"\nmax_tokens = 7\nlimit = 1')
    text = 'workers = 3\nmodel = "p"\nlimit = 2'
    settings = load(tmp_path, text, {"AGENTDASH_WORKERS": "4", "AGENTDASH_MODEL": "e"}, workers=5)
    assert (settings.workers, settings.model, settings.limit, settings.max_tokens) == (5, "e", 2, 7)
    assert load(tmp_path, text, workers=None).workers == 3


def test_the_number_of_workers_can_be_left_to_the_run(tmp_path: Path) -> None:
    settings = load(tmp_path, workers="auto")
    assert (settings.workers, settings.most_workers) == ("auto", 256)
    assert load(tmp_path, environ={"AGENTDASH_WORKERS": "auto", "AGENTDASH_MAX_WORKERS": "30"}).most_workers == 30
    text = 'workers = "auto"\nmax_workers = 40'
    assert load(tmp_path, text).most_workers == 40
    assert load(tmp_path, text, workers=300).most_workers == 300


def test_a_named_config_replaces_both(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("workers = 9\nresults = 'out/r.jsonl'")
    (tmp_path / "agentdash.toml").write_text("workers = 3\nlimit = 2")
    settings = load_settings({"project": tmp_path}, config=other, environ={})
    assert (settings.workers, settings.limit) == (9, 0)
    assert settings.results_path == tmp_path / "out" / "r.jsonl"
    with pytest.raises(UsageError, match=r"There is no config file .*nope\.toml"):
        load_settings({}, config=tmp_path / "nope.toml", environ={})


def test_every_kind_in_the_environment(tmp_path: Path) -> None:
    environ = {
        "AGENTDASH_TIMEOUT": "2.5",
        "AGENTDASH_STREAM": "FALSE",
        "AGENTDASH_ALLOW_NETWORK_FILESYSTEM": "1",
        "AGENTDASH_RESULTS": "/tmp/r.jsonl",
        "AGENTDASH_LOG_LEVEL": "debug",
        "AGENTDASH_PROJECT": "/elsewhere",
    }
    settings = load(tmp_path, environ=environ)
    assert (settings.timeout_s, settings.stream, settings.allow_network_filesystem) == (2.5, False, True)
    assert (settings.results_path, settings.log_level, settings.project) == (Path("/tmp/r.jsonl"), "debug", tmp_path)
    assert load_settings({}, environ={"AGENTDASH_PROJECT": "/elsewhere"}).project == Path("/elsewhere")


def test_a_variable_set_to_nothing_is_not_set(tmp_path: Path) -> None:
    names = ["WORKERS", "MODEL", "RESULTS", "STREAM", "TIMEOUT", "PROJECT", "SYSTEM"]
    assert load(tmp_path, environ={f"AGENTDASH_{name}": "" for name in names}) == Settings(project=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WORKERS", "0", "workers must be a whole number from 1 to 10000, or auto, not 0."),
        ("WORKERS", "-1", "workers must be a whole number from 1 to 10000, or auto, not -1."),
        ("WORKERS", "x", "workers must be a whole number from 1 to 10000, or auto, not 'x'."),
        ("WORKERS", "2.5", "workers must be"),
        ("WORKERS", "Auto", "workers must be"),
        ("MAX_WORKERS", "auto", "max_workers must be a whole number from 1 to 10000, not 'auto'."),
        ("MAX_WORKERS", "0", "max_workers must be"),
        ("TIMEOUT", "nan", "timeout must be a number of seconds above 0, not nan."),
        ("TIMEOUT", "inf", "timeout must be"),
        ("TIMEOUT", "0", "timeout must be"),
        ("STALL_TIMEOUT", "-1", "stall_timeout must be"),
        ("STREAM", "maybe", "stream must be true or false, not 'maybe'."),
        ("LOG_LEVEL", "loud", "log_level must be one of debug, info, warning, error, not 'loud'."),
        ("MAX_ATTEMPTS", "0", "max_attempts must be"),
    ],
)
def test_values_out_of_range_in_the_environment(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, environ={f"AGENTDASH_{name}": value})
    assert message in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = true", "workers must be"),
        ("workers = '3'", "workers must be"),
        ("workers = 1e3", "workers must be"),
        ("model = ''", "model must be a model's name"),
        ("system = 3", "system must be text"),
        ("timeout_s = 1e10", "timeout must be"),
        ("log_level = ['info']", "log_level must be one of"),
        ("results = 5", "results must be a path"),
        ("results = ''", "results must be a path"),
        ("wokers = 3", "unknown setting 'wokers'"),
        ("project = 'x'", "unknown setting 'project'"),
        ("workers =", "is not valid TOML"),
        ("credentials = 'x'", "are written as [[credentials]] tables"),
        ("credentials = ['x']", "are written as [[credentials]] tables"),
        ("[[credentials]]\nkey_env = 'X'", "credentials entry 1: 'key_env' is unknown"),
        ("[[credentials]]\napi_key_env = 5", "credentials entry 1: 'api_key_env' is unknown or no text"),
    ],
)
def test_bad_config_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert message in caught.value.message


def test_the_nearest_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "wokers = 3")
    assert caught.value.hint == "Did you mean 'workers'?"


@pytest.mark.parametrize("name", ["api_key", "key", "token"])
def test_a_key_in_the_file_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f"[[credentials]]\n{name} = 'sk-ant-api03-secret-secret'")
    assert "holds a key" in caught.value.message
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


def test_credentials_are_handed_on(tmp_path: Path) -> None:
    text = "[[credentials]]\napi_key_env = 'TEAM'\nlimit_group = 'g'\n[[credentials]]\napi_key_env = 'MINE'"
    assert load(tmp_path, text).credentials == (
        {"api_key_env": "TEAM", "limit_group": "g"},
        {"api_key_env": "MINE"},
    )


def test_a_config_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "agentdash.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "agentdash.toml").unlink()
    (tmp_path / "agentdash.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["WORKERS", "TIMEOUT", "STREAM", "RESULTS", "LIMIT", "LOG_LEVEL"]), st.text())
def test_any_text_in_a_variable_is_taken_or_one_clear_error(tmp_path: Path, name: str, value: str) -> None:
    said = name.lower()
    try:
        load(tmp_path, environ={f"AGENTDASH_{name}": value})
    except UsageError as error:
        said = error.message
    assert name.lower() in said
