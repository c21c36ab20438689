"""Bytes to lines of text, bounded: encodings are checked here, once, for all formats.

Lines end at the byte `\\n` only: U+2028 and its like are ordinary characters inside a JSON string.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from agentdash.engine.intake.bad import BadLines
from agentdash.errors import BadInputError

MAX_BYTES = 64 * 1024 * 1024
"""The longest line, and the largest file read whole: more is no task but a mistake, and memory must have an end."""

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),  # before UTF-16, whose mark starts alike
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_SNIFFED = 64


class EncodingError(BadInputError):
    """Bytes that are not UTF-8 text. `line` and `reason` let a directory reader list it among its bad files."""

    def __init__(self, file: str, line: int, reason: str, *, encoding: str | None = None) -> None:
        hint = "Task files are UTF-8."
        if encoding is not None:
            hint += f" Convert it: iconv -f {encoding} -t UTF-8 OLD > NEW"
        super().__init__(f"{file}:{line}: {reason}", hint=hint)
        self.line = line
        self.reason = reason


def text_lines(stream: BinaryIO, file: str, bad: BadLines | None, *, nul: bool = True) -> Iterator[str]:
    """Each line with its line end, as text; a byte order mark is dropped.

    A line over `MAX_BYTES` goes to `bad` and comes out empty, so that counting the lines stays right; where `bad` is
    None (a reader that cannot go on without it) it raises BadInputError.

    Raises EncodingError for what is not UTF-8, and for NUL bytes unless `nul` lets them pass.
    """
    offset = 0
    for number, line in enumerate(iter(partial(stream.readline, MAX_BYTES + 1), b""), 1):
        raw = line
        if number == 1:
            _refuse_wide(line, file)
            raw = line.removeprefix(_BOM)
            offset = len(line) - len(raw)
        size = len(raw)
        if size > MAX_BYTES and not raw.endswith(b"\n"):
            size += _skip_line(stream)
            reason = f"longer than {MAX_BYTES // 2**20} MB"
            if bad is None:
                raise BadInputError(f"{file}:{number}: {reason}", hint="A task's text is at most that long.")
            bad.add(file, number, reason)
            yield ""
        else:
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(file, number, raw[error.start], offset + error.start) from None
            if not nul and "\0" in text:
                raise EncodingError(file, number, f"a NUL byte at byte {offset + raw.index(0)}: this is no text")
            yield text
        offset += size


def whole_text(stream: BinaryIO, file: str, *, nul: bool = True, too_big: str) -> str:
    """All of a small file as text. Raises BadInputError with the hint `too_big` when it is over `MAX_BYTES`."""
    raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise BadInputError(f"{file}: larger than {MAX_BYTES // 2**20} MB", hint=too_big)
    _refuse_wide(raw, file)
    skipped = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        text = raw[skipped:].decode()
    except UnicodeDecodeError as error:
        at = skipped + error.start
        raise _not_utf8(file, raw.count(b"\n", 0, at) + 1, raw[at], at) from None
    if not nul and "\0" in text:
        at = raw.index(0)
        raise EncodingError(file, raw.count(b"\n", 0, at) + 1, f"a NUL byte at byte {at}: this is no text")
    return text


def _skip_line(stream: BinaryIO) -> int:
    """Read to the end of the current line in small pieces; how many bytes that was."""
    skipped = 0
    for piece in iter(partial(stream.readline, 1 << 20), b""):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _refuse_wide(head: bytes, file: str) -> None:
    for mark, name in _WIDE_BOMS:
        if head.startswith(mark):
            raise EncodingError(file, 1, f"{name} text (by its byte order mark)", encoding=name)
    sniffed = head[:_SNIFFED]
    zeros = {index % 2 for index, byte in enumerate(sniffed) if byte == 0}
    # Latin text in UTF-16 has a NUL in every second byte, all at even or all at odd places.
    if len(zeros) == 1 and sniffed.count(0) * 3 >= len(sniffed):
        name = "UTF-16BE" if zeros == {0} else "UTF-16LE"
        raise EncodingError(file, 1, f"{name} text (every second byte is NUL)", encoding=name)


def _not_utf8(file: str, line: int, byte: int, offset: int) -> EncodingError:
    return EncodingError(file, line, f"not UTF-8: byte 0x{byte:02X} at byte {offset} of the file", encoding="LATIN1")
