"""A config says what is wrong with it, and survives JSON."""

from __future__ import annotations

import json

import pytest

from agentdash.errors import UsageError
from agentdash.simulator import (
    FailureRates,
    KeyBehaviour,
    KeyConfig,
    Kind,
    Latency,
    Limit,
    LimitChange,
    OrganizationConfig,
    Rule,
    SimulatorConfig,
    Storm,
)


@pytest.mark.parametrize(
    "config",
    [
        SimulatorConfig(),
        SimulatorConfig.demo(seed=7),
        SimulatorConfig.simple(4, organizations=2, answer_tokens=20, tool_use=True),
        SimulatorConfig(
            organizations=(
                OrganizationConfig("o", Limit(5, 1), retry_after="date", headers="none", workspace_id="w"),
                OrganizationConfig("p", remaining="lies", schedule=(LimitChange(8, 0.5), LimitChange(16, 2))),
            ),
            keys=(KeyConfig("k", "o", KeyBehaviour("quota", daily_requests=3, storms=(Storm(0, 1),)), name="first"),),
            failures=FailureRates(overloaded=0.25, hang=0.5, storms=(Storm(1, 2, Kind.API_ERROR),)),
            latency=Latency("uniform", 0.1, 0.2),
            rules=(Rule("bad", Kind.INVALID_REQUEST, times=2, per_prompt=True),),
            models=("m",),
            max_records=10,
            clock_offset_s=-300,
            timed_from="first_request",
        ),
    ],
    ids=["default", "demo", "simple", "everything"],
)
def test_json_round_trip(config: SimulatorConfig) -> None:
    assert SimulatorConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "simulator config: expected an object, found a list"),
        ("{", "not JSON"),
        ('{"sed": 1}', "unknown field 'sed'"),
        ('{"seed": "x"}', "simulator config.seed: expected int, found a string"),
        ('{"seed": true}', "expected int"),
        ('{"failures": {"api_errors": 1}}', "simulator config.failures: unknown field 'api_errors'"),
        ('{"failures": {"api_error": 1.5}}', "failures.api_error: expected a probability"),
        ('{"failures": {"api_error": 0.6, "overloaded": 0.6}}', "add up to more than 1"),
        ('{"rules": [{"pattern": "("}]}', "field 'kind' is missing"),
        ('{"rules": [{"pattern": "(", "kind": "hang"}]}', "not a regular expression"),
        ('{"rules": [{"pattern": "a", "kind": "nope"}]}', r"rules\[0\].kind: expected one of"),
        ('{"rules": [{"pattern": "a", "kind": "pending"}]}', "cannot be asked for"),
        ('{"keys": [{"key": "a", "organization": "nowhere"}]}', "unknown organization 'nowhere'"),
        ('{"keys": [{"key": "", "organization": "org-a"}]}', "a key is empty"),
        ('{"organizations": [{"name": "a"}, {"name": "a"}]}', "two have the same name"),
        ('{"answer_tokens": [9, 3]}', "answer_tokens"),
        ('{"organizations": [{"name": "a", "remaining": "all"}]}', "expected one of 'bucket', 'minute', 'lies'"),
        ('{"organizations": [{"name": "a", "schedule": [{"at_s": 1, "factor": -1}]}]}', "schedule: at_s and factor"),
        (
            '{"organizations": [{"name": "a", "schedule": [{"at_s": 2, "factor": 1}, {"at_s": 1, "factor": 1}]}]}',
            "a: the schedule is not in the order of time",
        ),
        ('{"clock_offset_s": NaN}', "clock_offset_s: at most a year"),
        ('{"latency": {"distribution": "normal"}}', "expected one of 'fixed'"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SimulatorConfig.from_json(text)


def test_a_key_is_not_in_any_repr() -> None:
    config = SimulatorConfig(keys=(KeyConfig("very-secret", "org-a"),))
    assert "very-secret" not in repr(config)
    assert json.loads(config.to_json())["keys"][0]["name"] == "key-1"
