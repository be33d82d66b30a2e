"""What a model's forecasts follow from, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from optlstm.models.explain import Explanation, Share
from optlstm.models.explain_labels import LabelExplanation
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel
from optlstm.util.format import short

_MOST = 20  # inputs that are drawn


def explanation_figures(found: Explanation) -> list[Figure]:
    """The inputs, and the lags of the target's own past."""
    caption = (
        "How much the mean absolute error grows where an input is permuted among windows near in time, in percent;"
    )
    caption += " lines are a standard deviation of the permutations. Points are its share of gradient times input."
    return [
        _bars("inputs", "What the forecasts follow from", caption, found.inputs),
        _bars("lags", "Which rows of its own past", f"{caption} Lag 1 is the newest row.", found.lags),
    ]


def label_figures(found: LabelExplanation) -> list[Figure]:
    """Words, or channels and steps."""
    caption = (
        "How much is lost without it, in percent of all that there is to lose: 100 is the loss of predicting the mean"
        " output for all. Lines are a standard deviation. Points are its share of gradient times input."
    )
    return [_bars(name, f"What the labels follow from: {name}", caption, parts) for name, parts in found.parts.items()]


def _bars(key: str, title: str, caption: str, shares: Sequence[Share]) -> Figure:
    drawn = list(shares[:_MOST])
    rows = list(range(len(drawn)))
    marks = [
        Marks(
            "bars", [100 * share.increase for share in drawn], rows, "accent", "without it", across=True,
            tips=[f"{s.name}\n{100 * s.increase:.1f} % ± {100 * s.spread:.1f}" for s in drawn],
        ),
        Marks(
            "line",
            [x for s in drawn for x in (100 * (s.increase - s.spread), 100 * (s.increase + s.spread), None)],
            [y for row in rows for y in (row, row, None)],
            "text",
        ),
        Marks("points", [100 * share.gradient for share in drawn], rows, "running", "gradient times input"),
    ]  # fmt: skip
    left = f" {len(shares) - _MOST} more are not drawn." if len(shares) > _MOST else ""
    ticks = [(float(row), short(share.name, 28)) for row, share in zip(rows, drawn, strict=True)]
    panel = Panel(Axis("percent"), Axis(ticks=ticks), marks, height=80 + 26 * len(drawn), down=True)
    return Figure(key, title, caption + left, [panel])
