"""Minima beside results: stored once, checked, swept when the study changes, and what tables make of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_studies import Log, assert_same, rows, run
from store_samples import commit, open_folder, trials, write_study
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.analysis.minima.least_known import minima
from fastgd.cli.answers import rankings
from fastgd.cli.optima import sentences
from fastgd.common.numbers import number
from fastgd.plots.studies.rate_marks import rates_of_theory
from fastgd.runs import optima as runs_optima
from fastgd.runs.reporting.events import Solving, Warning_
from fastgd.store.folder import extending
from fastgd.store.optima import OptimumInfo, optimum_files, read_optima, write_optimum

DATA = rows()
PROBLEMS = [
    {"name": "logistic", "loss": "logistic", "intercept": True, "l2": [0.0, 0.01]},
    {"name": "sigmoid", "loss": "sigmoid_squared"},
    {"name": "network", "loss": "logistic", "network": {"hidden": [3]}},
]
INFO = OptimumInfo(
    problem="flights", l2=1e-4, split_seed=0, loss="logistic",
    minimum=0.3, bound=1e-15, rounding=1e-15, certificate="duality gap",
    method="Newton", steps=3, seconds=0.1, smoothness=2.0, smoothness_error=0.0, strong_convexity=0.5,
    local_smoothness=1.0, local_strong_convexity=0.5, row_norm=3.0, noise=1.0, how="eigenvalues",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return run(tmp_path_factory.mktemp("made") / "r", DATA, problem=PROBLEMS, epochs=2, record={"parameters": "all"})


@pytest.fixture
def results(made, tmp_path):
    return fastgd.load(shutil.copytree(made.path, tmp_path / "copy"))


def optimum(results, log=None, **options):
    return fastgd.optimum(results, DATA, progress=False, on_event=log, **options)


def plant(folder, *infos):
    """Store minima that nobody solved."""
    with extending(folder):
        for number, info in enumerate(infos):
            write_optimum(folder, f"{number:012x}", info, np.arange(3.0), "planted")
    return fastgd.load(folder)


# --- solving and storing ----------------------------------------------------------------------------------------------


def test_convex_objectives_are_solved_once_and_others_are_not(results):
    log, again = Log(), Log()
    assert results.optima.empty
    assert "gap" not in results.curves
    found = optimum(results, log)
    assert [(event.problem, event.l2) for event in log.of(Solving)] == [("logistic", 0.0), ("logistic", 0.01)]
    assert [event.message.split(":")[0] for event in log.of(Warning_)] == ["sigmoid", "network"]
    assert found["l2"].tolist() == [0.0, 0.01]
    assert (found["error"] < 1e-12).all()
    X, y = DATA
    for row in found.to_dict("records"):
        w = results.optimal_parameters("logistic", row["l2"])
        z = X @ w[:5] + w[5]
        assert np.mean(np.logaddexp(0, z) - y * z) + row["l2"] / 2 * w[:5] @ w[:5] == pytest.approx(row["minimum"])
    optimum(results, again)
    assert not again.of(Solving)
    assert fastgd.load(results.path).optima.equals(found)


def test_minima_and_gaps_are_measured_from_what_is_certified(results):
    best_seen = results.minima.set_index(["problem", "l2"])["minimum"]
    assert set(results.minima["source"]) == {"best seen"}
    optimum(results)
    found = results.minima.set_index(["problem", "l2"])
    assert found["source"].to_dict() == {
        ("logistic", 0.0): "certified",
        ("logistic", 0.01): "certified",
        ("sigmoid", 0.0): "best seen",
        ("network", 0.0): "best seen",
    }
    assert (found["minimum"] <= best_seen).all()
    assert found.loc[["sigmoid", "network"], "error"].isna().all()
    curves = results.curves.merge(results.trials[["trial_id", "problem", "l2"]], on="trial_id")
    logistic = curves[curves["problem"] == "logistic"]
    expected = logistic["loss"] - logistic.set_index(["problem", "l2"]).index.map(found["minimum"])
    np.testing.assert_array_equal(logistic["gap"], expected)
    assert (logistic["gap"] > 0).all()
    assert curves.loc[curves["problem"] != "logistic", "gap"].isna().all()


def test_a_run_finds_minima_at_its_end_and_its_trials_stay_the_same(tmp_path):
    plain = run(tmp_path / "plain", DATA, epochs=1)
    log = Log()
    asked = run(tmp_path / "asked", DATA, log, epochs=1, reference={"optimum": True})
    assert len(log.of(Solving)) == 1
    assert asked.minima["source"].tolist() == ["certified"]
    asked.curves.pop("gap")
    assert_same(asked, plain)
    again = Log()
    run(tmp_path / "asked", DATA, again, epochs=1, reference={"optimum": True})
    assert not again.of(Solving)
    assert not again.computed


def test_a_runs_summary_says_how_near_its_trials_came(results, capsys):
    rankings.summary(results)
    assert "minimum of" not in capsys.readouterr().out, "none is stored"
    optimum(results)
    found = fastgd.load(results.path)
    best = found.optima.set_index(["problem", "l2"])
    rankings.summary(found)
    said = " ".join(capsys.readouterr().out.split())
    for l2 in (0.0, 0.01):
        row = best.loc["logistic", l2]
        words = f"minimum of logistic, l2 {l2:g}: {number(row['minimum'], 12)}, certified to {number(row['error'], 2)}"
        assert f"{words}; the nearest trial is {number(row['best_seen'] - row['minimum'], 2)} above" in said
    assert said.count("minimum of") == 2
    rankings.summary(plant(results.path, *(replace(INFO, l2=10.0**-power) for power in range(3))))
    said = capsys.readouterr().out
    assert said.count("minimum of") == 3
    assert ": 0.3, certified to 2e-15\n" in said, "whose problem no trial is of"
    assert "more minima: fastgd optimum" in said


def test_a_study_that_changes_its_objective_loses_the_minimum_of_the_old_one(tmp_path):
    options = {"epochs": 1, "reference": {"optimum": True}}
    run(tmp_path / "r", DATA, **options, problem={"name": "p", "loss": "logistic", "l2": [0.0, 0.1]})
    assert len(read_optima(tmp_path / "r")) == 2
    changed = run(tmp_path / "r", DATA, epochs=1, problem={"name": "p", "loss": "squared", "l2": [0.1, 0.2]})
    assert changed.optima.empty, "its trials are of another loss, whose minimum nobody asked for"
    kept = run(tmp_path / "r", DATA, **options, problem={"name": "p", "loss": "squared", "l2": [0.1, 0.2]})
    assert kept.optima["loss"].tolist() == ["squared"] * 2
    kept = run(tmp_path / "r", DATA, epochs=1, problem={"name": "p", "loss": "squared", "l2": 0.2})
    assert kept.optima["l2"].tolist() == [0.2]


def test_another_specification_is_solved_again(results, monkeypatch):
    optimum(results)
    monkeypatch.setattr(runs_optima, "VERSION", runs_optima.VERSION + 1)
    log = Log()
    optimum(results, log)
    assert len(log.of(Solving)) == 2
    assert len(optimum_files(results.path)) == 2


def test_single_precision_is_judged_by_its_own_rounding(tmp_path):
    problem = {"loss": "squared", "l2": 0.1, "intercept": True}
    options = {"problem": problem, "dtype": "float32", "epochs": 60, "optimizer": {"name": "sgd", "lr": [0.1, 0.3]}}
    results = run(tmp_path / "r", DATA, **options, batch_size="full")
    found = optimum(results)
    assert not found["contradicted"].any()
    row = results.minima.iloc[0]
    assert row["source"] == "certified"
    assert (results.curves["gap"] >= 0).all(), "the lower of solve and trials"
    assert row["minimum"] == pytest.approx(found["minimum"][0], abs=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "several"])
def test_several_margins_a_row(tmp_path, loss):
    X, y = DATA
    y = np.column_stack([X[:, 0], y]) if loss == "several" else (2 * X[:, 0]).round() % 3
    problem = {"loss": "squared", "target": ["a", "b"]} if loss == "several" else {"loss": "softmax"}
    study = {"problem": {**problem, "l2": 0.1, "intercept": True}, "epochs": 1, "record": {"parameters": "all"}}
    results = run(tmp_path / "r", (X, y), **study)
    found = fastgd.optimum(results, (X, y), progress=False)
    assert found["error"][0] < 1e-12
    assert len(results.optimal_parameters()) == len(results.parameters(results.trials["trial_id"][0]))
    assert results.minima["minimum"][0] < results.trials["best_loss"].min()


# --- the files --------------------------------------------------------------------------------------------------------


def test_files_are_checked_and_repaired(results):
    optimum(results)
    file = optimum_files(results.path)[0]
    assert pq.read_table(file).num_rows == 6
    assert fastgd.verify(results.path).ok
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    found = fastgd.verify(results.path)
    assert [finding.file for finding in found.findings] == [f"optima/{file.name}"]
    repaired = fastgd.verify(results.path, repair=True)
    assert repaired.repaired
    assert not repaired.left
    assert not file.exists()
    assert len(optimum(fastgd.load(results.path))) == 2


def test_the_file_of_another_folder_is_refused(results, tmp_path):
    optimum(results)
    file = optimum_files(results.path)[0]
    other = run(tmp_path / "other", DATA, epochs=1)
    (other.path / "optima").mkdir()
    shutil.copy(file, other.path / "optima" / file.name)
    with pytest.raises(InputError, match="belongs to another results folder"):
        fastgd.load(other.path).minima  # noqa: B018
    with pytest.raises(InputError, match="was not written by fastgd"):
        plant_over(other.path, file.name)


def plant_over(folder, name):
    with extending(folder):
        write_optimum(folder, name.removesuffix(".parquet"), INFO, np.zeros(1), "planted")


def test_compaction_and_extension_keep_them(results):
    optimum(results)
    before = read_optima(results.path)
    run(results.path, DATA, problem=PROBLEMS, epochs=2, record={"parameters": "all"}, seed=[0, 1])
    assert read_optima(results.path) == before
    assert fastgd.verify(results.path).ok


# --- tables over planted minima ---------------------------------------------------------------------------------------


def stored(path, losses, dtype="float64", **columns):
    with open_folder(path, study_toml=f'name = "sample"\ndtype = "{dtype}"\n') as folder:
        own = trials(len(losses), best_loss=losses, final_loss=losses, **columns)
        folder.finish(commit(folder, own))
    return path


@pytest.mark.parametrize(
    ("best_seen", "minimum", "source"),
    [
        (0.31, 0.3, "certified"),
        (0.3, 0.3, "certified"),
        (0.3 - 1e-15, 0.3 - 1e-15, "certified"),
        (0.3 - 1e-12, 0.3 - 1e-12, "contradicted"),
    ],
)
def test_a_trial_below_the_minimum_is_taken_or_contradicts(tmp_path, best_seen, minimum, source):
    results = plant(stored(tmp_path / "r", [0.4, best_seen]), INFO)
    row = results.minima.iloc[0]
    assert (row["minimum"], row["source"]) == (minimum, source)
    assert results.optima["contradicted"].tolist() == [source == "contradicted"]
    assert np.isnan(row["error"]) == (source == "contradicted")
    assert not row["error"] < 2e-15
    if source == "contradicted":
        assert results.curves["gap"].isna().all(), "gaps from a number that is wrong would be wrong"
        assert any("CONTRADICTION: a trial saw 0.299999999999" in line for line in sentences(results.optima))


def test_the_rounding_of_single_precision_contradicts_nothing(tmp_path):
    results = plant(stored(tmp_path / "r", [0.3 - 1e-7], dtype="float32"), INFO)
    assert results.minima["source"].tolist() == ["certified"]
    assert results.minima["minimum"].tolist() == [0.3 - 1e-7]
    assert results.minima["error"][0] > 1e-7


def test_what_nothing_bounds_stays_best_seen(tmp_path):
    results = plant(stored(tmp_path / "r", [0.4, 0.35]), replace(INFO, bound=None))
    assert results.minima.to_dict("records")[0]["minimum"] == 0.35
    assert results.minima["source"].tolist() == ["best seen"]
    assert results.optima["minimum"].tolist() == [0.3]
    assert results.optima["error"].isna().all()
    assert "gap" not in results.curves


def test_subsampled_losses_are_no_gaps(tmp_path):
    toml = 'name = "sample"\n[record]\nrows = 100\n'
    with open_folder(tmp_path / "r", study_toml=toml) as folder:
        own = trials(2, steps=32, best_loss=[0.1, 0.1], final_loss=[0.4, 0.5])
        folder.finish(commit(folder, own, checkpoints=3))
    assert minima(fastgd.load(tmp_path / "r"))["minimum"].tolist() == [0.4], "the ends of trials are exact"
    results = plant(tmp_path / "r", INFO)
    assert results.optima["contradicted"].tolist() == [False]
    gaps = results.curves.set_index("step")["gap"]
    assert gaps.loc[16].isna().all()
    assert gaps.loc[[0, 32]].notna().all()


def test_many_curves_have_their_gaps(tmp_path):
    """Each from the minimum of its own objective, whatever the order of the files."""
    path = write_study(tmp_path / "r", ["sgd", "adam"], rates=60, epochs=200, problems=("flights", "others"))
    results = plant(path, INFO, replace(INFO, problem="others", minimum=0.2))
    curves = results.curves
    assert len(curves) > 100_000
    problem = results.trials.set_index("trial_id")["problem"]
    expected = np.where(curves["trial_id"].map(problem) == "flights", 0.3, 0.2)
    finite = np.isfinite(curves["loss"])
    np.testing.assert_array_equal(curves["gap"][finite], (curves["loss"] - expected)[finite])
    assert results.minima["minimum"].tolist() == [0.3, 0.2]


def test_rates_of_theory(tmp_path):
    results = plant(stored(tmp_path / "r", [0.4]), INFO)
    assert rates_of_theory(results, "flights", 1e-4) == {"1/L": 0.5, "2/(L + mu)": 0.8, "2/L": 1.0}
    assert rates_of_theory(results, "flights", 0.0) == {}
    flat = plant(stored(tmp_path / "flat", [0.4]), replace(INFO, strong_convexity=0.0))
    assert list(rates_of_theory(flat, "flights", 1e-4)) == ["1/L", "2/L"]
    none = plant(stored(tmp_path / "none", [0.4]), replace(INFO, smoothness=None))
    assert rates_of_theory(none, "flights", 1e-4) == {}


def test_sensitivity_marks_the_rates_within_its_axis(tmp_path):
    from fastgd.plots import plot

    results = plant(stored(tmp_path / "r", [0.4, 0.35, 0.32, 0.33]), INFO)
    figure = plot(results, "sensitivity")
    found = [
        line.get_gid() for axes in figure.axes for line in axes.lines if line.get_gid() in ("1/L", "2/(L + mu)", "2/L")
    ]
    assert found == ["1/L", "2/(L + mu)", "2/L"]
    assert "2/(L + mu)" in [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# --- what is refused, and the command ---------------------------------------------------------------------------------


def test_what_has_no_certified_minimum_is_refused(made, tmp_path):
    network = run(tmp_path / "n", DATA, problem=PROBLEMS[1:], epochs=1)
    with pytest.raises(
        InputError, match=r"no problem of .* is convex.*Convex are linear models with squared, logistic"
    ):
        fastgd.optimum(network, DATA)
    study = fastgd.Study(name="l", steps=2, problem={"landscape": "himmelblau"}, optimizer={"name": "sgd", "lr": 0.01})
    landscape = fastgd.run(study, tmp_path / "l", progress=False)
    with pytest.raises(InputError, match="which are not convex"):
        fastgd.optimum(landscape)
    assert landscape.minima["source"].tolist() == ["known"]
    assert landscape.minima["minimum"][0] == pytest.approx(0, abs=1e-20)
    with pytest.raises(InputError, match="was computed on arrays"):
        fastgd.optimum(made)
    with pytest.raises(InputError, match="they have changed"):
        fastgd.optimum(made, (DATA[0] + 1, DATA[1]))
    with pytest.raises(InputError, match="reference"):
        fastgd.Study(**study.model_dump(exclude_none=True), reference={"optimum": True})


def test_parameters_are_named_by_their_objective(results):
    with pytest.raises(InputError, match="holds no minima: `fastgd optimum"):
        results.optimal_parameters()
    optimum(results)
    with pytest.raises(InputError, match="several minima are stored; there are logistic with l2 = 0, logistic"):
        results.optimal_parameters()
    with pytest.raises(InputError, match=r"no minimum of a problem 'logistics' is stored; did you mean 'logistic'\?"):
        results.optimal_parameters("logistics")
    with pytest.raises(InputError, match="no such minimum is stored"):
        results.optimal_parameters(l2=5.0)


def test_the_command_prints_a_table_or_json(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "c"\nepochs = 1\nbatch_size = 64\n'
        'problem = { loss = "squared", dataset = "diabetes", standardize = true, l2 = [0.0, 0.1], intercept = true }\n'
        'optimizer = { name = "sgd", lr = 0.01 }\n'
    )
    fastgd.run(fastgd.Study.from_toml(study), tmp_path / "r", progress=False)
    found = json.loads(fastgd_cli("optimum", tmp_path / "r", "--json")[0])
    assert [row["l2"] for row in found] == [0.0, 0.1]
    assert {row["contradicted"] for row in found} == {False}
    said, told = fastgd_cli("optimum", tmp_path / "r")
    assert "certified by Gram eigenvalues" in said
    assert "mu at the minimum" in said
    assert "solving" not in told, "they are stored"
    fastgd_cli("optimum", tmp_path / "missing", code=2)


def test_the_minimum_of_a_stored_study_of_sparse_rows(tmp_path):
    """As the engine keeps rows: int32 places of columns, and int64 ends of rows."""
    shutil.copytree(Path(__file__).parents[1] / "results" / "reference" / "sparse", tmp_path / "r")
    found = fastgd.optimum(fastgd.load(tmp_path / "r"), progress=False)
    assert (found["minimum"] < found["best_seen"]).all()
    assert (found["error"] < 1e-12).all()
