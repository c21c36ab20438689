"""Finds a planted key wherever a program may have left it: in files, file names, captured outputs and processes.

A canary is a key of at least 24 characters that stands nowhere else. It counts as found in any spelling that leads back
to it, and so does any part of it that is longer than `MOST_SHOWN` characters.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
import stat
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

MOST_SHOWN = 12
"""So many characters of a key may be seen: its beginning and end tell keys apart."""

_ANCHOR = 6
_STEP = MOST_SHOWN + 2 - _ANCHOR
"""Every part of `MOST_SHOWN + 1` characters holds a whole anchor that begins at a multiple of this."""

_PIECE_BYTES = 16 * 2**20
_OVERLAP_BYTES = 4096
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
_LAYOUT = re.compile(r"[\s\x00-\x1f\u2500-\u259f\ufffd]+")
"""What a screen puts between the parts of a text that goes on in the next line: blanks, frames, bars."""

_FRAME = re.compile("[\u2502\u2503\u2551\u254e\u2506\u258f\u2595|]")


def leaks(
    folders: Iterable[str | os.PathLike[str]],
    texts: Mapping[str, bytes | str] | Iterable[bytes | str],
    canaries: Iterable[str],
) -> list[str]:
    """Where a canary stands: in the files below the folders (or in their names), or in a captured text.

    Each entry names the place and the spelling, and shows nothing of the key. `texts` are outputs of any kind: a
    terminal's bytes are also read as what is seen of them, with a key that goes on in the next line of a panel.
    """
    wanted = tuple(canaries)
    found = [entry for folder in folders for entry in _in_folder(Path(folder), wanted)]
    named = texts.items() if isinstance(texts, Mapping) else ((f"text {n}", text) for n, text in enumerate(texts, 1))
    for name, text in named:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        found += _in_output(data, name, wanted)
    return found


def process_leaks(pids: Iterable[int], canaries: Iterable[str], files: Iterable[str] = ("cmdline",)) -> list[str]:
    """Where a canary stands in what /proc tells of these processes; one that has ended is passed over."""
    wanted, found = tuple(canaries), []
    for pid in pids:
        for name in files:
            try:
                data = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            found += _in_bytes(data, f"/proc/{pid}/{name}", wanted)
    return found


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and those that they have, as they are now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


# -- files -----------------------------------------------------------------------------------------------------------
def _in_folder(folder: Path, canaries: tuple[str, ...]) -> Iterator[str]:
    """Links are not followed: what they lead to is told by their text, and searched if it lies below as well."""
    for path in (folder, *folder.rglob("*")):
        yield from _in_bytes(os.fsencode(path.name), f"the name of {path}", canaries)
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield from _in_bytes(os.fsencode(path.readlink()), f"the target of {path}", canaries)
            elif stat.S_ISREG(mode):
                yield from _in_file(path, canaries)
        except FileNotFoundError:  # a file that came and went
            continue


def _in_file(path: Path, canaries: tuple[str, ...]) -> Iterator[str]:
    end = b""
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            yield from _in_packed(path, canaries)
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            yield from _in_bytes(end + piece, str(path), canaries)
            end = piece[-_OVERLAP_BYTES:]


def _in_packed(path: Path, canaries: tuple[str, ...]) -> Iterator[str]:
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        return
    yield from _in_bytes(data, f"{path} (unpacked)", canaries)


# -- outputs ---------------------------------------------------------------------------------------------------------
def _in_output(data: bytes, name: str, canaries: tuple[str, ...]) -> list[str]:
    """In the bytes; then in what is left of them without escape sequences; then without the layout as well."""
    found = _in_bytes(data, name, canaries)
    if found:
        return found
    seen = _SEQUENCE.sub(b"", data).decode("utf-8", "replace")
    for text in (seen, _LAYOUT.sub("", seen), *_panels(seen)):
        found = _in_bytes(text.encode(), f"{name} (as it is seen)", canaries)
        if found:
            return found
    return []


def _panels(text: str) -> Iterator[str]:
    """The text of each column of panels: what stands between the same two frames, from line to line."""
    columns: dict[int, list[str]] = {}
    for line in text.splitlines():
        for number, part in enumerate(_FRAME.split(line)):
            columns.setdefault(number, []).append(_LAYOUT.sub("", part))
    yield from ("".join(parts) for parts in columns.values())


# -- spellings -------------------------------------------------------------------------------------------------------
def _in_bytes(data: bytes, place: str, canaries: tuple[str, ...]) -> list[str]:
    """One entry for each canary that is there: the first spelling that is found."""
    found = []
    for number, canary in enumerate(canaries, 1):
        for spelling, (form, least) in _spellings(canary).items():
            at = _part_of(form, least, data)
            if at is not None:
                found.append(f"{place}: canary {number}, {spelling}, at byte {at}")
                break
    return found


def _part_of(form: bytes, least: int, data: bytes) -> int | None:
    """Where the data hold a part of `form` that is at least so many bytes long."""
    for start in range(0, max(1, len(form) - _ANCHOR + 1), _STEP):
        anchor = form[start : start + _ANCHOR]
        at = data.find(anchor)
        while at >= 0:
            before, after = 0, len(anchor)
            while before < start and at > before and data[at - before - 1] == form[start - before - 1]:
                before += 1
            while start + after < len(form) and data[at + after : at + after + 1] == form[start + after :][:1]:
                after += 1
            if before + after >= least:
                return at - before
            at = data.find(anchor, at + 1)
    return None


@cache
def _spellings(canary: str) -> dict[str, tuple[bytes, int]]:
    """How a key may be written → its bytes then, and how many of them in a row count as found."""
    if len(canary) < 2 * MOST_SHOWN:
        raise ValueError("a canary needs 24 characters or more")
    raw, least = canary.encode(), MOST_SHOWN + 1
    quoted = urllib.parse.quote(canary, safe="")
    texts = {
        "plain": canary,
        "url-encoded": quoted,
        "url-encoded in lower case": re.sub("%..", lambda part: part.group().lower(), quoted),
        "url-encoded as a path": urllib.parse.quote(canary),
        "JSON-escaped": json.dumps(canary)[1:-1],
        "JSON-escaped with slashes": json.dumps(canary)[1:-1].replace("/", "\\/"),
        "HTML-escaped": html.escape(canary),
    }
    found = {name: (text.encode(), least) for name, text in texts.items()}
    every = "".join(f"%{byte:02X}" for byte in raw)
    found["url-encoded throughout"] = (every.encode(), 3 * least)
    found["JSON-escaped throughout"] = ("".join(f"\\u{ord(c):04x}" for c in canary).encode(), 6 * least)
    found["hex"] = (raw.hex().encode(), 2 * least)
    found["upper hex"] = (raw.hex().upper().encode(), 2 * least)
    found["UTF-16"] = (canary.encode("utf-16-le"), 2 * least)
    for shift in range(3):  # whatever stands before it, as in `Basic base64(user:key)`
        inner = base64.b64encode(b"\0" * shift + raw + b"\0" * 2)[shift + (shift > 0) : -4]
        found[f"base64 at {shift}"] = (inner, least * 4 // 3)
        found[f"url-safe base64 at {shift}"] = (inner.translate(bytes.maketrans(b"+/", b"-_")), least * 4 // 3)
    unique: dict[bytes, str] = {}
    for name, (form, _) in found.items():
        unique.setdefault(form, name)
    return {name: found[name] for name in unique.values()}
