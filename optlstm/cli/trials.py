"""Commands about one trial of a custom objective's study: `weights`, `replay`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

from optlstm.cli.common import FactoryOption, MovedOption, StorageOption, given_database, study_checkpoints
from optlstm.errors import InputError, did_you_mean
from optlstm.util.output_file import OutputFile


def weights(
    name: Annotated[str, typer.Argument(help="the study's name")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.safetensors", help="the file to write")],
    trial: Annotated[int | None, typer.Option("--trial", metavar="N", help="a trial's number (default: best)")] = None,
    part: Annotated[
        str | None, typer.Option("--part", metavar="NAME", help="of what track(...) was given (default: model)")
    ] = None,
    storage_path: MovedOption = None,
    storage: StorageOption = None,
) -> int:
    """Write the weights that a custom objective's best trial had at its best epoch."""
    from safetensors.torch import save

    from optlstm.console.progress import make_console
    from optlstm.console.studies import disk_space
    from optlstm.run.replay import best_checkpoint, trial_of
    from optlstm.run.stored import stored_config
    from optlstm.study.results import load_study

    file = OutputFile(out, ".safetensors")
    file.check()
    study = load_study(given_database(storage), name)
    if stored_config(study).get("objective") is None:
        raise InputError(f"study '{name}' has no custom objective; its model is made by refit {name} -o MODEL_DIR")
    checkpoints = study_checkpoints(study, storage_path)
    if checkpoints is None:
        raise InputError("storage_path: name the folder of the study's checkpoints: --storage-path")
    chosen = trial_of(study, trial)
    kept = best_checkpoint(study, checkpoints, chosen.number)
    tensors = _tensors(kept.arrays, part)
    about = {"study": name, "trial": chosen.number, "epoch": kept.epoch, "value": kept.value, "params": chosen.params}
    file.write(save(tensors, {"optlstm": json.dumps(about)}))
    size = disk_space(sum(tensor.nbytes for tensor in tensors.values()))
    make_console().print(
        f"{file.path}: trial {chosen.number}, epoch {kept.epoch}, {len(tensors)} tensors, {size}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    return 0


def _tensors(arrays: dict[str, Any], part: str | None) -> dict[str, Any]:
    """The tensors of one part, by their names in it; of all where none is called model. Raises InputError."""
    import numpy as np
    import torch

    if part is not None and part not in arrays:
        raise InputError(f"--part: '{part}' was not kept{did_you_mean(part, arrays)} (kept: {', '.join(arrays)})")
    found: dict[str, Any] = {}

    def collect(value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                collect(item, (*names, str(key)))
        elif isinstance(value, np.ndarray | torch.Tensor):
            tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(value.copy())
            found[".".join(names)] = tensor.contiguous()

    wanted = part or ("model" if "model" in arrays else None)
    kept = arrays if wanted is None else arrays[wanted]
    collect(kept, () if wanted is None or isinstance(kept, dict) else (wanted,))
    if not found:
        raise InputError(f"there are no tensors in what was kept ({', '.join(arrays) or 'nothing'})")
    return found


def replay(
    name: Annotated[str, typer.Argument(help="the study's name")],
    trial: Annotated[int, typer.Argument(help="the trial's number")],
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", help="with its own seed, and K - 1 others")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
    factory: FactoryOption = None,
    storage: StorageOption = None,
) -> int:
    """Train a trial's params again, from scratch; exit code 1 where it is not the study's trial to the last bit."""
    from optlstm.cli.session import stdout_for_results
    from optlstm.console.progress import make_console, shown
    from optlstm.run.replay import replay as train_again
    from optlstm.run.replay import trial_of
    from optlstm.study.results import load_study, value_of

    if seeds < 1:
        raise InputError(f"--seeds: must be 1 or more, got {seeds}")
    study = load_study(given_database(storage), name)
    known, console = trial_of(study, trial), make_console(results=not as_json)
    replays = []
    console.print(f"trial {trial} of study {name}: {known.state.name.lower()}, {shown(value_of(known))}", markup=False)
    with stdout_for_results():
        for again in train_again(study, trial, seeds, factory):
            replays.append(again)
            same = "" if len(replays) > 1 else ", the same" if again.is_as(known) else ", not the same"
            values = " ".join(map(repr, again.values)) or again.problem
            which = "its own seed" if len(replays) == 1 else f"seed {len(replays)}"
            console.print(f"{which}: {values}{same}", soft_wrap=True, markup=False)
    first = [again.values[0] for again in replays if again.values]
    if as_json:
        same_trial = replays[0].is_as(known)
        print(json.dumps({"same": same_trial, "values": [r.values for r in replays]}))
    elif len(first) > 1:
        mean, deviation = statistics.fmean(first), statistics.stdev(first)
        console.print(f"mean of {len(first)} seeds: {mean:.6g}, standard deviation {deviation:.2g}")
    if len(first) > 1 and len({again.values for again in replays}) == 1:
        note = "every seed gave the same: the objective draws no random numbers, or seeds them itself; use trial.seed"
        make_console().print(note, soft_wrap=True, markup=False)
    return 0 if replays[0].is_as(known) else 1
