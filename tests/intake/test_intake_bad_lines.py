"""Every way a line can be wrong, each with its exact place and reason; the good lines around it still come out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentdash.engine.intake import BadLine, BadLines, read_tasks
from agentdash.engine.intake import text as text_module
from agentdash.errors import BadInputError

GOOD = '{"prompt":"good"}'
PARAMS = '{"model":"m","max_tokens":1,"messages":[1]}'
DEEP = "[" * 200 + "]" * 200


def batch(**changes: object) -> str:
    return json.dumps({"custom_id": "c", "params": json.loads(PARAMS) | changes})


BAD_JSON = {
    "{": "invalid JSON at column 2: ",
    "  {'prompt': 1}": "invalid JSON at column 4: ",
    '{"prompt":"a"': "invalid JSON at column 14: ",
    '{"prompt":"a"} {': "invalid JSON at column 16: more text after the end of the value",
    '{"prompt":"a\tb"}': "invalid JSON at column 13: ",
    "nope": "invalid JSON at column 1: ",
    "\x00\x00": "invalid JSON at column 1: ",
    '{"prompt":"a","metadata":{"x":NaN}}': "NaN is not JSON",
    '{"prompt":"a","metadata":{"x":[-Infinity]}}': "-Infinity is not JSON",
    '{"prompt":"a","metadata":{"x":1e999}}': "the number '1e999' is out of range",
    '{"prompt":"a","max_tokens":' + "9" * 10_000 + "}": "an integer of 10,000 digits is out of range",
    '{"prompt":"a","max_tokens":' + "9" * 500 + "}": "max_tokens must be from 1 to 2,147,483,647",
    '{"prompt":"a","prompt":"b"}': "the key 'prompt' appears more than once in one object",
    '{"prompt":"a","metadata":{"k\\u001b":1,"k\\u001b":2}}': ("the key 'k\\x1b' appears more than once in one object"),
    '{"prompt":"a","metadata":{"x":' + DEEP + "}}": "nested too deeply (more than 100 levels)",
    '{"prompt":"a","metadata":{"x":' + "[" * 100_000 + "}}": "nested too deeply (more than 100 levels)",
    "[1]": "a task must be an object, found an array",
    '"text"': "a task must be an object, found a string",
    "null": "a task must be an object, found null",
}
BAD_TASK = {
    "{}": "prompt is missing",
    '{"id":"x"}': "prompt is missing",
    '{"prompt":""}': "prompt is empty",
    '{"prompt":" \\n"}': "prompt is empty",
    '{"prompt":["a"]}': "prompt must be a string, found an array",
    '{"prompt":null}': "prompt must be a string, found null",
    '{"prompt":"\\ud800x"}': "prompt holds the lone surrogate \\ud800, which is no character",
    '{"prompt":"a","metadata":{"k":["\\udfff"]}}': "metadata holds the lone surrogate \\udfff, which is no character",
    '{"prompt":"a","promt":"b"}': "unknown field 'promt' (did you mean 'prompt'?)",
    '{"prompt":"a","Model":"b","zzz":1}': "unknown fields 'Model' (did you mean 'model'?), 'zzz'",
    '{"prompt":"a","\\u001b[2J":1}': "unknown field '\\x1b[2J'",
    '{"prompt":"a","system":1}': "system must be a string, found an integer",
    '{"prompt":"a","model":{}}': "model must be a string, found an object",
    '{"prompt":"a","model":""}': "model is empty",
    '{"prompt":"a","max_tokens":0}': "max_tokens must be from 1 to 2,147,483,647",
    '{"prompt":"a","max_tokens":true}': "max_tokens must be an integer, found a boolean",
    '{"prompt":"a","max_tokens":1.0}': "max_tokens must be an integer, found a number that is not an integer",
    '{"prompt":"a","max_tokens":"1"}': "max_tokens must be an integer, found a string",
    '{"prompt":"a","priority":1000001}': "priority must be from -1,000,000 to 1,000,000",
    '{"prompt":"a","priority":false}': "priority must be an integer, found a boolean",
    '{"prompt":"a","metadata":[]}': "metadata must be an object, found an array",
    '{"prompt":"a","id":""}': "id is empty",
    '{"prompt":"a","id":7}': "id must be a string, found an integer",
    '{"prompt":"a","id":"x\\ny"}': "id holds the control character U+000A at character 2",
    '{"prompt":"a","id":"\\u0085"}': "id holds the control character U+0085 at character 1",
    '{"prompt":"a","id":"a\\u2028"}': "id holds the line separator U+2028 at character 2",
    '{"prompt":"a","id":"a\\udc80"}': "id holds the lone surrogate \\udc80 at character 2",
    '{"prompt":"a","id":"' + "x" * 201 + '"}': "id has 201 characters, at most 200 are allowed",
}
BAD_BATCH = {
    f'{{"params":{PARAMS}}}': "custom_id is missing (the Message Batches form has custom_id and params)",
    '{"custom_id":"c"}': "params is missing (the Message Batches form has custom_id and params)",
    '{"custom_id":"c","params":[]}': "params must be an object, found an array",
    f'{{"custom_id":"","params":{PARAMS}}}': "custom_id is empty",
    f'{{"custom_id":"\\u0007","params":{PARAMS}}}': "custom_id holds the control character U+0007 at character 1",
    f'{{"custom_id":"c","params":{PARAMS},"prompt":"a"}}': (
        "prompt not allowed next to custom_id and params: the two forms do not mix"
    ),
    f'{{"custom_id":"c","params":{PARAMS},"priority":1,"metadata":{{}}}}': (
        "priority, metadata not allowed next to custom_id and params: the two forms do not mix"
    ),
    f'{{"custom_id":"c","parms":{PARAMS}}}': "unknown field 'parms' (did you mean 'params'?)",
    '{"custom_id":"c","params":{"max_tokens":1,"messages":[1]}}': "params.model is missing",
    batch(model=1): "params.model must be a string, found an integer",
    batch(model=""): "params.model is empty",
    batch(max_tokens=0): "params.max_tokens must be from 1 to 2,147,483,647",
    batch(max_tokens=True): "params.max_tokens must be an integer, found a boolean",
    batch(messages={}): "params.messages must be an array, found an object",
    batch(messages=[]): "params.messages is empty",
    batch(x="\ud800"): "params holds the lone surrogate \\ud800, which is no character",
    batch(x=json.loads(DEEP)): "nested too deeply (more than 100 levels)",
}
ALL_BAD = list((BAD_JSON | BAD_TASK | BAD_BATCH).items())


def read(path: Path, content: str | bytes) -> tuple[int, list[BadLine]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    bad = BadLines()
    return sum(1 for _ in read_tasks([str(path)], bad=bad)), list(bad)


@pytest.mark.parametrize(("line", "reason"), ALL_BAD, ids=range(len(ALL_BAD)))
def test_json_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "tasks.jsonl"
    good, (bad,) = read(path, f"{GOOD}\n\n{line}\r\n{GOOD}\n")
    assert good == 2
    assert str(bad).startswith(f"{path}:3: {reason}")
    assert str(bad).isprintable()
    assert reason.endswith(": ") or bad.reason == reason


READABLE = [
    (line, reason)
    for line, reason in ALL_BAD
    if not reason.startswith("invalid JSON") and "\\x00" not in line and len(line) < 100_000
]


@pytest.mark.parametrize(("line", "reason"), READABLE, ids=range(len(READABLE)))
def test_json_array_element(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "tasks.json"
    good, (bad,) = read(path, f"[{GOOD},\n\n{line}\n,{GOOD}]")
    assert (good, bad) == (2, BadLine(str(path), 3, reason))


def test_surrogate_pairs_and_depths_that_are_fine(tmp_path: Path) -> None:
    deep = "[" * 98 + "]" * 98
    content = f'{{"prompt":"\\ud83d\\ude00{"[" * 200}"}}\n{{"prompt":"a","metadata":{{"x":{deep}}}}}'
    assert read(tmp_path / "t.jsonl", content) == (2, [])


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ("a,1,1,x\n", 6, "4 columns, but the header has 3"),
        ("a\n", 6, "1 columns, but the header has 3"),
        (",1,1\n", 6, "prompt is empty"),
        ("a,x,1\n", 6, "max_tokens must be an integer, found a string"),
        ("a,1_0,1\n", 6, "max_tokens must be an integer, found a string"),
        ("a,0,1\n", 6, "max_tokens must be from 1 to 2,147,483,647"),
        ("a,1,9999999\n", 6, "priority must be from -1,000,000 to 1,000,000"),
        ('"a"b,1,1\n', 6, "invalid CSV: ',' expected after '\"'"),
        ('"a,1,1\nb,1,1\n', 6, "invalid CSV: unexpected end of data"),
    ],
)
def test_csv_row(tmp_path: Path, rows: str, line: int, reason: str) -> None:
    path = tmp_path / "tasks.csv"
    good, bad = read(path, f'prompt,max_tokens,priority\n"two\nlines\n",,\n\n{rows}')
    assert (good, bad) == (1, [BadLine(str(path), line, reason)])


def test_directory_files_are_bad_one_by_one(tmp_path: Path) -> None:
    for name, content in {
        "a.md": b"",
        "b.md": b"x\n\xff",
        "c.md": b"fine",
        "d.txt": b"\xff\xfea\0",
        "e\x1b.md": b"x",
    }.items():
        (tmp_path / name).write_bytes(content)
    bad = BadLines()
    assert [spec.id for spec in read_tasks([str(tmp_path)], bad=bad)] == ["c"]
    assert [str(line).removeprefix(f"{tmp_path}/") for line in bad] == [
        "a.md:1: prompt is empty",
        "b.md:2: not UTF-8: byte 0xFF at byte 2 of the file",
        "d.txt:1: UTF-16 text (by its byte order mark)",
        "e\\x1b.md:1: id holds the control character U+001B at character 2",
    ]


def test_an_absurdly_long_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "MAX_BYTES", 100)
    long = '{"prompt":"' + "x" * 500 + '"}'
    path = tmp_path / "t.jsonl"
    assert read(path, f"{GOOD}\n{long}\n{GOOD}\n{{\n{long}") == (
        2,
        [
            BadLine(str(path), 2, "longer than 0 MB"),
            BadLine(str(path), 4, "invalid JSON at column 2: Expecting property name enclosed in double quotes"),
            BadLine(str(path), 5, "longer than 0 MB"),
        ],
    )
    with pytest.raises(BadInputError, match=r"t\.csv:2: longer than"):
        read(tmp_path / "t.csv", "prompt\n" + "x" * 500)
    with pytest.raises(BadInputError, match="larger than") as caught:
        read(tmp_path / "t.json", f"[{long}]")
    assert ".jsonl" in str(caught.value.hint)


def test_the_error_lists_twenty_and_counts_all(tmp_path: Path) -> None:
    bad = BadLines()
    assert not bad
    with pytest.raises(ValueError, match="no bad lines"):
        bad.error()
    bad.add("f", 1, "r")
    assert bad.error().message == "1 bad line:\n  f:1: r"
    path = tmp_path / "t.jsonl"
    path.write_text("{}\n" * 2_000)
    assert list(read_tasks([str(path)], bad=bad)) == []
    assert (len(bad), len(bad.first)) == (2_001, 20)
    error = bad.error()
    assert isinstance(error, BadInputError)
    lines = error.message.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (22, "2,001 bad lines:", "  … and 1,981 more")
    assert lines[2] == f"  {path}:1: prompt is missing"
    assert "--skip-bad" in str(error.hint)
