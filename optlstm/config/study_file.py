"""A study file with comments, for a person to change: what was given, and every other key with its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optlstm.config.reference import Key, schema_keys
from optlstm.training.hparams import MEANINGS
from optlstm.util.toml_text import toml, toml_key

# What a first study file shows; docs/reference/config.md has every key.
TOP_LEVEL = ("task", "name", "trials", "seed", "timeout", "workers", "backend", "storage")
SECTIONS = ("data", "training", "stop", "sampler", "pruner")
WIDTH = 100


def study_file(
    given: Mapping[str, Any], reasons: Mapping[str, str], space: Mapping[str, Any], head: Sequence[str]
) -> str:
    """The text of the file.

    Args:
        given: Keys with their values, as `data.time`.
        reasons: Why a key has its value.
        space: The task's own, shown as what it may be changed from.
        head: Lines of comment at the top.
    """
    task = str(given["task"])
    keys = [key for key in schema_keys() if not key.tasks or task in key.tasks]
    lines = [
        *_comment(
            *head,
            "A key behind # has the value beside it; without one it is off, or follows from the data.",
        )
    ]
    lines += _entries([key for key in keys if key.name in TOP_LEVEL], given, reasons)
    for section in SECTIONS:
        lines += ["", f"[{section}]", *_entries([key for key in keys if key.section == section], given, reasons)]
    lines += ["", "[space]"]
    lines += _comment("What is searched, and from where to where; a plain value fixes it: hidden_size = 64.")
    for name, value in space.items():
        lines += [*_comment(MEANINGS[name]), f"#{toml_key(name)} = {toml(value)}"]
    return "\n".join(lines) + "\n"


def _entries(keys: Sequence[Key], given: Mapping[str, Any], reasons: Mapping[str, str]) -> Iterator[str]:
    for key in keys:
        name = key.name.rpartition(".")[2]
        yield from _comment(key.meaning, *([reasons[key.name]] if key.name in reasons else []))
        if key.name in given:
            yield f"{name} = {toml(given[key.name])}"
        else:
            yield f"#{name} = {key.default}".rstrip()


def _comment(*lines: str) -> Iterator[str]:
    for line in lines:
        yield from (f"# {part}" for part in textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False))
