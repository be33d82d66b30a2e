"""Writes the trials of a study, with the value of every epoch, to a small CSV file that `search_quality.py` replays.

The study: 500 random configurations of the default space, each trained to its end (needs ETTh1.csv, about an hour of
one core), and then the table:

    python -m optlstm study --data ETTh1.csv --time date --target OT --horizon 24 --trials 500 --seed 8 --name table \\
        --set 'data.splits=[8640,2880,2880]' --set training.patience=0 --sampler random --pruner none --workers 1
    python scripts/bench/search_table.py table scripts/bench/etth1.csv.gz
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import optuna
import pandas as pd


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("file", type=Path)
    parser.add_argument("--storage", default="sqlite:///runs/optlstm.db")
    asked = parser.parse_args()
    study = optuna.load_study(study_name=asked.study, storage=asked.storage)
    trials = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    rows = [
        {**trial.params, **{f"epoch_{epoch}": value for epoch, value in sorted(trial.intermediate_values.items())}}
        for trial in trials
    ]
    text = pd.DataFrame(rows).to_csv(index=False, float_format="%.7g")
    asked.file.write_bytes(gzip.compress(text.encode(), mtime=0))  # the same trials: the same bytes
    print(f"{len(rows)} configurations, {asked.file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
