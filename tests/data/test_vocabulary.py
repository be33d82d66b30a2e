"""Tokens, their numbers, and pretrained vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optlstm.data.vocabulary import UNKNOWN, Tokenizer, Vocabulary, lack_blanks, read_vectors
from optlstm.errors import InputError


def test_tokens() -> None:
    assert Tokenizer()("What's a Kiwi-bird?") == ["what's", "a", "kiwi", "-", "bird", "?"]
    assert Tokenizer(lowercase=False, most=2)("A b c") == ["A", "b"]
    assert Tokenizer(level="character")("Ab !") == ["a", "b", " ", "!"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("很好吃。我喜欢这家店", True),
        ("おはようございます。元気ですか", True),
        ("สวัสดีครับ", True),
        ("ACGTTGCAACGTTGCAACGTTGCA", True),
        ("很 好 吃 。 我 喜欢 这 家 店", False),  # cut into words already
        ("the food was 很好吃 and we were happy", False),
        ("fine", False),
        ("", False),
    ],
)
def test_texts_without_blanks_are_seen(text: str, expected: bool) -> None:
    assert lack_blanks([text] * 3) is expected


def test_frequent_tokens_come_first_and_others_are_unknown() -> None:
    vocabulary = Vocabulary.of([["b", "a", "b"], ["c", "a"], ["d"]], most=3, min_count=1)

    assert vocabulary.tokens == ("a", "b", "c")
    tokens, starts = vocabulary.encode([["b", "zebra", "a"], [], ["d"]])
    assert tokens.tolist() == [3, UNKNOWN, 2, UNKNOWN, UNKNOWN]
    assert starts.tolist() == [0, 3, 4, 5]
    assert Vocabulary.of([["b", "a", "b"]], most=9, min_count=2).tokens == ("b",)


def test_vectors_of_known_tokens_are_read(tmp_path: Path) -> None:
    file = tmp_path / "glove.txt"
    file.write_text("the 1 2 3\na 4 5 6\nnew york 7 8 9\n", encoding="utf-8")
    vocabulary = Vocabulary(("a", "b", "new york"))

    vectors, found = read_vectors(file, vocabulary)

    assert found.tolist() == [False, False, True, False, True]
    np.testing.assert_array_equal(vectors[[2, 4]], [[4, 5, 6], [7, 8, 9]])
    file.write_text("2 3\nb 1 2 3\n")  # word2vec's first line
    assert read_vectors(file, vocabulary)[0][3].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a 1 2\nb 3\n", "line 2: 1 numbers, not 2"),
        ("a 1 x\n", "line 1: something other than numbers"),
        ("b 1 2\na 1 nan\n", "line 2: the vector of 'a' is not finite"),
        ("a 1 1e300\n", "line 1: the vector of 'a' is not finite"),
        ("\n", "line 1: it is empty"),
        ("a\t1\t2\n", "line 1: separated by tabs, not by blanks"),
        ("a\n", "line 1: a token without numbers"),
        ("\x1f\ufffd\0\n", "vectors.txt is no UTF-8 text"),
        ("1 2\na \0\ufffd\0 \0\n", "vectors.txt is no UTF-8 text"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(text)

    with pytest.raises(InputError, match=message):
        read_vectors(file, Vocabulary(("a",)))
