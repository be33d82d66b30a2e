"""What only Ray has: its ASHA, its nodes, its pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from optlstm.backends.driver import Run
from optlstm.backends.ray.runner import run_ray
from optlstm.backends.trial import Job
from optlstm.config.schema import RayConfig
from optlstm.errors import InputError
from optlstm.study.events import EpochReported, Event
from optlstm.study.ledger import Ledger
from tests.backends.contract import Studies, job, table
from tests.backends.objectives import MakeWorkerName
from tests.conftest import Cli

pytestmark = pytest.mark.ray

ASHA: dict[str, Any] = {
    "pruner": "asha",
    "pruner_options": {"grace_period": 1, "reduction_factor": 2, "brackets": 1},
    "scheduler": "asha",
}
SENTINEL = "sentinel-pa55word"


def run_asha(ledger: Ledger, total: int, at_once: int = 1, stop_after: int | None = None, **curve: Any) -> None:
    run = Run(ledger, total)
    seen: list[Event] = []

    def stop(event: Event) -> None:
        if isinstance(event, EpochReported):
            seen.append(event)
            if len(seen) == stop_after:
                run.stop("test")

    ledger.listen(stop)
    run_ray(run, job(**curve), workers=at_once)


def asha_rule(trials: list[dict[int, float]], factor: int) -> list[int]:
    """Where ASHA stops each trial, run one after the other; 0: nowhere. Written from the paper, not from Ray."""
    rungs: dict[int, list[float]] = {1: [], 2: [], 4: []}
    stopped = []
    for values in trials:
        at = 0
        for epoch in sorted(rungs):
            others, rungs[epoch] = rungs[epoch], [*rungs[epoch], values[epoch]]
            if others and _below_cutoff(others, values[epoch], factor):
                at = epoch
                break
        stopped.append(at)
    return stopped


def _below_cutoff(others: list[float], value: float, factor: int) -> bool:
    import numpy as np

    return -value < float(np.percentile([-other for other in others], (1 - 1 / factor) * 100))


@pytest.mark.usefixtures("local_ray")
def test_asha_stops_where_the_rule_says_and_every_report_is_kept(studies: Studies) -> None:
    ledger = studies.ledger(sampler="random", **ASHA)
    run_asha(ledger, 16)
    full = studies.ledger("full", sampler="random", pruner="none")
    run_ray(Run(full, 16), job(), workers=1)
    expected = asha_rule([t.intermediate_values for t in full.trials], 2)
    assert [t.last_step if t.state.name == "PRUNED" else 0 for t in ledger.trials] == expected
    assert len({at for at in expected if at}) >= 2
    for mine, whole in zip(ledger.trials, full.trials, strict=True):
        last = mine.last_step or 0
        assert mine.intermediate_values == {e: v for e, v in whole.intermediate_values.items() if e <= last}
        if mine.state.name == "PRUNED":
            assert mine.user_attrs["reason"] == f"ray's asha at epoch {last}"


@pytest.mark.usefixtures("local_ray")
def test_asha_continued_decides_as_if_it_had_never_stopped(studies: Studies) -> None:
    options = {**ASHA, "pruner_options": {**ASHA["pruner_options"], "brackets": 2}}
    trouble = {3: (2, "nan"), 6: (2, "raise")}
    unbroken = studies.ledger("unbroken", **options)
    run_asha(unbroken, 14, trouble=trouble)
    for stop_after in (9, None):
        run_asha(studies.ledger("broken", **options), 14, stop_after=stop_after, trouble=trouble)
    assert table(studies.ledger("broken", **options)) == table(unbroken)
    assert unbroken.counts["PRUNED"] > 2


@pytest.mark.usefixtures("local_ray")
def test_a_ray_of_our_own_listens_on_loopback_alone_and_keeps_its_token_to_itself() -> None:
    """Stands before the tests with `nodes`, which are children of this process too and listen as their flags say."""
    import ray

    @ray.remote
    def nothing() -> None:
        pass

    ray.get(nothing.remote())  # a worker, which listens too
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 4
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    token = Path("~/.ray/auth_token").expanduser()
    assert token.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("local_ray")
def test_a_place_whose_worker_died_is_used_again_though_trials_are_shorter_than_its_start(
    studies: Studies, tmp_path: Path
) -> None:
    ledger = studies.ledger(sampler="random", pruner="none")
    run_ray(Run(ledger, 30), Job(MakeWorkerName(), str(tmp_path)), workers=2)
    assert len({trial.user_attrs["worker"] for trial in ledger.trials}) == 2


@pytest.mark.usefixtures("local_ray")
def test_a_trial_that_fits_nowhere_is_refused(studies: Studies) -> None:
    with pytest.raises(InputError, match="a trial asks for 64 CPU, and the largest node has 2 CPU"):
        run_ray(Run(studies.ledger(), 2), job(), RayConfig.model_validate({"cpus_per_trial": 64}))


@pytest.mark.usefixtures("local_ray")
def test_a_study_that_is_refused_is_not_created(cli: Cli) -> None:
    refused = cli("study", "tiny.toml", "--backend", "ray", "--set", "ray.cpus_per_trial=64")

    message = "--backend ray: a trial asks for 64 CPU, and the largest node has 2 CPU"
    assert (refused.code, refused.lines) == (2, [message])
    assert not Path("runs").exists()


@pytest.mark.usefixtures("local_ray")
def test_nothing_ray_writes_holds_the_password(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from sqlalchemy.engine import make_url

    monkeypatch.setenv("OPTLSTM_KEEP_RAY_FOLDER", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    studies = Studies(tmp_path)
    studies.url = make_url(postgresql_url).set(password=SENTINEL).render_as_string(hide_password=False)
    run_ray(Run(studies.ledger(), 4), job(), workers=2)
    studies.close()
    session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[union-attr]
    files = [p for folder in (tmp_path, session) for p in folder.rglob("*") if p.is_file() and not p.is_socket()]
    assert any(p.name == "tuner.pkl" for p in files)
    assert any(p.name.startswith("searcher-state") for p in files)
    assert [p for p in files if SENTINEL.encode() in p.read_bytes()] == []
    ours = [p for p in psutil.process_iter(["cmdline"]) if SENTINEL in " ".join(p.info["cmdline"] or [])]
    assert ours == []
