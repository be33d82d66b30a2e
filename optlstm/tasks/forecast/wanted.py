"""What is asked of a forecaster beside point forecasts, and whether the model can give it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from optlstm.errors import InputError, did_you_mean
from optlstm.tasks.forecast.conformal import LEVELS, highest_level

_log = logging.getLogger(__name__)

_ANOMALY_LEVEL = 99  # percent, where none is asked for


@dataclass(frozen=True)
class Wanted:
    """Options of `predict`, as of `ForecastPredictor`; of any type, until `check` has passed."""

    backtest: Any = 0
    levels: Any = ()
    quantiles: Any = ()
    samples: Any = 0
    anomalies: Any = False
    ahead: Any = 1

    @classmethod
    def of(cls, **options: Any) -> Wanted:
        """Raises InputError for an option that there is not."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise InputError([f"{name}: no such option of predict{did_you_mean(name, known)}" for name in unknown])
        return cls(**options)

    def check(self, calibrated: int, paths: int, horizon: int) -> Wanted:
        """The same, with the level of anomalies.

        Args:
            horizon: of the model.
            calibrated: windows behind the intervals; 0: there are no intervals.
            paths: that samples are drawn from; 0: there are none.

        Raises:
            InputError: with every option that makes no sense, or that the model cannot do.
        """
        if type(self.levels) is int:
            return replace(self, levels=(self.levels,)).check(calibrated, paths, horizon)
        default = self.anomalies and not self.levels and isinstance(self.levels, Sequence)
        highest = highest_level(calibrated)
        levels = (min(_ANOMALY_LEVEL, highest or _ANOMALY_LEVEL),) if default else self.levels
        if default and 0 < highest < _ANOMALY_LEVEL:
            _log.warning("anomalies: outside the %d %% interval, the highest that this model has", highest)
        problems = [*_level_problems(levels, highest), *_quantile_problems(self.quantiles, highest)]
        for flag, value in (("--backtest", self.backtest), ("--samples", self.samples)):
            if not isinstance(value, int) or value < 0:
                problems.append(f"{flag}: must be a whole number of at least 1, got {value!r}")
        if not isinstance(self.ahead, int) or not 1 <= self.ahead <= horizon:
            problems.append(f"--ahead: must be a whole number, 1 to the horizon {horizon}, got {self.ahead!r}")
        problems += self._together()
        if self.samples and not paths:
            problems.append("--samples: this model has no residuals to draw paths from; make it again with refit")
        if problems:
            raise InputError(problems)
        return replace(self, levels=tuple(dict.fromkeys(levels)), quantiles=tuple(dict.fromkeys(self.quantiles)))

    def _together(self) -> Iterator[str]:
        given = {"--backtest": self.backtest, "--quantiles": self.quantiles, "--samples": self.samples}
        if self.anomalies:
            for flag in (flag for flag, value in given.items() if value):
                yield f"--anomalies: looks at every row; leave out {flag}"
            if isinstance(self.levels, Sequence) and len(self.levels) > 1:
                yield f"--level: anomalies have one, got {', '.join(map(str, self.levels))}"
        elif self.ahead != 1:
            yield "--ahead: says from how far ahead --anomalies looks at rows; give it too"
        if self.samples and not self.anomalies:
            others = {"--backtest": self.backtest, "--quantiles": self.quantiles, "--level": self.levels}
            for flag in (flag for flag, value in others.items() if value):
                yield f"--samples: gives paths alone; leave out {flag}"


def _level_problems(levels: Any, highest: int) -> Iterator[str]:
    """highest: level that there are intervals of; 0: none."""
    if not isinstance(levels, Sequence) or isinstance(levels, str):
        yield f"--level: must be a list of whole percent, such as [80, 90], got {levels!r}"
        return
    for level in levels:
        if not isinstance(level, int) or level not in LEVELS:
            yield f"--level: must be a whole number, 1 to 99 percent, got {level!r}"
        elif level > highest:
            most = f"the highest is {highest}" if highest else "there were too few test rows for any interval"
            yield f"--level: this model has no {level} % interval; {most}"


def _quantile_problems(quantiles: Any, highest: int) -> Iterator[str]:
    if not isinstance(quantiles, Sequence) or isinstance(quantiles, str):
        yield f"--quantiles: must be a list of numbers between 0 and 1, such as [0.1, 0.5, 0.9], got {quantiles!r}"
        return
    low = round(0.5 - highest / 200, 6)
    for quantile in quantiles:
        if isinstance(quantile, bool) or not isinstance(quantile, float) or not 0 < quantile < 1:
            yield f"--quantiles: must be between 0 and 1, got {quantile!r}"
        elif not low <= quantile <= 1 - low:
            most = f"they reach from {low:g} to {1 - low:g}" if highest else "there were too few test rows for any"
            yield f"--quantiles: this model has no quantile {quantile:g}; {most}"
