"""What the bytes of a text may be that is no UTF-8."""

from __future__ import annotations

import re

# Bytes that are no UTF-8, as `errors="surrogateescape"` reads them.
_STRAY = re.compile("[\udc80-\udcff]")
_MANY = re.compile("[\udc80-\udcff]{3}")  # in a row: no western language has so many letters with accents together
_CONTROL = re.compile("[\udc80-\udc9f]")  # where Latin-1 has no letters


def guess_encoding(text: str) -> tuple[str, str | None]:
    """(what a text read with `errors="surrogateescape"` seems to be, the text read so; None: it cannot be told)."""
    if _MANY.search(text):
        return "perhaps the code page of another alphabet (windows-1251, if it is Cyrillic)", None
    if _CONTROL.search(text):
        return "it looks like windows-1252", _read_as(text, "cp1252")
    return "it looks like Latin-1", _read_as(text, "latin-1")


def _read_as(text: str, encoding: str) -> str:
    return _STRAY.sub(lambda match: bytes([ord(match[0]) & 0xFF]).decode(encoding, "replace"), text)
