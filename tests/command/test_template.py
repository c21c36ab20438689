"""Commands with placeholders: nothing in a task becomes more than one argument, or a word of a shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.command.template import MissingValueError, fill, placeholders, split
from agentdash.errors import UsageError

text = st.text(max_size=40).filter(lambda value: "\0" not in value)


@given(prompt=text, name=text)
def test_a_value_fills_its_place_and_nothing_else(prompt: str, name: str) -> None:
    filled = fill(["run", "{prompt}", "--name={metadata.name}", "{{prompt}}"], {"prompt": prompt}, {"name": name})
    assert filled == ["run", prompt, f"--name={name}", "{prompt}"]


@given(prompt=text)
def test_for_a_shell_a_value_is_one_word_of_it(prompt: str) -> None:
    (line,) = fill(["printf %s {prompt}"], {"prompt": prompt}, {}, quoted=True)
    assert shlex.split(line) == ["printf", "%s", prompt]


@pytest.mark.parametrize("prompt", ["$(echo x)", "`id`", "'; echo x; '", 'a"b', "\n\n", "*", "~", "!!", "\\", "{id}"])
def test_a_real_shell_reads_it_so_as_well(prompt: str) -> None:
    (line,) = fill(["printf %s {prompt}"], {"prompt": prompt, "id": "no"}, {}, quoted=True)
    assert subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True).stdout == prompt


def test_metadata_is_looked_up_by_its_path_and_written_as_json_where_it_is_no_text() -> None:
    metadata = {"a": {"b": [1, "é"]}, "n": 7, "yes": True, "word": "plain"}
    given = ["{metadata.a.b}", "{metadata.n}", "{metadata.yes}", "{metadata.word}", "{metadata.a}"]
    assert fill(given, {}, metadata) == ['[1, "é"]', "7", "true", "plain", '{"b": [1, "é"]}']


@pytest.mark.parametrize("name", ["metadata.x", "metadata.a.b.c", "metadata.n.m", "system"])
def test_what_a_task_does_not_have_is_named(name: str) -> None:
    with pytest.raises(MissingValueError, match=name):
        fill([f"{{{name}}}"], {}, {"a": {"b": 1}, "n": 7})


@pytest.mark.parametrize("word", ["{}", "{ x }", "${HOME}", "{A}", "{1}", '{"a": 1}', "{", "}", "{prompt", "a{b"])
def test_other_braces_are_left_as_they_are(word: str) -> None:
    assert placeholders([word], "command") == frozenset()
    assert fill([word], {"prompt": "p"}, {}) == [word]


def test_a_placeholder_that_there_is_not_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"no placeholder \{promt\}") as refused:
        placeholders(["a", "{promt}"], "command")
    assert "Did you mean {prompt}?" in str(refused.value.hint)
    with pytest.raises(UsageError):
        placeholders(["{metadata.}"], "command")
    assert placeholders(["{prompt}{id}", "{metadata.a-b.c_d}"], "command") == {"prompt", "id", "metadata.a-b.c_d"}


def test_a_command_line_is_read_as_in_a_shell() -> None:
    assert split("run 'a b' \"{prompt}\" c\\ d", "command") == ("run", "a b", "{prompt}", "c d")
    for bad in ("", "  ", "a 'b", "a\\"):
        with pytest.raises(UsageError, match="command"):
            split(bad, "command")
