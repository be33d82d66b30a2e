"""Code that a study names: read, fingerprinted and imported the same way wherever it is named."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from optlstm.errors import InputError
from optlstm.util.user_code import UserFile, UserFunction, fingerprint

SOURCE = "BASE = 1\n\n\ndef add(x):\n    return BASE + x\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "user_sums", raising=False)
    Path("user_sums.py").write_text(SOURCE)
    return tmp_path / "user_sums.py"


def test_a_fingerprint_is_of_what_the_code_does() -> None:
    assert fingerprint(SOURCE) == fingerprint("# a comment\nBASE=1\ndef add(x): return BASE + x")
    assert fingerprint(SOURCE) != fingerprint(SOURCE.replace("+", "-"))


def test_a_function_runs_from_its_text_where_its_module_is_not(module: Path) -> None:
    function = UserFunction.read("key", "user_sums:add", "function(x) -> int")
    module.unlink()
    del sys.modules["user_sums"]
    travelled = pickle.loads(pickle.dumps(function))

    assert travelled.load()(1) == 2
    assert travelled.fingerprint == fingerprint(SOURCE)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("user_sums", "key: must be module:function, got 'user_sums'"),
        ("user_sums:", "key: must be module:function, got 'user_sums:'"),
        ("user_sums:BASE", "key: user_sums has no BASE(x) -> int"),
        ("broken:f", "key: importing broken raised ZeroDivisionError: division by zero"),
        ("leaving:f", "key: importing leaving raised SystemExit: 3"),
    ],
)
def test_a_function_that_cannot_be_had_is_refused_in_a_line(module: Path, reference: str, expected: str) -> None:
    Path("broken.py").write_text("1 / 0")
    Path("leaving.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError) as refused:
        UserFunction.read("key", reference, "function(x) -> int")
    assert refused.value.problems == [expected]


def test_a_file_imports_what_lies_beside_it_and_in_a_working_folder_above(module: Path) -> None:
    Path("sub").mkdir()
    beside = module.rename("sub/user_sums.py")
    (beside.parent / "main.py").write_text("from user_sums import add\nimport user_above\nTHREE = add(2)\n")
    Path("user_above.py").touch()
    file = UserFile.read("key", "sub/main.py")

    assert file.run("key", "user_main").THREE == 3
    assert file.path == str((beside.parent / "main.py").absolute())
    for name in ("user_main", "user_above"):
        sys.modules.pop(name)


def test_a_file_that_is_not_there_is_refused_with_the_nearest_name(module: Path) -> None:
    with pytest.raises(InputError, match=r"^key: user_sum.py does not exist; did you mean 'user_sums.py'\?$"):
        UserFile.read("key", "user_sum.py")
