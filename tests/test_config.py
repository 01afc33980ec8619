"""The study file: what it may say, what it becomes, and that the Python face is the same."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import get_data_home

from fastgd import InputError
from fastgd.optimizers import OPTIMIZERS
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data
from fastgd.study.config import METRICS, Schedule, Study
from fastgd.study.fields import LAYER_METRICS

ROOT = Path(__file__).parent.parent
STUDIES = [*sorted(ROOT.glob("studies/**/*.toml")), ROOT / "fastgd/data/demo.toml"]
SMALLEST = """
name = "small"
epochs = 3
[problem]
loss = "logistic"
dataset = "flights"
[[optimizer]]
name = "sgd"
lr = 0.1
"""


def write(tmp_path, text, name="study.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, text, *assignments):
    return Study.from_toml(write(tmp_path, text), set=assignments)


def with_lr(value, **more):
    fields = {"name": "s", "epochs": 3, "problem": {"loss": "logistic"}, "optimizer": [{"name": "sgd", "lr": value}]}
    return Study(**(fields | more))


def test_defaults(tmp_path):
    study = read(tmp_path, SMALLEST)
    assert (study.epochs, study.steps) == (3, None)
    assert (study.seed, study.batch_size, study.dtype, study.order, study.init) == (
        [0],
        ["full"],
        "float64",
        "shuffle",
        "zeros",
    )
    (problem,) = study.problem
    assert (problem.l2, problem.validation, problem.split_seed, problem.intercept) == ([0.0], 0.0, [0], False)
    assert study.schedule == [Schedule(name="constant")]
    assert (study.stop.target, study.stop.diverge, study.stop.patience) == (None, 1e3, None)
    assert (study.record.every, study.record.parameters) == ("epoch", "none")
    assert study.record.metrics == ["loss", "validation_loss", "param_norm"]


FULL = """
name = "every key"
steps = 5000
seed = [3, 1]
batch_size = [64, "full"]
dtype = "float32"
order = "sequential"
init = { normal = 0.1 }
max_seconds = 3600

[[problem]]
name = "a"
loss = "logistic"
path = "rows.csv"
target = "late"
positive = "yes"
intercept = true
standardize = true
l2 = { log = [1e-6, 1e-2], num = 3 }
validation = "more.csv"
layout = "dense"
sparse = "masked"

[[problem]]
name = "b"
loss = "squared"
synthetic = { n = 1000, d = 10, task = "regression" }
validation = 0.25
split_seed = 7

[[optimizer]]
name = "momentum"
lr = { log = [1e-4, 1e1], num = 6 }
momentum = [0.5, 0.9]
form = ["torch", "lecture"]
schedule = { name = "step", every = [2, 5] }

[[optimizer]]
name = "adam"
lr = { linear = [0.1, 0.3], num = 3 }
bias_correction = false

[[schedule]]
name = "cosine"
final = [0.0, 0.1]
horizon = "torch"

[[schedule]]
name = "exponential"
k = 0.1
per = "step"

[stop]
target = 0.3
diverge = 50
patience = 5

[record]
every = { log = 200 }
metrics = ["r2", "accuracy", "grad_norm"]
parameters = "best"
"""


def test_every_key(tmp_path):
    study = read(tmp_path, FULL)
    assert study.steps == 5000
    assert study.batch_size == [64, "full"]
    assert study.init == {"normal": 0.1}
    first, second = study.problem
    assert first.path == str(tmp_path / "rows.csv")
    assert first.validation == str(tmp_path / "more.csv")
    assert first.l2 == [1e-6, 1e-4, 1e-2]
    assert second.synthetic == {"n": 1000, "d": 10, "condition": 1.0, "noise": 0.0, "seed": 0, "task": "regression"}
    assert study.record.metrics == ["loss", "validation_loss", "param_norm", "grad_norm", "accuracy", "r2"]
    assert study.record.every == {"log": 200}
    # a grid in an optimizer's own schedule makes one block for each of its schedules
    momentum, second_momentum, adam = study.optimizer
    unset = {"dampening": [0.0], "weight_decay": [0.0]}
    assert momentum.hyper == {"lr": [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], "momentum": [0.5, 0.9], **unset}
    assert momentum.options == {"form": ["torch", "lecture"]}
    assert momentum.hyper == second_momentum.hyper
    assert [block.schedule.params["every"] for block in (momentum, second_momentum)] == [2.0, 5.0]
    assert adam.hyper == {"lr": [0.1, 0.2, 0.3], "beta1": [0.9], "beta2": [0.999], "eps": [1e-8]}
    assert adam.options == {"eps_inside": [False], "bias_correction": [False], "eps_hat": [False]}
    assert adam.schedule is None
    assert [(s.name, s.params, s.per, s.horizon) for s in study.schedule] == [
        ("cosine", {"final": 0.0, "start": 1.0}, "epoch", "torch"),
        ("cosine", {"final": 0.1, "start": 1.0}, "epoch", "torch"),
        ("exponential", {"k": 0.1, "start": 1.0}, "step", "last"),
    ]


@pytest.mark.parametrize("text", [SMALLEST, FULL], ids=["smallest", "full"])
def test_normalised_file_reads_back_equal(tmp_path, text):
    study = read(tmp_path, text)
    normalised = study.to_toml()
    again = read(tmp_path, normalised)
    assert again == study
    assert again.to_toml() == normalised
    elsewhere = tmp_path / "results"
    elsewhere.mkdir()
    assert read(elsewhere, normalised) == study  # paths are absolute: the file can be run from where the results lie


def test_python_face_is_the_same_model(tmp_path):
    for text in (SMALLEST, FULL):
        study = read(tmp_path, text)
        fields = tomllib.loads(study.to_toml())
        assert Study(**fields) == study
        assert Study(**dict(study)) == study  # its own parts are accepted too


def test_python_values_are_taken_as_they_come(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(
        name="python",
        epochs=np.int64(4),
        seed=range(3),
        batch_size=(16, "full"),
        problem={"loss": "squared", "path": tmp_path / "a.npz", "validation": "b.npz"},
        optimizer=[{"name": "sgd", "lr": np.array([0.1, 0.2])}, {"name": "adadelta", "rho": np.float64(0.5)}],
        schedule={"name": "multistep", "milestones": pd.Series([1, 3]), "factor": 0.5},
    )
    assert study.epochs == 4
    assert study.seed == [0, 1, 2]
    assert study.batch_size == [16, "full"]
    assert study.problem[0].path == str(tmp_path / "a.npz")
    assert study.problem[0].validation == str(tmp_path / "b.npz")
    assert study.optimizer[0].hyper["lr"] == [0.1, 0.2]
    assert study.optimizer[1].hyper == {"lr": [1.0], "rho": [0.5], "eps": [1e-6]}
    assert study.schedule[0].params["milestones"] == (1, 3)


def test_a_source_of_data_may_be_left_to_run():
    assert with_lr(0.1).problem[0].dataset is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_its_own_keys(name):
    record = OPTIMIZERS[name]
    keys = {key: 0.5 if default is None else default for key, default in record.hyper.items()}
    keys |= {key: list(values) for key, values in record.options.items()}
    (block,) = with_lr(1, optimizer=[{"name": name, **keys}]).optimizer
    assert list(block.hyper) == list(record.hyper)
    assert list(block.options) == list(record.options)
    assert all(block.options[key] == list(values) for key, values in record.options.items())


def test_users_own_optimizer(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text(
        "from typing import Annotated, NamedTuple\n"
        "from annotated_types import Gt\n"
        "from fastgd.optimizers import optimizer\n"
        "@optimizer()\n"
        "class Sign(NamedTuple):\n"
        "    lr: Annotated[float, Gt(0)]\n"
        "    power: float = 2.0\n"
        "    def rule(h, c, w, g, s):\n"
        "        return w - h.lr * g, s\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    study = with_lr(1, optimizer=[{"name": "own_rules:Sign", "lr": [0.1, 0.2], "power": -1}])
    assert study.optimizer[0].name == "own_rules:Sign"
    assert study.optimizer[0].hyper == {"lr": [0.1, 0.2], "power": [-1.0]}
    assert read(tmp_path, study.to_toml()) == study


@given(st.floats(1e-12, 1e3), st.floats(1.001, 1e6), st.integers(2, 200))
def test_log_grids(low, factor, num):
    high = low * factor
    values = with_lr({"log": [low, high], "num": num}).optimizer[0].hyper["lr"]
    assert (values[0], values[-1], len(values)) == (low, high, num)
    np.testing.assert_allclose(values, np.geomspace(low, high, num), rtol=1e-11)


@given(st.floats(0, 1e6), st.floats(1, 1e6), st.integers(2, 200))
def test_linear_grids(low, width, num):
    study = with_lr(1, problem={"loss": "squared", "l2": {"linear": [low, low + width], "num": num}})
    values = study.problem[0].l2
    assert (values[0], values[-1], len(values)) == (low, low + width, num)
    np.testing.assert_allclose(values, np.linspace(low, low + width, num), rtol=1e-11)


def test_grids_give_readable_decades():
    assert with_lr({"log": [1e-5, 1e1], "num": 7}).optimizer[0].hyper["lr"] == [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]


def test_a_hundred_thousand_trials_validate(tmp_path):
    text = SMALLEST.replace("lr = 0.1", "lr = { log = [1e-5, 1e1], num = 100_000 }")
    path = write(tmp_path, text)
    study = Study.from_toml(path)
    assert len(study.optimizer[0].hyper["lr"]) == 100_000


def test_momentum_schedule(tmp_path):
    own = '\nschedule = { name = "cosine", of = "momentum", start = 0.5, final = 0.99 }'
    study = read(tmp_path, SMALLEST.replace('"sgd"\nlr = 0.1', '"momentum"\nlr = 0.1' + own))
    assert study.optimizer[0].schedule == Schedule(name="cosine", of="momentum", params={"final": 0.99, "start": 0.5})


def test_metrics_are_in_one_order():
    left_out = ("r2", "validation_accuracy", "top_5", *LAYER_METRICS)
    shuffled = list(reversed([name for name in METRICS if not name.endswith(left_out)]))
    study = with_lr(0.1, record={"metrics": shuffled})
    assert study.record.metrics == [name for name in METRICS if name in shuffled]


def test_overrides(tmp_path):
    study = read(
        tmp_path,
        SMALLEST,
        "optimizer.0.lr=[0.1, 1]",
        "dtype=float32",
        "name='other'",
        "stop.target = 0.3",
        "problem.validation=0.5",
        "problem.0.l2={ log = [1e-4, 1e-2], num = 3 }",
        "problem.0.l2.num=2",
    )
    assert study.optimizer[0].hyper["lr"] == [0.1, 1.0]
    assert (study.dtype, study.name, study.stop.target) == ("float32", "other", 0.3)
    assert study.problem[0].validation == 0.5
    assert study.problem[0].l2 == [1e-4, 1e-2]


def test_overrides_reach_lists(tmp_path):
    study = read(tmp_path, FULL, "problem.1.loss=huber", "optimizer.0.momentum.1=0.99", "seed=5")
    assert study.problem[1].loss == "huber"
    assert study.optimizer[0].hyper["momentum"] == [0.5, 0.99]
    assert study.seed == [5]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_that_come_along(path):
    """They can be read and planned, with the data that they name."""
    study = Study.from_toml(path)
    assert study.name == path.stem
    if study.landscapes:
        make_plan(study)
        return
    named = {problem.dataset for problem in study.data_problems}
    if "california_housing" in named and not (Path(get_data_home()) / "cal_housing_py3.pkz").exists():
        pytest.skip("scikit-learn has not downloaded california_housing, and tests take nothing from a network")
    make_plan(study, load_data(study, None, lambda _: None))


def test_a_file_that_begins_with_a_byte_order_mark(tmp_path):
    """As some editors write it; other encodings are refused by name."""
    problem = '[problem]\nloss = "squared"\ndataset = "flights"\n'
    text = f'name = "a"\nepochs = 1\n{problem}[[optimizer]]\nname = "adam"\nlr = 1\n'
    (tmp_path / "plain.toml").write_text(text, encoding="utf-8")
    (tmp_path / "marked.toml").write_text(text, encoding="utf-8-sig")
    assert Study.from_toml(tmp_path / "marked.toml") == Study.from_toml(tmp_path / "plain.toml")
    (tmp_path / "wide.toml").write_text(text, encoding="utf-16")
    with pytest.raises(InputError, match=r"wide\.toml: is not text in UTF-8"):
        Study.from_toml(tmp_path / "wide.toml")
