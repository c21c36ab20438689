"""The environment of a task's program: what it needs to work, the leased key, and nothing else of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from agentdash.engine.credentials import APICredential

PASSED: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
"""What a program gets of the environment of agentdash itself; `*` stands for any end of a name."""


def child_environment(
    ours: Mapping[str, str],
    credential: APICredential | None,
    *,
    passed: Iterable[str] = (),
    fixed: Mapping[str, str],
    base_url_suffix: str = "",
    task_id: str,
    attempt: int,
) -> dict[str, str]:
    """The environment of one attempt's program.

    `passed` names further variables of `ours` (with `*` as in `PASSED`), `fixed` gives values. The key of the lease
    goes in as `ANTHROPIC_API_KEY`, its address as `ANTHROPIC_BASE_URL`; whatever else is set of those is not passed on.
    """
    patterns = (*PASSED, *passed)
    environment = {
        name: value for name, value in ours.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    environment |= {
        "TERM": "dumb",
        "NO_COLOR": "1",
        "AGENTDASH_TASK_ID": task_id,
        "AGENTDASH_ATTEMPT": str(attempt),
        **fixed,
    }
    if credential is not None:
        environment["ANTHROPIC_API_KEY"] = credential.api_key.reveal()
        environment.pop("ANTHROPIC_BASE_URL", None)
        if credential.base_url:
            environment["ANTHROPIC_BASE_URL"] = credential.base_url.rstrip("/") + base_url_suffix
    return environment
