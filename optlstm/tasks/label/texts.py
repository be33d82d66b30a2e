"""Labelled texts: reading, and token numbers by a vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from optlstm.data.vocabulary import Tokenizer, Vocabulary, lack_blanks, read_vectors
from optlstm.errors import InputError
from optlstm.tasks.base import Bounds, FormCard, Metrics
from optlstm.tasks.label.baselines import bag_of_words
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.task import LABEL_KEYS, LabelTask
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import text_space
from optlstm.util.arrays import Integers

if TYPE_CHECKING:
    from optlstm.data.texts import Texts
    from optlstm.tasks.label.predict import TextSection

_VOCABULARY_KEYS = ("level", "lowercase", "vocabulary", "min_count", "max_tokens")


@dataclass(frozen=True)
class TextTask(LabelTask):
    """Texts, read as words or characters."""

    name: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "text", *_VOCABULARY_KEYS, "vectors")
    noun: ClassVar[str] = "texts"

    samples: Texts

    @classmethod
    def read(cls, data: DataConfig) -> Self:
        """Raises InputError also where there is no token to learn from, or the vectors cannot be read."""
        task = super().read(data)
        _ = task._encoded, task.vectors
        return task

    @classmethod
    def read_file(cls, path: Path, data: DataConfig, like: Texts | None = None) -> Texts:
        from optlstm.data.texts import read_texts

        return read_texts(path, data.text, data.label, data.group, options=data.form)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """Without pretrained vectors."""
        return text_space(None)

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`."""
        return self.used_of(text_space(self._vector_dim))

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where pretrained vectors and embedding_dim do not agree."""
        wanted, dim = space.largest("embedding_dim"), self._vector_dim
        if dim is not None and wanted not in (None, dim):
            raise InputError(f"space.embedding_dim: the vectors of data.vectors have {dim} numbers, not {wanted}")

    @property
    def warnings(self) -> Sequence[str]:
        """Also texts without blanks, and how many tokens have a pretrained vector."""
        lines = (*super().warnings,)
        if self.options.level == "word" and lack_blanks(self.samples.texts):
            known = len(self.vocabulary.tokens)
            lines = (
                *lines,
                f"data: the texts have no blanks between words, so a token is a phrase ({known} known); "
                "read characters: --set data.level=character",
            )
        if self.vectors is None:
            return lines
        known = int((self.vectors != 0).any(axis=1).sum())
        total = len(self.vocabulary.tokens)
        return (*lines, f"data.vectors: {known} of the vocabulary's {total} tokens have a vector")

    @property
    def tokenizer(self) -> Tokenizer:
        """Splits a text into tokens."""
        return Tokenizer(self.options.level, self.options.lowercase, self.options.max_tokens)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the texts in `fitted_on`."""
        return self._encoded[0]

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32] | None:
        """Pretrained vectors [vocabulary, dim], 0 for tokens without; None where no file is named."""
        path = self.options.vectors
        return read_vectors(Path(path).expanduser(), self.vocabulary)[0] if path else None

    def data(self) -> LabelledData:
        """Token numbers; a fold knows only the tokens of its training texts."""
        vocabulary, tokens, starts = self._encoded
        return self.labelled_data(
            tokens, starts, vocabulary=len(vocabulary), min_count=self.options.min_count, vectors=self.vectors
        )

    def describe(self) -> str:
        """Also the size of the vocabulary: `..., 6 classes, 8000 tokens known`."""
        return f"{super().describe()}, {len(self.vocabulary.tokens)} tokens known"

    def section(self, data: LabelledData) -> TextSection:
        """The task's part of the card."""
        from optlstm.tasks.label.predict import TextSection

        options = self.options
        return TextSection(
            **TextSection.of(data.target),
            label=options.label or "label",
            form=FormCard.of(options.form),
            text=options.text or "text",
            level=options.level,
            lowercase=options.lowercase,
            max_tokens=options.max_tokens,
            vocabulary=list(self.vocabulary.tokens),
        )

    def baselines(self, data: LabelledData, train: Integers, window: int) -> dict[str, Metrics | None]:
        """A linear model on the counts of tokens."""
        return {"bag_of_words": bag_of_words(self.samples.texts, self.tokenizer, data, train)}

    @cached_property
    def _encoded(self) -> tuple[Vocabulary, npt.NDArray[np.int32], Integers]:
        """(vocabulary, token numbers of one text after the other, starts [n + 1])."""
        options, tokenizer = self.options, self.tokenizer
        tokens = [tokenizer(text) for text in self.samples.texts]
        known = [tokens[i] for i in self.fitted_on]
        if not any(known):
            column, file = options.text or "text", Path(str(options.path)).name
            raise InputError(f"data: column '{column}' of {file}: all training texts are empty")
        vocabulary = Vocabulary.of(known, options.vocabulary, options.min_count)
        if not vocabulary.tokens:
            count = options.min_count
            raise InputError(f"data.min_count: no token occurs {count} times in the training texts; lower it")
        return vocabulary, *vocabulary.encode(tokens)

    @property
    def _vector_dim(self) -> int | None:
        return None if self.vectors is None else int(self.vectors.shape[1])

    def _record(self) -> Mapping[str, Any]:
        """The options of tokens and vocabulary, and the vectors' checksum."""
        vectors = None if self.vectors is None else hashlib.sha256(self.vectors.tobytes()).hexdigest()
        options = {key: getattr(self.options, key) for key in _VOCABULARY_KEYS}
        return {**options, "vectors": vectors}
