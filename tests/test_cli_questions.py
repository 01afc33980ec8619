"""`fastgd best` with its options, and the commands that answer a question each."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from store_samples import commit, configured, open_folder, trials, write_study
from typer.testing import CliRunner

from fastgd.analysis import load
from fastgd.analysis.selections import selected
from fastgd.cli.answers import rankings
from fastgd.cli.app import app
from fastgd.cli.output.formats import Cells
from fastgd.common.errors import InputError


def fastgd_cli(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "sample"
    return write_study(path, ["sgd", "momentum", "adam"], rates=6, seeds=6, epochs=8, problems=("p", "q"))


def test_best_of_what_is_selected(folder):
    results = load(folder)
    everything = results.best()
    chosen = results.best(where=["optimizer=adam,sgd", "lr<0.5", "beta1!=0.8"])
    own = everything[everything["optimizer"].isin(["adam", "sgd"]) & (everything["lr"] < 0.5)]
    own = own[own["beta1"] != 0.8]
    assert chosen["trial_id"].tolist() == own["trial_id"].tolist()
    assert chosen["rank"].tolist() == [*range(1, len(chosen) // 2 + 1)] * 2
    rates = np.geomspace(1e-4, 10.0, 6)
    assert results.best(where=f"lr = {float(rates[1])!r}")["lr"].eq(rates[1]).all()
    assert results.best(where="lr>=10")["lr"].eq(10).all()
    assert results.best(where="method=momentum", each="momentum")["momentum"].tolist()[:2] in ([0.5, 0.9], [0.9, 0.5])


@pytest.mark.parametrize("text", ["0.0464159", "0.04642", "4.642e-2", "0.0464", "0.046415888336127774, 2"])
def test_a_number_may_be_written_as_tables_show_it(text):
    configurations = pd.DataFrame({"lr": [0.046415888336127774, 0.0465, 0.1, np.nan]})
    assert selected(configurations, f"lr={text}").tolist() == [True, False, False, False]
    for other in ("0.046", "0.05", "0.09999"):
        with pytest.raises(InputError, match=f"no configuration has lr {other}"):
            selected(configurations, f"lr={other}")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("optimizer", "'optimizer' is no condition: write 'optimizer=adam'"),
        ("optimiser=adam", "configurations have no 'optimiser'; did you mean 'optimizer'"),
        ("optimizer=adm", "no configuration has optimizer adm; did you mean 'adam'"),
        ("lr=0.3", "no configuration has lr 0.3; "),
        ("lr<fast", "< compares numbers, and lr is compared with 'fast'"),
        ("optimizer<b", "< compares numbers"),
        ("lr=a", "lr is a number, found 'a'"),
        ("lr<0", "no configuration meets lr<0"),
    ],
)
def test_conditions_that_are_none(folder, condition, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load(folder).best(where=condition)


def test_best_of_each_keeps_its_rank(folder):
    results = load(folder)
    each, everything = results.best(each="optimizer"), results.best()
    first = everything.groupby(["problem", "optimizer"], sort=False).head(1)
    pd.testing.assert_frame_equal(each, first.reset_index(drop=True))
    with pytest.raises(InputError, match="configurations have no 'optimzer'; did you mean 'optimizer'"):
        results.best(each="optimzer")


def test_best_over_problems_is_the_mean_of_places(folder):
    results = load(folder)
    table = results.best(over="problem", each="optimizer")
    own = results.best(each="optimizer")
    own["place"] = own.groupby("problem")["final_validation_loss"].rank()
    assert (
        dict(zip(table["optimizer"], table["mean_rank"], strict=True))
        == own.groupby("optimizer")["place"].mean().to_dict()
    )
    curves = results.curves.merge(results.trials[["trial_id", "problem"]])
    start = curves[curves["step"] == 0].groupby("problem")["validation_loss"].median()
    best = own.groupby("problem")["final_validation_loss"].min()
    gap = (own["final_validation_loss"] - own["problem"].map(best)) / own["problem"].map(start - best)
    expected = gap.groupby(own["optimizer"]).mean()
    np.testing.assert_allclose(table["mean_normalised_gap"], expected[table["optimizer"]])
    everything = results.best(over="problem")
    assert len(everything) == len(results.best()) / 2
    assert everything["problems"].eq(2).all()
    assert everything["mean_normalised_gap"].between(0, 1).all()
    assert everything["mean_rank"].is_monotonic_increasing
    assert "mean_normalised_gap" not in results.best(over="problem", fraction=0.5)
    with pytest.raises(InputError, match="rankings are taken over the problem"):
        results.best(over="seed")
    with pytest.raises(InputError, match="unit goes with target, gap or fraction"):
        results.best(unit="steps")


def test_best_by_time_is_what_time_says(folder):
    results = load(folder)
    best, times = results.best(fraction=0.9, unit="steps"), results.time_to(fraction=0.9, unit="steps")
    reached = best[np.isfinite(best["steps"])]
    assert sorted(reached["steps"]) == sorted(times["steps"].dropna())
    assert reached.groupby("problem")["steps"].apply(lambda own: own.is_monotonic_increasing).all()


def test_formats_say_the_same(folder):
    table = fastgd_cli("best", folder, "--each", "optimizer").splitlines()
    markdown = fastgd_cli("best", folder, "--each", "optimizer", "--format", "markdown").splitlines()
    latex = fastgd_cli("best", folder, "--each", "optimizer", "--format", "latex").splitlines()
    rows = json.loads(fastgd_cli("best", folder, "--each", "optimizer", "--json"))
    assert rows == json.loads(fastgd_cli("best", folder, "--each", "optimizer", "--format", "json"))
    found = list(csv.DictReader(io.StringIO(fastgd_cli("best", folder, "--each", "optimizer", "--format", "csv"))))
    assert [row["trial_id"] for row in found] == [row["trial_id"] for row in rows]
    assert {row["tied"] for row in rows} <= {True, False, None}
    assert len(markdown) == 2 + len(rows)
    assert [line.split("|")[3].strip() for line in markdown[2:]] == [row["optimizer"] for row in rows]
    assert latex[0].startswith(r"\begin{tabular}{")
    assert latex[-1] == r"\end{tabular}"
    assert len(latex) == 6 + len(rows)
    assert [line.split()[2] for line in table[2 : 2 + len(rows)]] == [row["optimizer"] for row in rows]


def test_what_markdown_and_latex_mean_stands_as_text():
    cells = Cells("", ["a_b", "c"], [["x|y", r"50% & \$_"]], ["a_b"])
    assert cells.markdown().splitlines() == ["| a b | c |", "| --- | ---: |", r"| x\|y | 50% & \$_ |"]
    assert r"x|y & 50\% \& \textbackslash{}\$\_ \\" in cells.latex()


QUESTIONS = [
    (["time", "--fraction", "0.9"], "time_to", {"fraction": 0.9}, "the median over the seeds"),
    (["time", "--gap", "0.1", "--unit", "seconds"], "time_to", {"gap": 0.1, "unit": "seconds"}, "the cohort's, shared"),
    (["time", "--gap", "0.1", "--interpolate"], "time_to", {"gap": 0.1, "interpolate": True}, "interpolated"),
    (["sensitivity", "--within", "0.05"], "sensitivity", {"within": 0.05}, "lose at most 5%"),
    (["versus", "adam", "sgd"], "compare", {"a": "adam", "b": "sgd"}, "adam is better (6 pairs)"),
    (["versus", "sgd", "adam", "--gap", "0.1"], "compare", {"a": "sgd", "b": "adam", "gap": 0.1}, "adam is better"),
    (["ranks"], "ranks", {}, "apart (Nemenyi, 0.05)"),
    (["ranks", "--blocks", "repeat", "--by", "loss"], "ranks", {"blocks": "repeat", "by": "loss"}, "Friedman's test"),
    (["profiles"], "profiles", {}, "12 pairs of problem and seed"),
    (["profiles", "--kind", "data"], "profiles", {"kind": "data"}, "until a share"),
    (["ecdf", "--of", "all", "--fraction", "0.5"], "ecdf", {"of": "all", "fraction": 0.5}, "ever"),
    (["budget", "--no-replacement"], "budget", {"replacement": False}, "all of them different"),
]


@pytest.mark.parametrize(
    ("arguments", "method", "options", "words"), QUESTIONS, ids=[" ".join(q[0]) for q in QUESTIONS]
)
def test_a_command_says_what_results_say(folder, arguments, method, options, words):
    command, *rest = arguments
    expected = getattr(load(folder), method)(**options)
    assert words in " ".join(fastgd_cli(command, folder, *rest).split())
    answer = json.loads(fastgd_cli(command, folder, *rest, "--json"))
    assert list(answer["rows"][0]) == expected.columns.tolist()
    assert len(answer["rows"]) == len(expected)
    numbers = expected.select_dtypes("number")
    found = pd.DataFrame(answer["rows"])[numbers.columns].astype(float)
    finite = numbers.astype(float).where(np.isfinite(numbers.astype(float)))
    np.testing.assert_allclose(found, finite)
    assert answer["about"].keys() == expected.attrs.keys()
    lines = fastgd_cli(command, folder, *rest, "--format", "csv").splitlines()
    assert lines[0] == ",".join(expected.columns)
    assert len(lines) == 1 + len(expected)
    assert fastgd_cli(command, folder, *rest, "--format", "markdown").startswith("| ")


def said(tmp_path, losses, **columns):
    losses = np.asarray(losses, float)
    count, repeats = losses.shape
    rows = trials(losses.size, seed=np.tile(np.arange(repeats), count), final_loss=losses.ravel(), **columns)
    with open_folder(tmp_path) as folder:
        folder.finish(commit(folder, configured(rows)))
    results = load(tmp_path)
    return rankings.remarks(results, results.best())


def test_ties_are_said_in_words(tmp_path):
    names = np.repeat(["a", "b", "c"], 3)
    apart = said(tmp_path / "apart", [[0.1] * 3, [0.2] * 3, [0.3] * 3], optimizer=names, lr=0.1)
    assert apart[1:] == ["not tied: the seeds tell the best of 3 optimizers from all others"]
    near = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.9, 0.9, 0.9]]
    tied = said(tmp_path / "tied", near, optimizer=names, lr=0.1)
    assert tied[1:] == ["tied: 2 of 3 optimizers are within the seeds' spread of the best"]
    rates = said(tmp_path / "rates", near, lr=np.repeat([0.2, 0.1, 0.3], 3))
    assert rates[1:] == ["tied: 2 of 3 configurations are within the seeds' spread of the best"]
    single = said(tmp_path / "single", [[0.1], [0.2], [0.3]], optimizer=["a", "b", "c"], lr=0.1)
    assert single[1:] == ["whether the first are tied is not known: that takes two seeds or more"]
    problems = np.repeat([f"p{i}" for i in range(5)], 4)
    rows = [[0.1, 0.2], [0.2, 0.1]] * 5
    several = said(tmp_path / "several", rows, problem=problems, optimizer=["a", "a", "b", "b"] * 5, lr=0.1)
    assert several[1:] == ["tied: on 5 of 5 problems others are within the seeds' spread of the best"]


def test_many_best_rates_at_the_edge_are_one_sentence(tmp_path):
    names = np.repeat([f"o{i}" for i in range(5)], 2)
    found = said(tmp_path, [[0.1], [0.2]] * 5, optimizer=names, lr=[1.0, 2.0] * 5)
    (edges,) = [line for line in found if "lowest or highest" in line]
    assert edges.endswith("a better one may lie beyond: o0, o1, o2, o3, o4")
