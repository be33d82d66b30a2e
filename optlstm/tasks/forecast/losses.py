"""What training minimises: the values of `training.loss`. No torch: the driver reads the table too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlstm.util.arrays import Floats


@dataclass(frozen=True)
class Loss:
    """A mean over windows, columns and steps, of forecasts on the standardised scale.

    Args:
        function: of `torch.nn.functional`, of forecasts and targets.
        metric: the validation metric that decides by default.
        scaled: whether the errors of each series and column are in units of what `mase` divides by.
    """

    function: str
    metric: str
    scaled: bool = False


LOSSES = {
    "mse": Loss("mse_loss", metric="mse"),
    "mae": Loss("l1_loss", metric="mae"),
    "huber": Loss("huber_loss", metric="mse"),  # its delta is 1
    "mase": Loss("l1_loss", metric="mase", scaled=True),
}


def mase_factors(std: Floats, naive: Floats) -> Floats:
    """What turns errors on the standardised scale into those of `mase`, [series, columns].

    Where mase is not defined (too few rows, or the same in every season), the median of the other factors: such a
    series is trained on too.

    Args:
        std: Of the standardised scale, [series, columns].
        naive: What mase divides by, [series, columns]: see `errors.seasonal_scale`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = std / naive
    defined = np.isfinite(factors)
    return np.where(defined, factors, np.median(factors[defined]))
