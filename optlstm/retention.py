"""Which checkpoints stay on disk: those of unfinished trials, and of the best few complete ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from optlstm.objective import trial_folder
from optlstm.study.ledger import Ledger

KEEP_BEST = 3


def study_folder(root: Path, name: str, study_uid: str) -> Path:
    """A folder of the study's own: two databases may each have a study of this name."""
    return root / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('.-') or 'study'}-{study_uid[:8]}"


def sweep(checkpoints: Path, ledger: Ledger) -> None:
    """Remove the checkpoints of ended trials that are not among the best. Safe to repeat, also after a kill."""
    trials = ledger.trials
    kept = {trial_folder(checkpoints, t.number).name for t in ledger.ranking[:KEEP_BEST]}
    kept |= {trial_folder(checkpoints, t.number).name for t in trials if not t.state.is_finished()}
    for folder in checkpoints.glob("trial-*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
