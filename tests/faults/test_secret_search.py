"""The search for a planted key finds it however it is written; what takes keys out of texts leaves nothing of it."""

from __future__ import annotations

import base64
import urllib.parse
from pathlib import Path

import pytest

from agentdash.secret import Secret, know_environment, redact
from tests.faults.secrets import leaks

KEY = "yr5Canary.Gk3ZpX3LkV5tR2mN8bY4cJ6hG0sDfA1"
OTHER = "pw7Canary-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4"


SPELLINGS = (
    KEY,
    KEY[9:22],
    base64.b64encode(f"user:{KEY}".encode()).decode(),
    base64.urlsafe_b64encode(f"me:{KEY}".encode()).decode(),
    base64.b64encode(KEY.encode()).decode(),
    urllib.parse.quote(f"a b/{KEY}", safe=""),
    "".join(f"%{byte:02X}" for byte in KEY.encode()),
    KEY.encode().hex().upper(),
    "\x1b[31m".join(KEY),
    f"│ {KEY[:9]} ││ abc │\r\n\x1b[2;3H│ {KEY[9:19]} ││ def │\r\n│ {KEY[19:]} ││ ghi │",
)


@pytest.mark.parametrize("written", SPELLINGS)
def test_the_search_finds_every_spelling(written: str) -> None:
    (found,) = leaks([], [f"before {written} after"], [KEY])
    assert KEY[:8] not in found


def test_the_search_finds_it_in_files_and_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0" * 5000 + KEY[:13].encode())
    (tmp_path / f"task-{KEY[5:20]}.lock").touch()
    (tmp_path / "link").symlink_to(KEY)
    assert len(leaks([tmp_path], {}, [KEY])) == 3


def test_the_search_is_quiet_about_what_may_be_shown() -> None:
    assert leaks([], [KEY[:12], KEY[-12:], "\x1b[31m".join(KEY[:12]), "x".join(KEY)], [KEY, OTHER]) == []


@pytest.mark.parametrize(
    "written",
    [
        *SPELLINGS[:5],
        urllib.parse.quote(f"{KEY}/+=", safe=""),
        f"{KEY[:14]}***",
        f"***{KEY[-13:]}",
        (KEY[9:] + KEY) * 90,
    ],
)
def test_nothing_of_a_known_key_is_left(written: str) -> None:
    Secret(KEY)
    for text in (f"before {written} after", f"before {written} after"[: len(written) // 2 + 7], written * 2):
        assert leaks([], [redact(text)], [KEY]) == []
    assert redact(f"before {written} after").startswith("before ")
    assert redact(f"before {written} after").endswith(" after")


def test_what_is_short_or_common_stays() -> None:
    Secret(KEY)
    for text in (f"{KEY[:12]} and {KEY[-12:]}", "an ordinary sentence of words", base64.b64encode(b"x" * 60).decode()):
        assert redact(text) == text


def test_secrets_that_stand_in_the_environment() -> None:
    know_environment(
        {
            "SOME_API_KEY": "xk1-0123456789-abcdefgh",
            "SOME_SERVICE_TOKEN": " tk2-0123456789-abcdefgh ",
            "https_proxy": "http://user:pw3-proxy@proxy.example:3128/",
            "ANTHROPIC_CUSTOM_HEADERS": "X-One: hd4-0123456789\nX-Two: short",
            "MAX_TOKEN": "4096",
            "MY_TOKENS": "these-are-no-secret",
        }
    )
    said = "xk1-0123456789-abcdefgh tk2-0123456789-abcdefgh pw3-proxy hd4-0123456789 short 4096 these-are-no-secret"
    assert redact(said) == " ".join(["[redacted]"] * 4) + " short 4096 these-are-no-secret"
