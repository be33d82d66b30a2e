"""How a population's family tree and schedules are printed."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from optlstm.console.progress import STYLES, WORDS, shown
from optlstm.console.tables import plain_table
from optlstm.study.lineage import Segment, children


def lineage_tree(name: str, trials: Sequence[FrozenTrial]) -> Tree:
    """Every trial under the one it was copied from, with the params that differ from its parent's."""
    below = children(trials)
    tree = Tree(Text(f"study {name}: each trial under the one whose weights it began with", "bold"))

    def grow(branch: Tree, trial: FrozenTrial) -> None:
        node = branch.add(_line(trial, trials))
        for child in below.get(trial.number, []):
            grow(node, child)

    for root in below.get(None, []):
        grow(tree, root)
    return tree


def _line(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> Text:
    first, state = trial.user_attrs.get("from_epoch", 0) + 1, trial.state.name
    epochs = f"epochs {first}-{trial.last_step}" if (trial.last_step or 0) >= first else "no epoch yet"
    line = Text(f"trial {trial.number}", "bold" if state == "COMPLETE" else "")
    line.append(f"  member {trial.user_attrs['member']}  {epochs}  ", "dim")
    line.append(WORDS.get(state, state.lower()), STYLES.get(state, ""))
    if trial.values:
        line.append(f"  {trial.values[0]:.5f}")
    if "parent" in trial.user_attrs:
        before = trials[trial.user_attrs["parent"]].params
        changed = [f"{name}={shown(value)}" for name, value in trial.params.items() if before.get(name) != value]
        line.append("  " + (" ".join(changed) or "same params"), "cyan")
    return line


def schedule_table(segments: Sequence[Segment]) -> Table:
    """One row per segment: epochs, the trial they were trained as, the params that ever change."""
    names = list(dict.fromkeys(name for segment in segments for name in segment.params))
    varying = [name for name in names if len({shown(s.params.get(name, "")) for s in segments}) > 1]
    table = plain_table("epochs", "trial", *(varying or names))
    for segment in segments:
        values = (shown(segment.params.get(name, "")) for name in varying or names)
        table.add_row(f"{segment.first}-{segment.last}", str(segment.trial), *values)
    return table
