"""scikit-learn's own checks of `SequenceClassifier` and `SequenceRegressor`: a row for each that does not pass.

The checks feed [n, features], which is taken for sequences of one channel. Studies are tiny: of one trial.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from typing import Any

from sklearn.utils.estimator_checks import check_estimator

from optlstm import SequenceClassifier, SequenceRegressor

SMALL = {
    "n_trials": 1,
    "epochs": 8,
    "seeds": 1,
    "space": {"hidden_size": 8, "num_layers": 1, "learning_rate": 0.02, "batch_size": 16},
    "config": {"folds": 0},
}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    failed = 0
    for estimator in (SequenceClassifier(**SMALL), SequenceRegressor(**SMALL)):
        name, counts, began = type(estimator).__name__, Counter[str](), time.process_time()

        def report(
            *, check_name: str, status: str, exception: Any, name: str = name, counts: Counter[str] = counts, **_: Any
        ) -> None:
            counts[status] += 1
            if status != "passed":
                print(f"| {name} | {check_name} | {status} | {' '.join(str(exception).split())[:300]} |", flush=True)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_estimator(estimator, on_skip=None, on_fail=None, callback=report)
        print(f"{name}: {dict(counts)}, {time.process_time() - began:.0f} s of processor time", flush=True)
        failed += counts["failed"]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
