"""What is wrong with a file as a whole is said at once, with the place where it goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentdash.engine.intake import BadLines, read_tasks
from agentdash.errors import BadInputError


def message(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        list(read_tasks([str(path)], bad=BadLines()))
    assert all(line.isprintable() for line in caught.value.message.splitlines())
    return caught.value.message.removeprefix(f"{path}")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.jsonl", b"", ": holds no tasks (the file is empty)"),
        ("t.jsonl", b"\xef\xbb\xbf", ": holds no tasks (the file is empty)"),
        ("t.txt", b" \r\n\n", ": holds no tasks (the file is empty)"),
        ("t.md", b"", ": holds no tasks (the file is empty)"),
        ("t.json", b"", ": holds no tasks (the file is empty)"),
        ("t.json", b"[ ]", ": holds no tasks (the file is empty)"),
        ("t.json", b'{"requests":[]}', ": holds no tasks (the file is empty)"),
        ("t.csv", b"prompt\n", ": holds no tasks (the file is empty)"),
        ("t.jsonl", '{"prompt":"a"}\n'.encode("utf-16"), ":1: UTF-16 text (by its byte order mark)"),
        ("t.csv", "prompt\na\n".encode("utf-32"), ":1: UTF-32 text (by its byte order mark)"),
        ("t.json", '[{"prompt":"a"}]'.encode("utf-16-le"), ":1: UTF-16LE text (every second byte is NUL)"),
        ("t.txt", "hello\n".encode("utf-16-be"), ":1: UTF-16BE text (every second byte is NUL)"),
        ("t.jsonl", b'{"prompt":"a"}\n{"prompt":"\xe9"}\n', ":2: not UTF-8: byte 0xE9 at byte 26 of the file"),
        ("t.txt", b"\xef\xbb\xbfa\xff\n", ":1: not UTF-8: byte 0xFF at byte 4 of the file"),
        ("t.md", b"\xef\xbb\xbfa\n\xc3", ":2: not UTF-8: byte 0xC3 at byte 5 of the file"),
        ("t.jsonl", b'{"prompt":"\xed\xa0\x80"}', ":1: not UTF-8: byte 0xED at byte 11 of the file"),
        ("t.txt", b"text\n text\0\n", ":2: a NUL byte at byte 10: this is no text"),
        ("t.md", b"PK\x03\x04\x00rest", ":1: a NUL byte at byte 4: this is no text"),
        ("t.json", b'{"prompt":"a"}\n{"prompt":"b"}', ':1: expected an array of tasks or {"requests": [...]}'),
        ("t.json", b'[\n{"prompt":"a"},\n]', ":3: invalid JSON at column 1: Expecting value"),
        ("t.json", b'[{"prompt":"a"}\n {"prompt":"b"}]', ":2: invalid JSON at column 2: expected ',' or ']'"),
        ("t.json", b'[{"prompt":"a"}', ":1: invalid JSON at column 16: expected ',' or ']'"),
        (
            "t.json",
            b'[{"prompt":"a"}] x',
            ":1: invalid JSON at column 18: more text after the end of the value",
        ),
        ("t.json", b'{"requests":[1],"a":1}', ":1: invalid JSON at column 16: expected '}' after requests"),
        ("t.json", b"[" * 100_000, ":1: nested too deeply (more than 100 levels)"),
        ("t.csv", b"id,promt\n", ":1: unknown column 'promt' (did you mean 'prompt'?)"),
        ("t.csv", b"\nprompt,metadata.\n", ":2: unknown column 'metadata.'"),
        ("t.csv", b"id;prompt\n", ":1: unknown column 'id;prompt' (did you mean 'prompt'?)"),
        ("t.csv", b"prompt,id,prompt\n", ":1: the column 'prompt' appears twice"),
        ("t.csv", b"id,system\n", ":1: there is no column prompt"),
        ("t.csv", b'"id"x,prompt\n', ":1: the header is not valid CSV: ',' expected after '\"'"),
        ("t.yaml", b"", ": unknown extension '.yaml'"),
        ("tasks", b"", ": no extension tells its format"),
    ],
)
def test_file(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    assert message(tmp_path / name, content) == expected


def test_paths(tmp_path: Path) -> None:
    assert message(tmp_path / "none.jsonl") == ": no such file"
    assert message(tmp_path) == ": no task files in this directory"
    assert "cannot be read" in message(Path("a\0b.jsonl"))
    assert "cannot be read" in message(Path("x" * 5_000 + ".jsonl"))
    assert "no such file" in message(Path("\x1b]0;evil.jsonl"))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch(mode=0o000)
    assert message(path) == ": cannot be read: Permission denied"


def test_sources_are_looked_at_before_any_is_read(tmp_path: Path) -> None:
    good = tmp_path / "t.txt"
    good.write_text("a")
    with pytest.raises(BadInputError, match=r"none\.txt: no such file"):
        read_tasks([str(good), str(tmp_path / "none.txt")], bad=BadLines())


def test_unknown_extension_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").touch()
    with pytest.raises(BadInputError) as caught:
        read_tasks([str(tmp_path / "t.jsonl.gz")], bad=BadLines())
    assert all(known in str(caught.value.hint) for known in (".jsonl", ".ndjson", ".json", ".txt", ".md", ".csv", "-"))


def test_intake_imports_nothing_heavy() -> None:
    code = (
        "import sys, agentdash.engine.intake; "
        "print({'anthropic', 'textual', 'rich', 'click', 'pydantic', 'asyncio'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
