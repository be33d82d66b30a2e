"""Texts cut into tokens, and numbered by a vocabulary of the training texts; pretrained vectors. No pandas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optlstm.errors import InputError
from optlstm.util.arrays import Integers
from optlstm.util.format import quoted

PADDING, UNKNOWN = 0, 1  # token numbers; a vocabulary's first token is 2
_LOOKED_AT = 1000  # texts, to see how they are written
_LONGEST_WORD = 20  # characters, on average
# Of scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True)
class Tokenizer:
    """How a text becomes tokens. level: word (words and single punctuation marks) or character."""

    level: str = "word"
    lowercase: bool = True
    most: int = 400  # tokens of a text that are read

    def __call__(self, text: str) -> list[str]:
        text = text.lower() if self.lowercase else text
        tokens = _WORD.findall(text) if self.level == "word" else list(text)
        return tokens[: self.most]


def lack_blanks(texts: Iterable[str]) -> bool:
    """Whether texts are written without blanks between words, as Chinese or genes are: a token would be a phrase."""
    text = "\n".join(islice(texts, _LOOKED_AT))
    letters, words = sum(map(str.isalnum, text)), _WORD.findall(text)
    return len(_UNSPACED.findall(text)) > letters / 2 > text.count(" ") * 2 or letters > _LONGEST_WORD * len(words)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens with their numbers, from 2 on; 0 is padding, 1 an unknown token."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], most: int, min_count: int) -> Vocabulary:
        """The `most` frequent tokens of tokenised texts that occur `min_count` times; ties by the alphabet."""
        counts = Counter(token for text in texts for token in text)
        ranked = sorted((-count, token) for token, count in counts.items() if count >= min_count)
        return cls(tuple(token for _, token in ranked[:most]))

    def __len__(self) -> int:
        """The count of token numbers, padding and unknown included."""
        return len(self.tokens) + UNKNOWN + 1

    @property
    def numbers(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens, start=UNKNOWN + 1)}

    def encode(self, texts: Iterable[Sequence[str]]) -> tuple[npt.NDArray[np.int32], Integers]:
        """(token numbers one text after the other [tokens], starts [n + 1]). A text without a token is one unknown."""
        numbers = self.numbers
        coded = [[numbers.get(token, UNKNOWN) for token in text] or [UNKNOWN] for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(text) for text in coded])]).astype(np.int64)
        return np.array([number for text in coded for number in text], dtype=np.int32), starts


def read_vectors(path: Path, vocabulary: Vocabulary) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Pretrained vectors in GloVe's text format: a token and its numbers a line; the file is read line by line.

    Returns:
        (vectors [len(vocabulary), dim], in_file [len(vocabulary)]); rows of tokens that the file lacks are 0.

    Raises:
        InputError: there is no such file, or a line is not of that format.
    """
    numbers = vocabulary.numbers
    rows: dict[int, npt.NDArray[np.float32]] = {}
    dim = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line_number, line in enumerate(file, start=1):
                parts = line.rstrip("\n").split(" ")
                if line_number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
                    continue  # word2vec's and fastText's first line: how many, and how long
                dim = dim or len(parts) - 1
                # Some of GloVe's tokens hold blanks: the vector is the end of the line.
                token = " ".join(parts[:-dim]) if dim > 0 else ""
                if dim < 1 or len(parts) <= dim:
                    raise InputError(_bad_vector(path, line_number, line, f"{len(parts) - 1} numbers, not {dim}"))
                if token in numbers:
                    with np.errstate(over="ignore"):
                        row = rows[numbers[token]] = np.array(parts[-dim:], dtype=np.float32)
                    if not np.isfinite(row).all():
                        problem = (
                            f"the vector of {quoted(token)} is not finite (NaN, infinity, or beyond 32-bit floats)"
                        )
                        raise InputError(_bad_vector(path, line_number, line, problem))
    except ValueError:
        problem = "something other than numbers behind its token"
        raise InputError(_bad_vector(path, line_number, line, problem)) from None
    except OSError as error:
        raise InputError(f"data.vectors: '{path.name}' cannot be read: {error.strerror}") from None
    if not dim:
        raise InputError(f"data.vectors: {path.name} is empty")
    vectors, in_file = np.zeros((len(vocabulary), dim), dtype=np.float32), np.zeros(len(vocabulary), dtype=bool)
    for number, row in rows.items():
        vectors[number], in_file[number] = row, True
    return vectors, in_file


def _bad_vector(path: Path, number: int, line: str, problem: str) -> str:
    if "\0" in line or ("\ufffd" in line and number <= 2):
        return f"data.vectors: {path.name} is no UTF-8 text (binary, or compressed); save it in GloVe's text format"
    if not line.strip():
        problem = "it is empty"
    elif " " not in line.strip():
        problem = "separated by tabs, not by blanks" if "\t" in line else "a token without numbers"
    expected = "a line is a token and its numbers, separated by blanks"
    return f"data.vectors: {path.name}, line {number}: {problem}; {expected}"
