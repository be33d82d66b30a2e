"""Labelled texts, as the rest of the program sees them: read, checked, split, and numbered by a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from optlstm.errors import InputError
from optlstm.tasks.base import Bounds
from optlstm.tasks.label.scores import METRICS
from optlstm.tasks.label.sequence_task import LABEL_KEYS
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import text_space
from optlstm.training.metric import Metric

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from optlstm.data.labels import Integers, LabelledSplit
    from optlstm.data.texts import Texts
    from optlstm.data.vocabulary import Tokenizer, Vocabulary
    from optlstm.tasks.label.data import LabelledData
    from optlstm.tasks.label.evaluate import LabelEvaluator

_VOCABULARY_KEYS = ("level", "lowercase", "vocabulary", "min_count", "max_tokens")


@dataclass(frozen=True)
class TextTask:
    """Labelled texts; where the test rows are a file of their own, they are the last ones."""

    name: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "text", *_VOCABULARY_KEYS, "vectors")
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    problem: ClassVar[str] = "optlstm.tasks.label.problem:make_problem"

    texts: Texts
    classes: tuple[str, ...]
    codes: Integers  # [n]
    split: LabelledSplit
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    tokens: npt.NDArray[np.int32]  # one text after the other
    starts: Integers  # [n + 1]
    vectors: npt.NDArray[np.float32] | None
    options: DataConfig
    notes: tuple[str, ...]

    @classmethod
    def read(cls, data: DataConfig) -> TextTask:
        """Raises InputError with every problem of the files and their split."""
        import numpy as np

        from optlstm.data.labels import check_split, split_labels
        from optlstm.data.sequences import check_classes
        from optlstm.data.texts import read_texts
        from optlstm.data.vocabulary import Tokenizer, Vocabulary, read_vectors
        from optlstm.tasks.label.data import check_test_classes, coded, files, folds_wanted, group_codes, single_notes

        path, test_path = files(data, cls.name)
        texts = read_texts(path, data.text, data.label, data.group)
        n, apart = len(texts.texts), 0
        classes = check_classes(texts.labels, path.name, data.label or "label")
        if test_path:
            test = read_texts(test_path, data.text, data.label, data.group)
            check_test_classes(classes, test.labels, test_path.name)
            texts, apart = texts.joined(test), len(test.texts)
        codes = coded(texts.labels, classes)
        folds = folds_wanted(data, codes[:n], n)
        split = split_labels(codes, group_codes(texts.groups), data.splits, tests_apart=apart, folds=folds)
        tested = not apart and data.splits[2] > 0
        check_split(codes[:n], classes, split, data.label or "label", data.group, tested=tested)
        tokenizer = Tokenizer(data.level, data.lowercase, data.max_tokens)
        cut = [tokenizer(text) for text in texts.texts]
        fold = split.folds[0]
        seen = np.union1d(fold.train, fold.validation) if len(split.folds) > 1 else fold.train
        vocabulary = Vocabulary.of((cut[i] for i in seen), data.vocabulary, data.min_count)
        if not any(cut[i] for i in seen):
            raise InputError(f"data: column '{data.text or 'text'}' of {path.name}: all training texts are empty")
        if not vocabulary.tokens:
            raise InputError(f"data.min_count: no token occurs {data.min_count} times in the training texts; lower it")
        tokens, starts = vocabulary.encode(cut)
        notes = single_notes(data, codes[:n], classes)
        vectors = read_vectors(Path(data.vectors).expanduser(), vocabulary)[0] if data.vectors else None
        return cls(texts, classes, codes, split, tokenizer, vocabulary, tokens, starts, vectors, data, notes)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """Without pretrained vectors."""
        return text_space(None)

    @property
    def warnings(self) -> Sequence[str]:
        """Classes too small for folds, empty texts, and how many tokens have a pretrained vector."""
        empty = [i for i, text in enumerate(self.texts.texts) if not text.strip()]
        lines = list(self.notes)
        if empty:
            rows = ", ".join(str(i + 2) for i in empty[:3]) + (", ..." if len(empty) > 3 else "")
            lines.append(f"data: {len(empty)} empty text(s) (row {rows}); each is read as one unknown token")
        if self.vectors is not None:
            found = int((self.vectors != 0).any(axis=1).sum())
            lines.append(
                f"data.vectors: {found} of the vocabulary's {len(self.vocabulary.tokens)} tokens have a vector"
            )
        return lines

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`."""
        return text_space(None if self.vectors is None else self.vectors.shape[1])

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where pretrained vectors and embedding_dim do not agree."""
        wanted = space.largest("embedding_dim")
        if self.vectors is not None and wanted not in (None, self.vectors.shape[1]):
            dim = self.vectors.shape[1]
            raise InputError(f"space.embedding_dim: the vectors of data.vectors have {dim} numbers, not {wanted}")

    def describe(self) -> str:
        """`trec_train, 5952 texts (4771 train, 681 validation, 500 test), 6 classes, 8000 tokens known`."""
        from optlstm.tasks.label.data import describe_split

        split = describe_split(self.split, self.classes)
        return f"{self.texts.name}, {len(self.codes)} texts {split}, {len(self.vocabulary.tokens)} tokens known"

    def record(self) -> dict[str, Any]:
        """Fingerprint, classes, what makes tokens of a text, vectors and the split."""
        import hashlib

        from optlstm.tasks.label.data import record_split

        vectors = None if self.vectors is None else hashlib.sha256(self.vectors.tobytes()).hexdigest()
        return {
            "fingerprint": self.texts.fingerprint,
            "texts": len(self.codes),
            "classes": list(self.classes),
            "class_weights": self.options.class_weights,
            **{key: getattr(self.options, key) for key in _VOCABULARY_KEYS},
            "vectors": vectors,
            **record_split(self.split),
        }

    def data(self) -> LabelledData:
        """Token numbers; each fold knows only the tokens of its own training texts."""
        from optlstm.tasks.label.data import LabelledData

        split = self.split
        return LabelledData(
            self.tokens,
            self.starts,
            self.codes,
            self.classes,
            split.folds,
            split.test,
            self.options.class_weights,
            len(self.vocabulary),
            self.options.min_count,
            self.vectors,
        )

    def evaluator(self) -> LabelEvaluator:
        """The test part, and what a refit trains on."""
        from optlstm.tasks.label.evaluate import LabelEvaluator

        return LabelEvaluator(self)
