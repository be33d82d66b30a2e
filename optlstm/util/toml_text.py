"""Values as a study file writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(value: Any) -> str:
    """A value in one line of TOML; JSON's strings and numbers are TOML's too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(k)} = {toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def toml_key(key: str) -> str:
    plain = all(c.isascii() and (c.isalnum() or c in "_-") for c in key) and key
    return key if plain else json.dumps(key, ensure_ascii=False)
