"""Modules that a study names: nothing imports them but what runs the study, and says so before."""

import re
import subprocess
import sys

import pytest
from campaign.attack import python
from cohorts import spread
from hypothesis import given
from hypothesis import strategies as st

import fastgd
from fastgd.study.raw.plugins import plugins_of, without_plugins
from fastgd.user_code.imports import origin_of

MODULE = """
from typing import NamedTuple
from pathlib import Path
import numpy as np
import fastgd
from fastgd.optimizers import Rate

Path("was_imported").write_text("")

@fastgd.optimizer()
class Sign(NamedTuple):
    lr: Rate
    def rule(h, c, w, g, s):
        return w - h.lr * np.sign(g), ()

def bowl(x):
    return x[0] ** 2 + x[1] ** 2
"""
STUDY = """
name = "own"
epochs = 2
problem = { loss = "logistic", synthetic = { n = 60, d = 3 } }
schedule = { name = "cosine" }
"""
OWN, BUILT_IN = '[[optimizer]]\nname = "mine:Sign"\nlr = 0.1\n', '[[optimizer]]\nname = "sgd"\nlr = [0.1, 0.2]\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "both.toml").write_text(STUDY + OWN + BUILT_IN)
    (tmp_path / "own.toml").write_text(STUDY + OWN)
    return tmp_path


def imported(folder):
    return (folder / "was_imported").exists()


def fastgd_in(folder, *arguments):
    return python("-m", "fastgd", *arguments, cwd=folder, timeout=300)


def test_a_dry_run_imports_nothing_and_plans_the_rest(folder):
    done = fastgd_in(folder, "run", "both.toml", "--dry-run")
    assert not imported(folder)
    assert "would import mine (from ./mine.py), for optimizer 'mine:Sign'\n" in done.stdout
    assert "the plan is that of the study without them" in done.stdout
    assert re.search(r"^2 trials in 1 cohort", done.stdout, re.M)


def test_a_dry_run_of_what_cannot_be_planned_without(folder):
    done = fastgd_in(folder, "run", "own.toml", "--dry-run")
    assert (done.returncode, imported(folder)) == (0, False)
    assert "there is no plan without them: --dry-run --plugins imports them" in done.stdout
    done = fastgd_in(folder, "run", "own.toml", "--dry-run", "--plugins")
    assert imported(folder)
    assert "importing mine (from ./mine.py), for optimizer 'mine:Sign'" in done.stderr
    assert "1 trial in 1 cohort" in done.stdout


@pytest.mark.parametrize("command", spread(["run", "tune", "warmup"], ["run"]))
def test_no_plugins_refuses(folder, command):
    done = fastgd_in(folder, command, "both.toml", "--no-plugins")
    assert (done.returncode, imported(folder)) == (2, False)
    assert "both.toml: optimizer.0.name: optimizer 'mine:Sign': users' modules are not to be imported" in done.stderr


def test_pictures_of_schedules_import_nothing(folder):
    done = fastgd_in(folder, "plot", "both.toml", "--kind", "schedule")
    assert (done.returncode, imported(folder)) == (0, False)
    assert "would import mine" in done.stdout
    assert fastgd_in(folder, "plot", "own.toml", "--kind", "schedule").returncode == 2
    assert not imported(folder)


def test_a_run_names_modules_before_it_imports_them(folder):
    done = fastgd_in(folder, "warmup", "own.toml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("importing mine (from ./mine.py), for optimizer 'mine:Sign'\n")


def test_from_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(fastgd.InputError, match=r"plugins=False\), and this is one: mine \(from \./mine\.py\)"):
        fastgd.Study.from_toml("own.toml", plugins=False)
    assert not imported(folder)


def test_what_a_study_names():
    fields = {
        "problem": [{"landscape": "mine:bowl", "gradient": "mine:slope"}, {"loss": "mine:loss"}],
        "optimizer": [{"name": "sgd"}, {"name": "mine:Sign"}],
    }
    assert plugins_of(fields) == [
        ("optimizer", "mine:Sign"),
        ("loss", "mine:loss"),
        ("landscape", "mine:bowl"),
        ("gradient", "mine:slope"),
    ]
    assert without_plugins(fields) is None
    assert without_plugins({**fields, "problem": {"loss": "logistic"}})["optimizer"] == [{"name": "sgd"}]
    assert plugins_of({"problem": 3, "optimizer": [None, {"name": 1}]}) == []


@given(st.text())
def test_where_a_module_is_found_runs_nothing(name):
    assert origin_of(name)


def test_where_modules_are_found(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("raise SystemExit")
    (folder / "package" / "part.py").write_text("")
    assert origin_of("package.part:f") == "package.part (from ./package/part.py)"
    assert origin_of("nothing.there:f") == "nothing.there (which is not found)"
    assert origin_of("sys:path") == "sys (of Python itself)"
    assert "site-packages" in origin_of("numpy:array")


def test_a_module_that_exits_is_a_message(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "leaves.py").write_text("raise SystemExit(0)")
    with pytest.raises(fastgd.InputError, match="cannot import the module 'leaves'"):
        fastgd.optimizers.find("leaves:Rule")


def test_what_only_looks_like_a_library_is_not_imported(folder):
    """Neither what fastgd needs, nor what its libraries would like to have, such as pandas' numexpr."""
    for name in ("typing", "numpy", "pandas", "json", "numexpr", "bottleneck", "rich", "typer", "llvmlite"):
        (folder / f"{name}.py").write_text("raise SystemExit('of the current folder')")
    (folder / "rest.toml").write_text(STUDY + BUILT_IN)
    done = fastgd_in(folder, "run", "rest.toml", "--dry-run")
    assert done.returncode == 0, done.stderr
    found = subprocess.run(
        [sys.executable, "-c", "import sys; before = sys.path[:]; import fastgd; assert sys.path == before"], check=True
    )
    assert found.returncode == 0


def test_what_is_left_is_drawn_if_anything_in_it_is():
    fields = {"search": {"draws": 9, "seed": 1}, "problem": {"loss": "logistic"}}
    own, other = {"name": "mine:Own", "lr": {"uniform": [0, 1]}}, {"name": "sgd", "lr": 0.1}
    assert without_plugins(fields | {"optimizer": [own, other]})["search"] == {"seed": 1}
    drawn = {"name": "adam", "lr": {"uniform": [0.1, 1]}}
    assert without_plugins(fields | {"optimizer": [own, drawn]})["search"] == fields["search"]
