from __future__ import annotations

from pathlib import Path

import pytest

from optlstm.tasks.options import DataConfig
from tests.tasks.forecast.samples import write


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    write(tmp_path / "p.csv")
    return DataConfig(path=str(tmp_path / "p.csv"), horizon=4, epoch_steps=1, folds=0)
