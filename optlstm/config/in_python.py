"""What a message says to type on the command line, as keyword arguments of `tune`, `predict` and `score`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from optlstm.config.flags import FLAGS
from optlstm.errors import InputError

_LOGGER = logging.getLogger("optlstm.tasks.forecast.predictor")  # its lines name flags
_FLAT = ("data", "training")  # sections whose keys stand alone
_OF_KEYS = [flag for flag in FLAGS if flag.key.partition(".")[0] in _FLAT]
_NAMES = {flag.name: flag.key for flag in _OF_KEYS if not flag.is_switch} | {"--task": "task"}
_SWITCHES = {flag.name: flag.key.partition(".")[2] for flag in _OF_KEYS if flag.is_switch}
_OTHERS = {"--level": "levels", "--from": "start", "--plot-series": "series"}  # of predict and refit
_OTHERS |= {"--no-refit": "retrain=False", "--no-ensemble": "ensemble=False"}
_OTHERS |= {f"--{name}": name for name in ("backtest", "quantiles", "samples", "anomalies", "ahead", "gaps", "short")}
_OTHERS |= {f"--{name}": name for name in ("top", "trial", "pick", "seeds", "averaging", "rivals", "threshold")}
_VALUE = r"""('[^']*'|"[^"]*"|[^\s;,:()'"]+(?:,[^\s;,:()'"]+)*)"""
_FLAG = re.compile(rf"({'|'.join(sorted(_NAMES, reverse=True))}) (?!(?:and|or|is|are|for|to|needs)\b){_VALUE}")
_FOLLOWED = re.compile(rf"({_FLAG.pattern}) (?=(?:{'|'.join(_NAMES)}) )")  # by another flag
_SWITCH = re.compile(rf"({'|'.join(_SWITCHES)})(?=$|[.;:)] ?)")
_OTHER = re.compile(rf"(?<![\w-])({'|'.join(_OTHERS)})(?![\w-])")
_SET = re.compile(rf"--set ([a-z_.]+)={_VALUE}(?:, or =([\w-]+))?")


def in_python(line: str) -> str:
    """`gaps="interpolate"` for `--gaps interpolate`, `sort=True` for `--set data.sort=true`."""
    line = _SET.sub(
        lambda match: _argument(match[1], match[2]) + (f", or {_literal(match[3])}" if match[3] else ""), line
    )
    line = _SWITCH.sub(lambda match: f"{_SWITCHES[match[1]]}=True", line)
    line = _FLAG.sub(lambda match: _argument(_NAMES[match[1]], match[2]), _FOLLOWED.sub(r"\1, ", line))
    return _OTHER.sub(lambda match: _OTHERS[match[1]], line)


@contextmanager
def errors_in_python() -> Iterator[None]:
    """Errors, and what is logged of the data, say what to type in Python."""
    _LOGGER.addFilter(in_words := _InPython())
    try:
        yield
    except InputError as error:
        raise type(error)([in_python(problem) for problem in error.problems]) from error
    finally:
        _LOGGER.removeFilter(in_words)


class _InPython(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = in_python(record.getMessage()), ()
        return True


def _argument(key: str, value: str) -> str:
    section, dot, name = key.rpartition(".") if key != "data.path" else ("", "", "data")
    if not dot or section in _FLAT:
        return f"{name}={_literal(value)}"
    return f'{section}={{"{name}": {_literal(value)}}}'


def _literal(value: str) -> str:
    text = value.strip("'\"")
    if text in ("true", "false"):
        return text.capitalize()
    number = text == value and (text == "N" or re.fullmatch(r"-?\d+(\.\d+)?", text))
    return text if number else f'"{text}"'
