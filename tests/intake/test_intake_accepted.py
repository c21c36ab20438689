"""What is taken without fuss, and what it becomes."""

from __future__ import annotations

import io
import json
import sys
from hashlib import blake2b
from pathlib import Path

import pytest

from agentdash.engine.intake import BadLines, read_tasks, source_stamp
from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

EXAMPLES = Path(__file__).parents[2] / "examples"


def read(path: Path | str, content: bytes | str | None = None) -> list[TaskSpec]:
    if content is not None:
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
    bad = BadLines()
    specs = list(read_tasks([str(path)], bad=bad))
    assert bad.first == ()
    return specs


def prompts(specs: list[TaskSpec]) -> list[str]:
    return [json.loads(spec.body)["prompt"] for spec in specs]


def test_a_full_task(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    line = (
        '{"metadata": {"b": [1], "a": null}, "max_tokens": 9, "priority": -3, "id": "t/../1", "model": "m",'
        ' "system": "", "prompt": "höi\\n"}'
    )
    (spec,) = read(path, line)
    body = '{"prompt":"höi\\n","system":"","model":"m","max_tokens":9,"metadata":{"a":null,"b":[1]}}'
    digest = blake2b(f"{body}\n-3".encode(), digest_size=16).digest()
    assert spec == TaskSpec("t/../1", body, digest, -3, f"{path}:1", False)


def test_batch_params_stay_as_they_are(tmp_path: Path) -> None:
    params = {
        "temperature": 0.5,
        "model": "m",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "z"}],
        "a": {},
    }
    (spec,) = read(tmp_path / "b.ndjson", json.dumps({"custom_id": "c", "params": params}))
    assert spec.id == "c"
    assert spec.body == '{"params":' + json.dumps(params, separators=(",", ":")) + "}"


def test_without_id_the_content_names_the_task(tmp_path: Path) -> None:
    a, b, c = read(tmp_path / "t.jsonl", '{"prompt":"a"}\n{"prompt":"a","priority":1}\n{"prompt":"b"}')
    assert a.id == blake2b(a.body.encode(), digest_size=8).hexdigest()
    assert len(a.id) == 16
    assert a.auto_id
    assert a.id == b.id != c.id
    assert a.body_hash != b.body_hash


def test_bom_crlf_blank_lines_and_line_numbers(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf\r\n{"prompt":"a"}\r\n\n \t\n  {"prompt":"b"} \r\n{"prompt":"c"}'
    specs = read(tmp_path / "t.jsonl", content)
    assert prompts(specs) == ["a", "b", "c"]
    assert [spec.source.rsplit(":", 1)[1] for spec in specs] == ["2", "5", "6"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x7f"])
def test_only_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    prompt = f"a{separator}b"
    assert prompts(read(tmp_path / "t.jsonl", json.dumps({"prompt": prompt}, ensure_ascii=False))) == [prompt]
    assert prompts(read(tmp_path / "t.txt", prompt + "\n" + prompt)) == [prompt, prompt]


def test_a_prompt_of_five_megabytes(tmp_path: Path) -> None:
    prompt = "ab\n\u00e9" * 1_100_000
    assert prompts(read(tmp_path / "t.jsonl", json.dumps({"prompt": prompt}))) == [prompt]
    assert prompts(read(tmp_path / "t.csv", f'id,prompt\n1,"{prompt}"\n')) == [prompt]
    assert prompts(read(tmp_path / "t.md", prompt)) == [prompt]


@pytest.mark.parametrize("wrap", ["%s", '{"requests": %s}', ' \n{ "requests" :\n%s\n}\n'])
def test_json_array_and_batches_body(tmp_path: Path, wrap: str) -> None:
    array = '[\n{"prompt":"a"},\n\n{"prompt":\n"b"}\n,{"prompt":"c"}]'
    specs = read(tmp_path / "t.json", wrap % array)
    assert prompts(specs) == ["a", "b", "c"]
    first = (wrap % array)[: (wrap % array).index('{"prompt')].count("\n") + 1
    assert [int(spec.source.rsplit(":", 1)[1]) for spec in specs] == [first, first + 2, first + 4]


def test_text_lines_and_prompt_files(tmp_path: Path) -> None:
    assert prompts(read(tmp_path / "t.txt", "one \r\n\n  \n\ttwo")) == ["one ", "\ttwo"]
    (spec,) = read(tmp_path / "Do it.MD", "# Do\r\n\r\nit\r\n\n")
    assert (spec.id, spec.auto_id, prompts([spec])) == ("Do it", False, ["# Do\n\nit"])


def test_a_directory_is_a_prompt_a_file_by_name(tmp_path: Path) -> None:
    for name in ("b.md", "a.v2.txt", "sub/c.md", "ignored.py", ".hidden.md", ".git/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("line one\nline two\n")
    specs = read(tmp_path)
    assert [spec.id for spec in specs] == ["a.v2", "b", "sub/c"]
    assert specs[2].source == f"{tmp_path}/sub/c.md:1"
    assert read(tmp_path / "b.md")[0].id == "b"


def test_csv(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbf\r\nprompt, id ,max_tokens,priority,metadata.lang\r\n"
        b'"two\r\nlines, ""quoted""",x,5,-1,de\r\n\r\n last ,,,,\r\n'
    )
    one, two = read(tmp_path / "t.csv", content)
    assert one.body == '{"prompt":"two\\r\\nlines, \\"quoted\\"","max_tokens":5,"metadata":{"lang":"de"}}'
    assert (one.id, one.priority, two.body, two.auto_id) == ("x", -1, '{"prompt":" last "}', True)
    assert [spec.source.rsplit(":", 1)[1] for spec in (one, two)] == ["3", "6"]


def test_one_content_is_one_task_in_every_format(tmp_path: Path) -> None:
    specs = [
        *read(tmp_path / "t.jsonl", '{"prompt":"p"}'),
        *read(tmp_path / "t.json", '[{"prompt":"p"}]'),
        *read(tmp_path / "t.txt", "p"),
        *read(tmp_path / "t.csv", "prompt,id\np,\n"),
    ]
    assert len({(spec.id, spec.body, spec.body_hash) for spec in specs}) == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = BadLines()
    (spec,) = read_tasks(["-"], stdin=io.BytesIO(b'{"prompt":"a"}\n'), bad=bad)
    assert spec.source == "stdin:1"
    assert prompts(list(read_tasks(["-"], stdin=io.BytesIO(b"a\nb"), bad=bad, stdin_format="txt"))) == ["a", "b"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt":"c"}')))
    assert prompts(list(read_tasks(["-"], bad=bad))) == ["c"]
    with pytest.raises(BadInputError, match="given twice"):
        read_tasks(["-", "-"], bad=bad)


def test_reading_streams(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            line = b'{"prompt":"a"}\n'
            buffer[: len(line)] = line
            return len(line)

    tasks = read_tasks(["-"], stdin=io.BufferedReader(Endless()), bad=BadLines())
    assert [next(tasks).source for _ in range(3)] == ["stdin:1", "stdin:2", "stdin:3"]


@pytest.mark.parametrize(
    ("name", "count"),
    [("prompts.txt", 6), ("tasks.jsonl", 5), ("batch.jsonl", 3), ("tasks.csv", 3), ("prompts", 3)],
)
def test_the_examples(name: str, count: int) -> None:
    specs = read(EXAMPLES / name)
    assert len({spec.id for spec in specs}) == len(specs) == count


def test_stamp(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("a")
    before, folder = source_stamp(path), source_stamp(tmp_path)
    assert before == source_stamp(str(path)) is not None
    assert folder == source_stamp(tmp_path) is not None
    path.write_text("ab")
    assert source_stamp(path) != before
    assert source_stamp(tmp_path) != folder
    assert [source_stamp(name) for name in ("-", "/dev/null", "no\0name", str(tmp_path / "none"))] == [None] * 4
