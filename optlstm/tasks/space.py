"""The search space that a study of each task starts from. Plain data: importing it loads neither torch nor optuna."""

from __future__ import annotations

from collections.abc import Mapping

_OPTIMISATION = {"optimizer": "adamw", "weight_decay": 0.01, "lr_schedule": "one_cycle", "grad_clip": 1.0}
_LONGER_AMONG = 10  # times its rows: what a window must leave that is longer than usual
_CONV_LEAST = 16  # steps of a sequence that convolutions read
_CONV_STEPS = 64  # of a long one that are left by the stride, at least
PRESETS = ("small", "default", "large", "architecture")


def preset(base: Mapping[str, object], name: str) -> dict[str, object]:
    """A task's space as one of `PRESETS` makes it; only params that the task has are changed.

    small: networks that train in a moment. large: more units and layers. architecture: parts of the network are
    searched too (layers of different widths, layer norm, a bottleneck before the head), and are params only of
    networks that can have them.
    """
    changes: dict[str, dict[str, object]] = {
        "default": {},
        "small": {"hidden_size": {"low": 8, "high": 32, "step": 8, "default": 16}, "num_layers": 1},
        "large": {
            "hidden_size": {"low": 64, "high": 256, "step": 32, "default": 128},
            "num_layers": {"low": 1, "high": 3, "default": 2},
        },
        "architecture": {
            "hidden_size": {"low": 16, "high": 128, "step": 16, "default": 64},
            "num_layers": {"low": 1, "high": 3, "default": 1},
            "hidden_size_2": {"choices": [0, 16, 32, 64, 128], "default": 0, "when": {"num_layers": [2, 3]}},
            "hidden_size_3": {"choices": [0, 16, 32, 64, 128], "default": 0, "when": {"num_layers": 3}},
            "layer_norm": {"choices": [False, True], "default": False},
            "projection": {"choices": [0, 16, 32], "default": 0},
        },
    }
    return {**base, **changes[name]}


def every_step(base: Mapping[str, object]) -> dict[str, object]:
    """A space of forecasts for networks that are taught after every step, with the defaults that suit those.

    Learning rates are twice as high: a step of the optimiser learns from some four times as many windows.
    """
    changed, rates = dict(base), base.get("learning_rate")
    for name, default in (("window_norm", "mean_std"), ("pooling", "last")):
        if isinstance(entry := base.get(name), Mapping):
            changed[name] = {**entry, "default": default}
    if isinstance(rates, Mapping):
        changed["learning_rate"] = {**rates, **{key: 2 * rates[key] for key in ("low", "high", "default")}}
    return changed


def default_space(
    season: int,
    horizon: int,
    longest: int,
    windows: int = 10_000,
    columns: int = 1,
    longer_season: int | None = None,
) -> dict[str, object]:
    """The search space of a forecasting study that declares none, in the form of a study file's `[space]` section.

    Args:
        season: rows in the data's natural season (24 for hourly data), 1 where there is none.
        horizon: rows to forecast.
        longest: rows of the longest window that leaves enough of them to train on.
        windows: about how many there are to train on, each column's counted.
        columns: that are forecast. A window has a sequence of each, so that fewer windows are a batch.
        longer_season: beside the other one; a window reaches it where it fits.
    """
    few, batch = windows < 1000, max(8, 1 << max(0, 64 // columns - 1).bit_length())
    low, high, rate = (1e-3, 1e-2, 3e-3) if few else (3e-4, 3e-3, 1e-3)
    lengths = _window_choices(season, horizon, longest)
    default = lengths[-1]
    if longer_season and default < (reach := -(-longer_season // season) * season) <= longest:
        lengths = [*lengths[-2:], reach]
    return {
        "window": {"choices": lengths, "default": default},
        "patch": _patch_choices(season, lengths[-1]),
        "hidden_size": {"low": 32, "high": 80, "step": 16, "default": 64},
        "num_layers": {"low": 1, "high": 2, "default": 1},
        "dropout": {"low": 0.0, "high": 0.5, "step": 0.1, "default": 0.3},
        "recurrent_dropout": {"low": 0.0, "high": 0.3, "step": 0.1, "default": 0.0},
        "pooling": {"choices": ["max", "mean", "last"], "default": "max"},
        "linear_skip": {"choices": [True, False] if few else [True, "solved", False], "default": True},
        "window_norm": {"choices": ["last", "mean_std"], "default": "last"},
        "learning_rate": {"low": low, "high": high, "log": True, "default": rate},
        "batch_size": batch if not few else 32 if windows >= 250 else 16,
        **_OPTIMISATION,
    }


def _window_choices(season: int, horizon: int, longest: int) -> list[int]:
    """Whole seasons, at most three lengths: few and far apart, since the window matters most and all are tried early.

    The longest reads 14 days of hours, 7 of shorter seasons (weeks of days, years of months), 3 years of weeks; and
    7 horizons where that is more and there are many rows, up to 720 rows or a horizon: what the best published
    recurrent networks read.
    """
    usual, counts, more = 14 if season > 12 else 7, [1, 2, 4, 7, 14, 30], [50, 100]
    if not 1 < season <= longest:
        season, usual, counts, more = max(1, min(8, longest)), 12, [2, 6, 12, 24, 48], [96]
    elif season > 48:
        usual, counts, more = 3, [1, 2, 3], [5, 7, 10]
    counts += [n for n in more if n * season * _LONGER_AMONG <= longest]
    wanted = max(usual * season, min(7 * horizon, max(720, horizon)))
    lengths = [n * season for n in counts if n * season <= longest] or [max(1, longest // season * season)]
    upto = next((i for i, length in enumerate(lengths) if length >= wanted), len(lengths) - 1) + 1
    enough = [length for length in lengths[:upto] if length >= horizon] or lengths[:upto][-1:]
    return enough[-3:]


def _patch_choices(season: int, longest: int) -> dict[str, object]:
    """A half, one and two seasons of a short season; a twelfth, a quarter and a half of a long one.

    None is longer than the longest window, which would be padded to it; where all would be, single rows are read.
    """
    if season < 8:
        patches = [4, 8, 16] if season == 1 else [season, 2 * season]
    elif season <= 48:
        patches = [season // 2, season, 2 * season]
    else:
        patches = [season // 12, season // 4, season // 2]
    fitting = [patch for patch in patches if patch <= longest] or [1]
    return {"choices": fitting, "default": fitting[:2][-1]}


def sequence_space(steps: int, sequences: int) -> dict[str, object]:
    """The search space of a study of labelled sequences.

    Args:
        steps: of the longest sequence.
        sequences: to train on.
    """
    halved = [2**i for i in range(20)]
    patches = [patch for patch in halved if 3 <= steps / patch <= 64][:5] or [1]
    few = sequences < 1000
    return {
        "patch": {"choices": patches, "default": patches[len(patches) // 2]},
        "window_norm": {"choices": ["none", "mean_std"], "default": "none"},
        "hidden_size": {"low": 32, "high": 96, "step": 16, "default": 64},
        "num_layers": {"low": 1, "high": 2, "default": 1},
        "bidirectional": {"choices": [True, False], "default": True},
        "dropout": {"low": 0.0, "high": 0.5, "step": 0.1, "default": 0.3},
        "recurrent_dropout": {"low": 0.0, "high": 0.3, "step": 0.1, "default": 0.0},
        "pooling": {"choices": ["mean", "max", "last"], "default": "mean"},
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True, "default": 3e-3},
        "batch_size": 16 if few else 64,
        "label_smoothing": 0.1,
        "input_noise": 0.2 if few else 0.0,
        **_OPTIMISATION,
    }


def with_convolutions(base: Mapping[str, object], steps: int) -> dict[str, object]:
    """A space of whole sequences for networks with convolutions beside the LSTM, where there are steps for them."""
    if steps < _CONV_LEAST:
        return dict(base)
    strides = (2**i for i in range(20) if steps / 2**i >= _CONV_STEPS)
    return {**base, "conv_filters": {"choices": [32, 64, 0], "default": 32}, "conv_stride": max(strides, default=1)}


def step_space(causal: bool) -> dict[str, object]:
    """The search space of a study of sequences with a label for every step.

    Probabilities of steps are averaged by nothing, so that labels are not smoothed; a batch is of long chunks.
    """
    base = sequence_space(steps=1, sequences=1000)
    fixed = {"patch": 1, "window_norm": "none", "pooling": "last", "label_smoothing": 0.0, "batch_size": 16}
    direction = {"bidirectional": False} if causal else {"bidirectional": True}
    return {**base, **fixed, **direction, "dropout": {"low": 0.0, "high": 0.4, "step": 0.1, "default": 0.1}}


def window_space(steps: int, samples: int) -> dict[str, object]:
    """The search space of a study of windows of longer sequences, as `sequence_space`.

    Args:
        steps: of the median sequence.
        samples: to train on.
    """
    fitting = [length for length in (8, 16, 32, 64, 128, 256) if length <= steps][-3:] or [max(1, steps)]
    return {
        **sequence_space(fitting[len(fitting) // 2], samples),
        "window": {"choices": fitting, "default": fitting[len(fitting) // 2]},
        "patch": {"choices": [patch for patch in (1, 2, 4) if patch <= fitting[0]], "default": 1},
        "pooling": {"choices": ["last", "mean", "max"], "default": "last"},
    }


def text_space(vector_dim: int | None) -> dict[str, object]:
    """The search space of a study of labelled texts. vector_dim: numbers of a pretrained vector, if there are any."""
    embedding: object = vector_dim or {"choices": [50, 100, 200], "default": 100}
    return {
        "embedding_dim": embedding,
        "hidden_size": {"low": 32, "high": 128, "step": 32, "default": 64},
        "num_layers": {"low": 1, "high": 2, "default": 1},
        "bidirectional": {"choices": [True, False], "default": True},
        "dropout": {"low": 0.2, "high": 0.6, "step": 0.1, "default": 0.5},
        "recurrent_dropout": {"low": 0.0, "high": 0.3, "step": 0.1, "default": 0.0},
        "pooling": {"choices": ["max", "mean"], "default": "max"},
        "learning_rate": {"low": 2e-3, "high": 2e-2, "log": True, "default": 6e-3},
        "batch_size": 32,
        "label_smoothing": 0.1,
        "embedding_dropout": 0.2,
        **_OPTIMISATION,
    }
