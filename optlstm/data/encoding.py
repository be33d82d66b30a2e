"""Which encoding a text file has: UTF-8, what its byte order mark says, or windows-1252 where nothing else fits."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from optlstm.data.arrow import Watched
from optlstm.data.file_format import UTF8
from optlstm.data.text_stream import DAMAGED, open_bytes

# Bytes that are no UTF-8, as `errors="surrogateescape"` reads them.
STRAY = re.compile("[\udc80-\udcff]")
_MANY = re.compile("[\udc80-\udcff]{3}")  # in a row: no western language has so many letters with accents together
_CONTROL = re.compile("[\udc80-\udc9f]")  # where Latin-1 has no letters

WESTERN = "windows-1252"
_OTHERS = ("cp1250", "cp1254", "cp1257", "iso8859-2", "iso8859-15")  # that may be taken for it
_CHUNK = 1 << 20
_MOST_WORDS = 10_000
_WORD = re.compile(rb"[^\s,;|\"]{0,40}[\x80-\xff][^\s,;|\"]{0,40}")
_UNIT = re.compile(
    r"(?<![^\W\d_])µ(?:mol|[mgslAVWS])(?![^\W\d_])|(?<=[A-Za-z0-9])²|(?<=m)³(?![^\W\d_])|°(?![^\W\d_]{2})|(?<=\d)\xa0(?=\d{3})"
)
_MARKS = {b"\xef\xbb\xbf": UTF8, b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def told_encoding(path: Path, head: bytes) -> str | None:
    """The encoding, where the file leaves no doubt; None where it must be named. head: the file's first bytes.

    windows-1252 (Latin-1 is a part of it) leaves no doubt where every character beyond ASCII is a letter that the code
    pages of Central Europe, Turkey and the Baltic have in the same place, inside a word of Latin letters, or part of a
    unit (°C, m², µg/m³).
    """
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if marked is not None:
        return marked
    try:
        if _is_utf8(path):
            return UTF8
        words: set[bytes] = set()
        with open_bytes(path) as file:
            watched = Watched(file, path)
            while chunk := watched.read(_CHUNK) + file.readline(_CHUNK):
                words.update(_WORD.findall(chunk))
                if len(words) > _MOST_WORDS:
                    return None
    except DAMAGED:
        return UTF8  # who reads the rows says so
    return WESTERN if all(map(_is_western, words)) else None


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder(UTF8)()
    try:
        with open_bytes(path) as file:
            watched = Watched(file, path)
            while chunk := watched.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def guess_encoding(text: str) -> tuple[str, str | None]:
    """(the likely encoding of a text read with `errors="surrogateescape"`, the text in it; None: unknown)."""
    if _MANY.search(text):
        return "perhaps of another script (Cyrillic: windows-1251, Japanese: shift_jis, Chinese: gbk, big5)", None
    if _CONTROL.search(text):
        return "it looks like windows-1252", _read_as(text, "cp1252")
    return "it looks like Latin-1", _read_as(text, "latin-1")


def _read_as(text: str, encoding: str) -> str:
    return STRAY.sub(lambda match: bytes([ord(match[0]) & 0xFF]).decode(encoding, "replace"), text)


def _is_western(word: bytes) -> bool:
    try:
        text = word.decode(WESTERN)
        without_units = _UNIT.sub("", text)
        beyond = [c for c in without_units if not c.isascii()]
        if not beyond:
            return True
        raw = "".join(beyond).encode(WESTERN)
        alike = all(raw.decode(other) == "".join(beyond) for other in _OTHERS)
    except UnicodeError:
        return False
    letters = sum(c.isascii() and c.isalpha() for c in without_units)
    return alike and all(c.isalpha() for c in beyond) and letters >= 2 and not re.search(r"[^\x00-\x7f]{3}", text)
