"""The forecaster that reads covariates too, along the window and ahead of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.training.factory import InputSizes
from optlstm.training.heads import POINT, Head
from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import LSTMBody, Stretch, by_step, level_and_spread, linear_skip, patches

_MOST_DIM = 16


def embedding_size(categories: int) -> int:
    """Numbers that stand for one of so many categories: fast.ai's rule, 16 at most."""
    return min(_MOST_DIM, max(2, round(1.6 * math.pow(categories, 0.56))))


class Columns(nn.Module):
    """Columns [..., columns] of numbers and category numbers -> [..., width] of numbers.

    sizes: as in InputSizes. Category 0, which training never shows, is embedded as 0: what no category adds.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        tables = [nn.Embedding(n + 1, embedding_size(n), padding_idx=0) if n else nn.Identity() for n in self.sizes]
        self.tables = nn.ModuleList(tables)

    def width(self, columns: int) -> int:
        """What the first `columns` become."""
        return sum(embedding_size(n) if n else 1 for n in self.sizes[:columns])

    def forward(self, x: Tensor) -> Tensor:
        """The encoding of the first x.shape[-1] columns."""
        parts = []
        for i, size in enumerate(self.sizes[: x.shape[-1]]):
            column = x[..., i]
            parts.append(self.tables[i](column.long()) if size else column.unsqueeze(-1))
        return torch.cat(parts, dim=-1)


class CovariateForecaster(nn.Module):
    """A window of one sequence and its covariates -> its next rows [batch, horizon], all at once.

    Each LSTM step reads a patch of the window, the same rows of all covariates, and the static ones. To its forecast is
    added, row by row of the horizon, what a small network makes of the LSTM's features and that row's known covariates
    (as the temporal decoder of TiDE does, Das et al. 2023). Window norm, patches and linear skip are LSTMForecaster's.
    """

    def __init__(self, hp: Hyperparameters, horizon: int, sizes: InputSizes, head: Head = POINT) -> None:
        super().__init__()
        self.out = head
        self.hp, self.window, self.horizon, self.patch = hp, hp.window, horizon, hp.patch
        self.future = len(sizes.future)
        self.columns = Columns(sizes.future + sizes.past)
        self.static = Columns(sizes.static)
        width, still = self.columns.width(len(self.columns.sizes)), self.static.width(len(sizes.static))
        self.body = LSTMBody(hp, hp.patch * (1 + width) + still)
        features = self.body.output_size
        self.head = nn.Linear(features, horizon * head.outputs)
        self.skip = linear_skip(hp, horizon)
        if hp.linear_skip == "solved":
            nn.init.zeros_(self.head.weight)  # so that training starts from the solution
        if self.future:
            self.context = nn.Linear(features + still, features)
            self.ahead = nn.Linear(self.columns.width(self.future), features, bias=False)
            self.decode = nn.Linear(features, head.outputs)

    def forward(self, x: Tensor, covariates: Tensor, static: Tensor) -> Tensor:
        """x [batch, window], covariates [batch, columns, window + horizon], static [batch, columns]: as LSTMForecaster.

        Of the covariates' horizon only the future ones are read. Of a longer window the newest rows are.
        """
        x = x[:, -self.window :]
        covariates = covariates[..., -(self.window + self.horizon) :]
        if self.hp.supervision == "every_step":
            return self.every_step(x, covariates, static)[:, -1]
        level, spread = level_and_spread(x, self.hp.window_norm)
        window = (x - level) / spread  # [batch, window]
        still = self.static(static) if self.static.sizes else static
        features = self.body(self._inputs(patches(window, self.patch), covariates, still))  # [batch, features]
        return self._forecast(features, window, covariates, still, level, spread)

    def every_step(self, x: Tensor, covariates: Tensor, static: Tensor) -> Tensor:
        """As of `LSTMForecaster`: x and covariates are longer by k patches than a window and its horizon."""
        stretch = Stretch.of(x, self.hp)
        still = self.static(static) if self.static.sizes else static
        features = self.body.every_step(self._inputs(stretch.steps, covariates, still), stretch.span)
        return self._forecast(features, stretch.windows, covariates, still, stretch.level, stretch.spread)

    def _inputs(self, steps: Tensor, covariates: Tensor, still: Tensor) -> Tensor:
        """The LSTM's steps: those of the target [batch, steps, patch], and what stands beside them."""
        if self.columns.sizes:
            rows = covariates.shape[-1] - self.horizon
            before = self.columns(covariates[..., :rows].transpose(1, 2))  # [batch, rows, width]
            along = patches(before.transpose(1, 2).reshape(-1, rows), self.patch)
            along = along.reshape(len(steps), -1, *along.shape[1:]).transpose(1, 2)  # [batch, steps, width, patch]
            steps = torch.cat([steps, along.flatten(2)], dim=2)
        if self.static.sizes:
            steps = torch.cat([steps, still[:, None].expand(-1, steps.shape[1], -1)], dim=2)
        return steps

    def _forecast(
        self,
        features: Tensor,
        window: Tensor,
        covariates: Tensor,
        still: Tensor,
        level: Tensor | float,
        spread: Tensor | float,
    ) -> Tensor:
        """As LSTMForecaster's: features [batch, features], or those of every step, [batch, steps, features]."""
        raw = by_step(self.head(features), self.out.outputs)
        if self.future:
            known = self.ahead(self.columns(covariates[:, : self.future, self.window :].transpose(1, 2)))
            if features.dim() > 2:  # known [batch, rows, features], of which each step sees those ahead of it
                known = known.unfold(1, self.horizon, self.patch).transpose(2, 3)
                still = still[:, None].expand(-1, features.shape[1], -1)
            context = self.context(torch.cat([features, still], dim=-1) if self.static.sizes else features)
            ahead = self.decode(F.relu(context.unsqueeze(-2) + known))  # [..., horizon, outputs]
            raw = raw + ahead.reshape(raw.shape)
        shift = None if self.skip is None else self.skip(window)  # [..., horizon]
        return self.out.place(raw, shift, level, spread)
