"""What others wrote is safe to keep and show: no secret, no control characters, bounded."""

from __future__ import annotations

from agentdash.engine.sanitising import clean_message
from agentdash.secret import Secret
from tests.engine.sdkerrors import KEY, answered, failure


def test_no_secret_in_a_message() -> None:
    plain = Secret("a-gateways-own-key-77")
    message = f"key {KEY} of Bearer abcdefgh12345678 and {plain.reveal()} is refused"
    for error in (answered(401, "authentication_error", message), RuntimeError(message)):
        found = failure(error)
        assert KEY not in repr(found)
        assert plain.reveal() not in repr(found)
        assert "abcdefgh12345678" not in repr(found)
        assert "is refused" in found.message


def test_a_secret_at_the_cut_is_not_shown_in_part() -> None:
    secret = Secret("gateway_" + "z" * 60)
    for lead in (1990, 3990):
        found = clean_message("x" * lead + secret.reveal() + "y" * 5000)
        assert "gateway_z" not in found
        assert len(found) <= 2001


def test_control_characters_and_length() -> None:
    found = clean_message("a\x1b[31mred\x07\nb\u202e\ud800 \x9b" + "c" * 10_000)
    assert found.isprintable()
    assert "red" in found
    assert len(found) == 2001
    found.encode()


def test_the_type_is_safe_to_show_too() -> None:
    found = failure(answered(500, f"\x1b]0;{KEY}\x07" + "x" * 5000))
    assert found.error_type.isprintable()
    assert KEY not in found.error_type
    assert len(found.error_type) <= 200
