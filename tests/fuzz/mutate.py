"""Changes to bytes and to JSON values, drawn at random: from one flipped bit to what an attacker would write."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

_DEEP: Any = []
for _ in range(300):
    _DEEP = [_DEEP]

# What stands where another value is expected.
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, -(2**63) - 1, 10**30),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "0", "1e999", "nan", "x" * 5000, "a.b", "../../../../tmp/x", "/proc/self/environ", "file:///etc/passwd"),
    *("http://127.0.0.1:9/x", "sqlite:///x.db", "\x00", "\x1b[2J\x07", "\u202eabc", "\ud800", "=1+1", "{x}", "%s%n"),
    *("2026-13-40", "9999-12-31", "1600-01-01T00:00:00", "gASVCgAAAAAAAACMBWJ1aWx0lC4="),
    *([], {}, [None], [[]], {"": None}, {"name": "tpe"}, {"low": 1, "high": 0}, {"choices": []}, [0] * 3000, _DEEP),
]
_TOKENS = [
    *(b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", b'"', b"''", b'"""', b",", b";", b"\t"),
    *(b"\n", b"\r", b"\r\n", b"\\", b"#", b"=", b"[", b"]]", b"{", b"}", b"[" * 600, b"{" * 600, b"a." * 600),
    *(
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"-0",
        b"1e999",
        b"1e-999",
        b"9" * 400,
        b"9" * 5000,
        b"99999999999999999999",
        b"0x1F",
        b"1_0",
    ),
    *(b"true", b"null", b"2024-02-30", b"9999-12-31T23:59:60Z", b"0001-01-01", b"2024-01-01T00:00+99:99"),
    *(b" ", b"x" * 9000),
    *(struct.pack("<q", number) for number in (-1, 2**31, 2**40, 2**62)),
]


def mutated_bytes(draw: random.Random, content: bytes) -> bytes:
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        content = draw.choice(_BYTE_CHANGES)(draw, content)
    return content


def mutated_value(draw: random.Random, value: Any) -> Any:
    """A copy of a JSON value with some of its parts replaced, removed, added or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        value = _changed(draw, value)
    return value


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


def _span(draw: random.Random, content: bytes, longest: int = 64) -> tuple[int, int]:
    at = draw.randrange(len(content) + 1)
    return at, min(len(content), at + draw.randint(1, longest))


def _flip(draw: random.Random, content: bytes) -> bytes:
    if not content:
        return content
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _remove(draw: random.Random, content: bytes) -> bytes:
    start, end = _span(draw, content)
    return content[:start] + content[end:]


def _repeat(draw: random.Random, content: bytes) -> bytes:
    start, end = _span(draw, content)
    return content[:end] + content[start:end] * draw.choice([1, 2, 50]) + content[end:]


def _insert(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(_TOKENS) + content[at:]


def _replace_cell(draw: random.Random, content: bytes) -> bytes:
    """A run of letters and digits, which is a number, a name or a date."""
    cells = list(re.finditer(rb"[\w.+-]+", content[:20_000]))
    if not cells:
        return content
    cell = draw.choice(cells)
    return content[: cell.start()] + draw.choice(_TOKENS) + content[cell.end() :]


def _swap(draw: random.Random, content: bytes) -> bytes:
    (a, b), (c, d) = sorted([_span(draw, content), _span(draw, content)])
    return content if c < b else content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


_BYTE_CHANGES: list[Callable[[random.Random, bytes], bytes]] = [
    *(_flip, _flip, _insert, _insert, _replace_cell, _replace_cell, _remove, _repeat, _cut, _swap)
]


def _hostile(draw: random.Random) -> Any:
    return copy.deepcopy(draw.choice(HOSTILE))  # it may be changed in its turn


def _changed(draw: random.Random, value: Any) -> Any:
    """Walks down at random, and changes what it comes to."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        action = draw.random()
        if action < 0.05:
            del value[key]
        elif action < 0.1:
            value[draw.choice(["x", "", "__class__", key + " ", "\ud800"])] = _hostile(draw)
        else:
            value[key] = _changed(draw, value[key])
        return value
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        if draw.random() < 0.2:
            value[at:at] = value[at : at + 1] * draw.choice([1, 2, 100])
        else:
            value[at] = _changed(draw, value[at])
        return value
    if isinstance(value, int | float) and draw.random() < 0.5:
        return draw.choice([value + 1, value - 1, -value, value * 10, str(value), [value], float(value), value * 1e6])
    return _hostile(draw)
