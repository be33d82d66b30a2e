"""The classifiers: a sequence, or a text, into a score for each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.training.convolution import ConvolutionBranch
from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import LSTMBody

_ALONE = 0.8  # share of the training sequences that the convolutions read alone


class SequenceClassifier(nn.Module):
    """Sequences [batch, steps, channels] -> scores [batch, classes] (logits); an LSTM step reads `patch` steps.

    With `conv_filters` the scores are the sum of the LSTM's and a convolutional branch's. An LSTM knows a small set by
    heart before convolutions have learnt anything, and would leave them no error to learn from: in training most
    sequences have the scores of the convolutions alone (ModDrop, Neverova et al. 2016). They get no noise.
    """

    def __init__(self, hp: Hyperparameters, *, channels: int, classes: int) -> None:
        super().__init__()
        self.hp = hp
        self.body = LSTMBody(hp, hp.patch * channels)
        self.head = nn.Linear(self.body.output_size, classes)
        self.convolution = (
            ConvolutionBranch(channels, classes, filters=hp.conv_filters, stride=hp.conv_stride, dropout=hp.dropout)
            if hp.conv_filters
            else None
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths [batch]: the steps of each sequence, whose result depends on no other row of x; None: x.shape[1]."""
        noisy = self.training and self.hp.input_noise > 0
        inputs = self._normalised(x + self.hp.input_noise * torch.randn_like(x) if noisy else x, lengths)
        features = self._features(inputs, lengths)
        if self.convolution is None:
            return self.head(features)  # type: ignore[no-any-return]
        if self.training:
            features = features * (torch.rand(len(x), 1, device=x.device) >= _ALONE)
        rows = self._normalised(x, lengths) if noisy else inputs
        scores: Tensor = self.head(features) + self.convolution(rows, lengths)
        return scores

    def _features(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The LSTM's, [batch, output_size]."""
        patch = self.hp.patch
        missing = -x.shape[1] % patch
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        steps = x.reshape(x.shape[0], -1, patch * x.shape[2])  # [batch, LSTM steps, patch * channels]
        features: Tensor = self.body(steps, None if lengths is None else (lengths + patch - 1) // patch)
        return features

    def _normalised(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Each sequence by itself, channel by channel; 0 behind its end."""
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None]
        if self.hp.window_norm == "mean_std":
            count = lengths[:, None, None]
            mean = (x * inside).sum(dim=1, keepdim=True) / count
            variance = ((x - mean).square() * inside).sum(dim=1, keepdim=True) / count
            x = (x - mean) / torch.sqrt(variance + 1e-5)  # a flat channel has no spread to divide by
        elif self.hp.window_norm == "last":
            x = x - x[torch.arange(x.shape[0], device=x.device), lengths - 1][:, None]
        return x * inside


class SequenceLabeller(nn.Module):
    """Sequences [batch, steps, channels] -> numbers for the label of each step [batch, steps, outputs].

    An LSTM step reads `patch` steps and gives the numbers of all of them: in one direction, each knows those of its
    patch that follow. Nothing is normalised: what a step gives depends on no step that the LSTM has not read there.
    """

    def __init__(self, hp: Hyperparameters, *, channels: int, outputs: int) -> None:
        super().__init__()
        self.hp, self.outputs = hp, outputs
        self.body = LSTMBody(hp, hp.patch * channels)
        self.head = nn.Linear(self.body.output_size, hp.patch * outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths [batch]: the steps of each sequence, behind which the result means nothing; None: x.shape[1]."""
        patch, given = self.hp.patch, x.shape[1]
        if self.training and self.hp.input_noise > 0:
            x = x + self.hp.input_noise * torch.randn_like(x)
        if lengths is not None:
            x = x * (torch.arange(given, device=x.device) < lengths[:, None])[:, :, None]
            lengths = (lengths + patch - 1) // patch
        x = F.pad(x, (0, 0, 0, -given % patch))
        steps = x.reshape(x.shape[0], -1, patch * x.shape[2])  # [batch, LSTM steps, patch * channels]
        out: Tensor = self.head(self.body.each_step(steps, lengths))  # [batch, LSTM steps, patch * outputs]
        return out.reshape(x.shape[0], -1, self.outputs)[:, :given]


class TextClassifier(nn.Module):
    """Token numbers [batch, steps] -> scores [batch, classes] (logits); token 0 is padding."""

    def __init__(self, hp: Hyperparameters, *, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hp.embedding_dim, padding_idx=0)
        self.drop = nn.Dropout(hp.embedding_dropout)
        self.body = LSTMBody(hp, hp.embedding_dim)
        self.head = nn.Linear(self.body.output_size, classes)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths [batch]: the tokens of each text; None: all have tokens.shape[1]."""
        scores: Tensor = self.head(self.body(self.drop(self.embedding(tokens)), lengths))
        return scores
