"""The classifiers: a sequence, or a text, into a score for each class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import BodyConfig, LSTMBody


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """All that shapes a classifier.

    Sequences: `channels` numbers a step, and `patch` steps make one of the LSTM's. Texts: `vocabulary` token numbers,
    each an embedding of `body.input_size`.
    """

    body: BodyConfig
    classes: int
    channels: int = 0
    patch: int = 1
    norm: str = "none"
    input_noise: float = 0.0
    vocabulary: int = 0
    embedding_dropout: float = 0.0

    @classmethod
    def of_sequences(cls, hp: Hyperparameters, *, channels: int, classes: int) -> ClassifierConfig:
        """The classifier of sequences that `hp` asks for."""
        body = BodyConfig.of(hp, input_size=hp.patch * channels)
        return cls(
            body=body,
            classes=classes,
            channels=channels,
            patch=hp.patch,
            norm=hp.window_norm,
            input_noise=hp.input_noise,
        )

    @classmethod
    def of_texts(cls, hp: Hyperparameters, *, vocabulary: int, classes: int) -> ClassifierConfig:
        """The classifier of texts that `hp` asks for."""
        body = BodyConfig.of(hp, input_size=hp.embedding_dim)
        return cls(body=body, classes=classes, vocabulary=vocabulary, embedding_dropout=hp.embedding_dropout)


class SequenceClassifier(nn.Module):
    """Sequences [batch, steps, channels] -> scores [batch, classes] (logits)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.body = LSTMBody(config.body)
        self.head = nn.Linear(config.body.output_size, config.classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths [batch]: the steps of each sequence, whose result depends on no other row of x; None: x.shape[1]."""
        patch = self.config.patch
        if self.training and self.config.input_noise > 0:
            x = x + self.config.input_noise * torch.randn_like(x)
        x = self._normalised(x, lengths)
        missing = -x.shape[1] % patch
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        steps = x.reshape(len(x), -1, patch * self.config.channels)  # [batch, LSTM steps, patch * channels]
        scores: Tensor = self.head(self.body(steps, None if lengths is None else (lengths + patch - 1) // patch))
        return scores

    def _normalised(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Each sequence by itself, channel by channel; 0 behind its end."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None]
        if self.config.norm == "mean_std":
            count = lengths[:, None, None]
            mean = (x * inside).sum(dim=1, keepdim=True) / count
            variance = ((x - mean).square() * inside).sum(dim=1, keepdim=True) / count
            x = (x - mean) / torch.sqrt(variance + 1e-5)  # a flat channel has no spread to divide by
        elif self.config.norm == "last":
            x = x - x[torch.arange(len(x), device=x.device), lengths - 1][:, None]
        return x * inside


class TextClassifier(nn.Module):
    """Token numbers [batch, steps] -> scores [batch, classes] (logits); token 0 is padding."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.body.input_size, padding_idx=0)
        self.drop = nn.Dropout(config.embedding_dropout)
        self.body = LSTMBody(config.body)
        self.head = nn.Linear(config.body.output_size, config.classes)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths [batch]: the tokens of each text; None: all have tokens.shape[1]."""
        scores: Tensor = self.head(self.body(self.drop(self.embedding(tokens)), lengths))
        return scores
