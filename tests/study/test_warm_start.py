"""What a study begins with: params to try first, another study's trials, ranges narrowed by an earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.errors import InputError
from optlstm.study.database.connection import Database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.warm_start import imported, narrowed, params_problems, possible_part, searched_part
from tests.study.helpers import CONDITIONAL, KNOWN, drive, record, space, stored_table, table


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"hidden_size": 100}, "enqueue 1: hidden_size = 100 is outside the space (16 to 128, in steps of 16)"),
        ({"learning_rate": 1.0}, "enqueue 1: learning_rate = 1.0 is outside the space (0.0001 to 0.01)"),
        ({"optimizer": "lion"}, "enqueue 1: optimizer = 'lion' is outside the space (one of adam, adamw, sgd)"),
        ({"hiden_size": 32}, "enqueue 1: hiden_size = 32: no such param in the space; did you mean 'hidden_size'?"),
        ({"num_layers": 1}, "enqueue 1: num_layers = 1, but the space fixes it at 2"),
        ({"hidden_size": True}, "enqueue 1: hidden_size = True is outside the space (16 to 128, in steps of 16)"),
        ({"hidden_size": 32.0, "num_layers": 2, "learning_rate": 1e-3}, None),
    ],
)
def test_params_to_try_must_lie_in_the_space(params: dict[str, Any], expected: str | None) -> None:
    assert params_problems([params], space(), "enqueue") == ([expected] if expected else [])


def test_of_a_networks_params_those_of_the_space_are_kept_and_what_it_cannot_have_is_lost() -> None:
    """Not what is not active, nor what the network has no use for."""
    switch = {"choices": ["sgd", "adam"], "default": "adam"}
    rate = {"type": "float", "low": 0.1, "high": 0.9, "default": 0.5, "when": {"optimizer": ["sgd"]}}
    bounds = parse_space(
        {"optimizer": switch, "momentum": rate, "num_layers": 2}, {"momentum": 0.0, "optimizer": "", "num_layers": 1}
    )
    network = {"optimizer": "adam", "momentum": 0.0, "num_layers": 2, "dropout": 0.0, "mine": 3}

    kept, lost = possible_part(network, bounds, {"dropout": 0.0})
    assert (kept, lost) == ({"optimizer": "adam"}, {"mine": 3})
    kept, lost = possible_part({**network, "optimizer": "sgd", "num_layers": 1}, bounds, {"dropout": 0.1})
    assert (kept, lost) == ({"optimizer": "sgd"}, {"momentum": 0.0, "num_layers": 1, "dropout": 0.0, "mine": 3})


def test_enqueued_params_come_after_the_defaults_and_the_rest_is_drawn(sqlite: Database, name: str) -> None:
    wanted = searched_part({"hidden_size": 48.0, "num_layers": 2}, space())
    ledger = drive(Ledger(sqlite, name, record(enqueued=(wanted,))), 4)
    assert ledger.trials[0].params == space().defaults()
    assert ledger.trials[1].params["hidden_size"] == 48
    assert "learning_rate" in ledger.trials[1].params


def test_params_to_try_are_queued_one_by_one_so_that_a_short_run_leaves_none_waiting(
    database: Database, name: str
) -> None:
    queue = ({"hidden_size": 48}, {"hidden_size": 64}, {"hidden_size": 80})
    short = drive(Ledger(database, name, record(enqueued=queue)), 2)
    assert dict(short.counts) == {"COMPLETE": 2}

    longer = drive(Ledger(database, name, record(enqueued=queue)), 5)

    whole = drive(Ledger(database, f"{name} whole", record(enqueued=queue)), 5)
    assert [t.params for t in longer.trials] == [t.params for t in whole.trials]
    assert [t.params["hidden_size"] for t in longer.trials[1:4]] == [48, 64, 80]


def test_narrowed_ranges_are_those_of_the_best_quarter(sqlite: Database, name: str) -> None:
    ledger = drive(Ledger(sqlite, name, record()), 40)
    spec = ledger.record.space.spec()
    section = narrowed(spec, ledger.ranking, name)
    top = ledger.ranking[:10]
    rates = [t.params["learning_rate"] for t in top]
    assert (section["learning_rate"]["low"], section["learning_rate"]["high"]) == (min(rates), max(rates))
    again = parse_space(section, KNOWN)
    for trial in top:
        assert params_problems([trial.params], again, "") == []
    assert again.defaults() == top[0].params


def test_narrowing_drops_a_param_that_no_condition_asks_for_any_more() -> None:
    from optuna.trial import create_trial

    parsed = space({**CONDITIONAL, "hidden_size": 32, "learning_rate": 1e-3})
    adam: Any = create_trial(
        value=1.0, params={"optimizer": "adam"}, distributions={"optimizer": parsed.params[0].distribution()}
    )
    section = narrowed(parsed.spec(), [adam] * 8, "x")
    assert section["optimizer"] == "adam"
    assert "momentum" not in section


def test_trials_of_another_study_are_known_to_the_sampler_and_not_counted(database: Database, name: str) -> None:
    source = drive(Ledger(database, f"{name} source", record(pruner="asha")), 20)
    study = record("tpe", seed=9, imported="source")
    taken = imported(source.trials, source.record.stored(), study)
    ledger = drive(Ledger(database, name, study, imported=taken), 3)

    assert (len(taken), ledger.ended, len(ledger.trials)) == (20, 3, 23)
    for mine, theirs in zip(ledger.trials, source.trials, strict=False):
        assert (mine.state, mine.values, mine.params) == (theirs.state, theirs.values, theirs.params)
        assert mine.intermediate_values == theirs.intermediate_values
        assert (mine.user_attrs["imported_from"], mine.user_attrs["imported_trial"]) == ("source", theirs.number)
    assert len(drive(Ledger(database, name, study, imported=taken), 3).trials) == 23  # the second time it is there
    assert stored_table(database, name) == table(ledger.trials)


def test_only_what_the_space_holds_is_taken(sqlite: Database, name: str) -> None:
    source = drive(Ledger(sqlite, f"{name} source", record()), 20)
    small = space({**CONDITIONAL, "hidden_size": {"low": 16, "high": 64, "step": 16}, "optimizer": "sgd"})
    taken = imported(source.trials, source.record.stored(), record(space=small, imported="source"))
    fitting = [t for t in source.trials if t.params["hidden_size"] <= 64 and t.params["optimizer"] == "sgd"]
    assert 0 < len(taken) == len(fitting) < 20
    assert all("optimizer" not in t.params and "momentum" in t.params for t in taken)


def test_an_incompatible_study_is_refused_with_its_params(sqlite: Database, name: str) -> None:
    source = drive(Ledger(sqlite, f"{name} source", record()), 2)
    other = {"hidden_size": {"low": 16, "high": 64}, "dropout": {"low": 0.0, "high": 0.5}}
    changed = record(space=space(other), imported="source", direction="maximize")
    with pytest.raises(InputError) as caught:
        imported(source.trials, source.record.stored(), changed)
    assert caught.value.problems == [
        "import_from: study 'source' is another search: it has direction = minimize, this one has maximize;"
        " it searches optimizer, momentum, learning_rate, which this one has not;"
        " this one searches dropout, which it has not"
    ]
