"""The form of a data file: what a config says about it, and what was understood from the file itself."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from optlstm.util.format import first_few, many, quoted

BLANKS = " "  # as a separator: a run of blanks and tabs
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blanks": BLANKS}
_SHOWN = {",": "commas", ";": "';'", "\t": "tabs", "|": "'|'", BLANKS: "blanks"}
_NO_TEXT = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"}
UTF8 = "utf-8"


@dataclass(frozen=True)
class FileOptions:
    """What a config says about the form of its files; None: each file tells it.

    Args:
        separator: One character; `BLANKS`: runs of blanks and tabs.
        header: False: the first row holds data; a number: the line (from 1) of the header.
        missing: Numbers and texts that stand for a gap.
        usual_decimal: The decimal mark where neither `decimal` nor the file tells it.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | int | None = None
    missing: tuple[float | str, ...] = ()
    usual_decimal: str | None = None

    @property
    def missing_numbers(self) -> tuple[float, ...]:
        return tuple(float(value) for value in self.missing if not isinstance(value, str))

    @property
    def missing_texts(self) -> tuple[str, ...]:
        return tuple(value for value in self.missing if isinstance(value, str))


TOLD = FileOptions()  # each file tells its form


@dataclass(frozen=True)
class FileFormat:
    """How the text of a file is cut into named columns.

    Args:
        names: Of the columns, without surrounding blanks.
        separator: As of `FileOptions`.
        encoding: Python's name of it; UTF-8 may begin with a byte order mark.
        header_line: From 1; 0: there is no header.
        data_line: The line from which on there are rows of data.
        skipped: Lines above the header that are neither blank nor part of the table.
        units: The row under the header that holds no data; empty where there is none.
        quoted: Quotes may be around a cell; else they are a part of it.
        quoted_commas: Commas are between the columns, and in quotes some are decimal ones.
        notes: Rows at the end of a single cell, which are none of the table.
    """

    names: tuple[str, ...]
    separator: str = ","
    encoding: str = UTF8
    header_line: int = 1
    data_line: int = 2
    skipped: int = 0
    units: tuple[str, ...] = ()
    units_line: int = 0
    quoted_commas: bool = False
    quoted: bool = True
    notes: tuple[str, ...] = ()

    def parts(self, marks: str = "") -> list[str]:
        """What differs from commas, UTF-8 and a header in the first line; marks: what was understood of numbers."""
        parts = [] if self.separator == "," else [f"separated by {separator_name(self.separator)}"]
        parts += [marks] if marks else []
        parts += [] if self.encoding == UTF8 else [self.encoding]
        parts += [] if self.quoted else ["quotes are part of the text"]
        if not self.header_line:
            parts.append(f"no header (columns c1 to c{len(self.names)})")
        if self.skipped:
            parts.append(f"{many(self.skipped, 'line')} above the header left out")
        if self.units:
            shown = first_few([quoted(cell.strip()) for cell in self.units if cell.strip()])
            parts.append(f"row {self.units_line} left out, it holds units ({shown})")
        if self.notes:
            shown = first_few([quoted(cell.strip()) for cell in self.notes])
            parts.append(f"{many(len(self.notes), 'row')} of a single cell at the end left out ({shown})")
        return parts


def separator_name(separator: str) -> str:
    """For a message."""
    return _SHOWN.get(separator, quoted(separator))


def separator_problem(text: str) -> str | None:
    """Why this is no separator, in words; None where it is one."""
    if text in SEPARATORS or (len(text) == 1 and not text.isalnum() and text not in "\"'\r\n\0.+-_"):
        return None
    return f"must be one character or one of {', '.join(SEPARATORS)}, got {text!r}"


def encoding_problem(text: str) -> str | None:
    """Why this is no encoding of text, in words; None where it is one."""
    try:
        known = codecs.lookup(text)
        "".encode(text)
    except (LookupError, ValueError, UnicodeError):  # also of codecs that are no text's
        return f"there is no encoding {text!r}; try utf-8, windows-1252, latin-1 or utf-16"
    return f"{text!r} is no encoding of text files" if known.name in _NO_TEXT else None
