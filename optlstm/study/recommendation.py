"""What a learning-rate search found: the range and the value to use, and the picture of every draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.errors import InputError
from optlstm.study.ledger import REASON_KEY
from optlstm.util.files import check_output, check_writable

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PARAM = "learning_rate"


@dataclass(frozen=True)
class Recommendation:
    """The range for a search to come, and one value to use without one."""

    low: float
    high: float
    value: float

    def space_line(self) -> str:
        """What to paste into `[space]`."""
        return f"{PARAM} = {{low = {self.low:.2g}, high = {self.high:.2g}, log = true, default = {self.value:.2g}}}"


def recommend(trials: Sequence[FrozenTrial], options: Mapping[str, Any], rounds: int) -> Recommendation | None:
    """None where every draw diverged.

    Args:
        options: Of the narrowing sampler.
        rounds: That were drawn.
    """
    from optuna.distributions import FloatDistribution

    from optlstm.study.narrowing import recommendation

    drawn = [t for t in trials if t.state.is_finished() and PARAM in t.params]
    if not drawn:
        return None
    distribution = drawn[0].distributions[PARAM]
    assert isinstance(distribution, FloatDistribution)
    found = recommendation(drawn, PARAM, distribution, options, rounds)
    return None if found is None else Recommendation(*found)


def check_picture(path: Path) -> None:
    """See that `write_picture` can write this file. Raises InputError, as of option -o."""
    check_output(path)
    if path.suffix.lower() != ".html":
        raise InputError(f"-o: {path.name} does not end in .html, and HTML is what is written")
    if path.is_dir():
        raise InputError(f"-o: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"-o: folder {path.parent} does not exist")
    check_writable(path.parent, "-o")


def write_picture(
    path: Path, name: str, trials: Sequence[FrozenTrial], draws: int, label: str, found: Recommendation | None
) -> None:
    """Loss over learning rate, log axes, a colour for each round, diverged draws on the upper edge; one HTML file.

    Raises:
        InputError: The file cannot be written.
    """
    figure = picture(name, trials, draws, label, found)
    try:
        path.write_text(figure.to_html(include_plotlyjs=True, full_html=True), encoding="utf-8")
    except OSError as error:
        raise InputError(f"-o: {path} cannot be written: {error.strerror}") from None


def picture(name: str, trials: Sequence[FrozenTrial], draws: int, label: str, found: Recommendation | None) -> Any:
    """The figure as plotly has it."""
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    drawn = [t for t in trials if t.state.is_finished() and PARAM in t.params]
    valued = [t for t in drawn if t.value is not None]
    rounds = sorted({t.number // draws for t in drawn})
    colours = sample_colorscale("Viridis", [0.15 + 0.7 * i / max(1, len(rounds) - 1) for i in range(len(rounds))])
    top = max((float(t.value or 0) for t in valued), default=1.0) * 1.6
    figure = go.Figure()
    for number, colour in zip(rounds, colours, strict=True):
        own = [t for t in valued if t.number // draws == number]
        figure.add_scatter(
            x=[t.params[PARAM] for t in own],
            y=[t.value for t in own],
            mode="markers",
            name=f"round {number + 1}",
            marker={"size": 11, "color": colour, "line": {"width": 1, "color": "white"}},
            text=[f"trial {t.number}" for t in own],
            hovertemplate="%{text}<br>learning rate %{x:.3g}<br>" + label + " %{y:.4g}<extra></extra>",
        )
    lost = [t for t in drawn if t.value is None]
    if lost:
        figure.add_scatter(
            x=[t.params[PARAM] for t in lost],
            y=[top] * len(lost),
            mode="markers",
            name="diverged",
            marker={"size": 11, "symbol": "x", "color": "#c0392b"},
            text=[f"trial {t.number}: {t.user_attrs.get(REASON_KEY, 'diverged')}" for t in lost],
            hovertemplate="%{text}<extra></extra>",
        )
    if found is not None:
        figure.add_vrect(x0=found.low, x1=found.high, fillcolor="#2a9d8f", opacity=0.15, line_width=0)
        # Shapes take data, annotations logarithms: so plotly has it for log axes.
        figure.add_vline(x=found.value, line={"color": "#2a9d8f", "dash": "dash"})
        figure.add_annotation(
            x=math.log10(found.value), y=1, yref="paper", yanchor="bottom", showarrow=False, text=f"{found.value:.2g}"
        )
    figure.update_layout(
        title={"text": f"{name}: {label} over learning rate; shaded: the range to search on"},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    figure.update_xaxes(type="log", title="learning rate", exponentformat="power", dtick=1)
    figure.update_yaxes(type="log", title=f"validation {label}")
    return figure
