"""Standard scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optlstm.data.scaling import Standardizer
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli


def test_standard_scores_by_column() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0]])

    scaler = Standardizer.fit(values, "rows")

    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # population; a constant column's is taken to be 1
    assert scaler.transform(values).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("column", "options", "subject"),
    [
        (2, (), "small.csv"),
        (2, ("--series", "unique_id"), "series 'b'"),
        (2, ("--series", "unique_id", "--set", "data.scaling=global"), "small.csv"),
        (3, ("--set", "data.past=past"), "column 'past'"),
    ],
)
def test_values_that_differ_by_too_little_to_be_standardised_are_refused(
    cli: Cli, column: int, options: tuple[str, ...], subject: str
) -> None:
    rows = [[i, "a" if i % 2 else "b", i % 24, i % 24] for i in range(400)]
    for row in rows:
        row[column] = f"{(int(str(row[0])) % 7) * 1e-170:g}"
    header = "ds,unique_id,y,past" if "--series" in options else "ds,name,y,past"
    Path("small.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    command = ("study", "--data", "small.csv", "--target", "y", "--horizon", "4", "--set", "space.window=8", *options)

    refuses(cli, command, [[f"data: {subject}: its values differ by less than 1e-150, too little to be standardised"]])


def test_sequences_that_differ_by_too_little_are_refused() -> None:
    from optlstm.errors import InputError

    with pytest.raises(InputError, match="too little to be standardised"):
        Standardizer.fit(np.array([[1.0, 0.0], [1.0, 1e-170]]), "a channel")
    assert Standardizer.fit(np.array([[1.0, 1e-170], [2.0, 1e-170]]), "a channel").std.tolist() == [0.5, 1.0]
