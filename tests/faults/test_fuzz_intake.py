"""Valid task files of every format with bytes changed: tasks, bad lines or bad input, nothing else and nothing odd."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.engine.intake import BadLines, read_tasks
from agentdash.errors import BadInputError
from tests.faults.hostile import SHORT
from tests.faults.mutation import mutated, outcome

_TASKS = (
    {
        "id": "t1",
        "prompt": "é漢 one",
        "system": "be brief",
        "max_tokens": 5,
        "priority": 3,
        "metadata": {"a": [1, None]},
    },
    {"custom_id": "b1", "params": {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}},
    {"prompt": "no id"},
)
_LINES = [json.dumps(task, ensure_ascii=False) for task in _TASKS]
WHOLE = {
    ".jsonl": "\n".join(_LINES).encode(),
    ".json": json.dumps({"requests": _TASKS}, indent=1).encode(),
    ".csv": b'id,prompt,system,max_tokens,priority,extra\nt1,"two\nlines, ""quoted""",s,5,-3,x\nt2,p,,,,\n',
    ".txt": "one prompt\n\n  another é漢  \r\nlast".encode(),
    ".md": b"# A prompt\n\nwith *text*\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: each overwrites its file."""
    return tmp_path_factory.mktemp("intake")


@pytest.mark.parametrize("extension", WHOLE)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_file(extension: str, data: st.DataObject, place: Path) -> None:
    content = data.draw(mutated(WHOLE[extension]))
    path = place / f"file{extension}"
    path.write_bytes(content)
    bad = BadLines()
    found = outcome(lambda: list(read_tasks([str(path)], stdin=io.BytesIO(), bad=bad)), BadInputError)
    if isinstance(found, BadInputError):
        assert path.name in found.message
        assert found.message.isprintable()
        assert len(found.message) < 2000
    else:
        assert found or bad.count
        for spec in found:
            assert 0 < len(spec.id) <= 200
            assert not {unicodedata.category(c) for c in spec.id} & {"Cc", "Cs", "Zl", "Zp"}
            assert isinstance(json.loads(spec.body), dict)
            spec.body.encode()
    assert all(str(line).isprintable() and len(str(line)) < 2000 for line in bad.first)


@pytest.mark.parametrize("item", SHORT)
def test_hostile_text_in_every_field_is_taken_as_it_is_or_refused_by_name(item: str) -> None:
    tasks = [{"id": item, "prompt": "p"}, {"prompt": item, "system": item, "metadata": {item: item}}, {item: 1}]
    for task in tasks:
        bad = BadLines()
        specs = list(read_tasks(["-"], stdin=io.BytesIO(json.dumps(task).encode()), bad=bad))
        assert bool(specs) != bool(bad)
        assert all(str(line).isprintable() for line in bad.first)
        for spec in specs:
            kept = json.loads(spec.body)
            assert item in (spec.id, kept.get("prompt"))
