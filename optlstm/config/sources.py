"""Where a config comes from: study file, environment, `--set`, flags, and which of them wins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path
from typing import Any

from optlstm.config.schema import CHOICES
from optlstm.config.validate import attempt
from optlstm.errors import InputError, Problem, did_you_mean
from optlstm.tasks.options import FILES


def read_toml(path: Path) -> dict[str, Any]:
    """Raises InputError when there is no such file or it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else ())
        if not near and not path.suffix:
            near = f"; a study's name is --name {path}"
        raise InputError(f"study file: {path} does not exist{near}") from None
    except OSError as error:
        raise InputError(f"study file: {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of numbers and tables beyond what Python takes
        if path.name.endswith((".csv", ".csv.gz", ".parquet")):
            line = f"study file: {path} looks like a data file; give it with --data {path}"
            raise InputError(Problem(line, {"data.path": str(path)}, without=str(path))) from None
        raise InputError(f"study file: {path} is not TOML: {error}") from None


def read_override(text: str) -> dict[str, Any]:
    """`space.dropout.high=0.3` as the nested table it stands for; the value is TOML, or else plain text.

    Raises:
        InputError: There is no `=`, or no key before it.
    """
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InputError(f"--set {text}: use section.key=VALUE, for example --set training.epochs=20")
    parsed: Any = value.strip()  # `--set sampler.name=tpe`: a shell has eaten the quotes
    for toml in (value, re.sub(r"(?<![\w.])\.(?=\d)", "0.", value)):  # `.8` is no number in TOML
        with suppress(ValueError, RecursionError):
            parsed = tomllib.loads(f"value = {toml}")["value"]
            break
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def read_layers(
    study_file: Path | None, environment: Mapping[str, Any], overrides: Sequence[str], flags: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Flags over `--set` over the environment over the study file, and the problems of overrides that cannot be read.

    Raises:
        InputError: The study file cannot be read; without it, checking the rest would only mislead.
    """
    problems: list[str] = []
    tables = [attempt(problems, partial(read_override, text)) or {} for text in overrides]
    raw: dict[str, Any] | None = {}
    if study_file and study_file.suffix == ".py":  # a custom objective
        raw = {"objective": str(study_file)}
    elif study_file:
        raw = attempt(problems, partial(read_toml, study_file))
    if raw is None:
        raise InputError(problems)
    # What was typed belongs together: `--pruner asha --set pruner.grace_period=2` is one choice with its option.
    typed = reduce(_merged, [*tables, flags])
    raw = layer(layer(raw, environment), typed)
    data = raw.get("data")
    if isinstance(data, Mapping):  # to be continued from any folder
        paths = {key: data[key] for key in FILES if isinstance(data.get(key), str)}
        raw["data"] = {**data, **{key: str(Path(path).expanduser().absolute()) for key, path in paths.items()}}
    if isinstance(raw.get("objective"), str):
        raw["objective"] = str(Path(raw["objective"]).expanduser().absolute())
    return raw, problems


def layer(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `top` says; tables are merged, except that another sampler or pruner starts without options."""
    return _merged({key: value for key, value in base.items() if not _is_renamed(key, value, top.get(key))}, top)


def _is_renamed(key: str, old: Any, new: Any) -> bool:
    if key not in CHOICES or not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return False
    before = old.get("name", CHOICES[key])
    return bool(new.get("name", before) != before)


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
