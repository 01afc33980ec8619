"""The command line without a run: help, lists, rankings, mistakes, and how progress looks."""

import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import store_samples
from rich.console import Console
from typer.testing import CliRunner

import fastgd
from fastgd.cli.app import app
from fastgd.common.numbers import amount, seconds
from fastgd.datasets import DATASETS
from fastgd.optimizers import OPTIMIZERS
from fastgd.plan.estimates.costs import Cost
from fastgd.problems import CLASS_LOSSES, LOSSES
from fastgd.problems.activations import ACTIVATIONS
from fastgd.problems.starts import STARTS
from fastgd.runs.reporting import events
from fastgd.runs.reporting.display import Reporter
from fastgd.schedules import SCHEDULES
from fastgd.study.fields import METRICS
from fastgd.study.keys import keys

QUESTIONS = ["time", "sensitivity", "versus", "ranks", "profiles", "ecdf", "budget"]
COMMANDS = ["run", "merge", "demo", "tune", "best", *QUESTIONS, "plot", "report", "surface", "optimum", "theory"]
COMMANDS += ["compare", "list", "info", "warmup"]


def fastgd_cli(*arguments, code=0):
    """Run a command in this process; return what it wrote on standard output and standard error."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "sample"
    return store_samples.write_study(path, ["sgd", "momentum", "adam"], rates=12)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command):
    help_text, _ = fastgd_cli(command, "--help")
    assert f"{command} [OPTIONS]" in help_text
    assert ("Examples" in help_text) == (command not in ("demo", "info", "warmup"))


def test_help_of_the_program_names_every_command():
    help_text, _ = fastgd_cli("--help")
    assert all(re.search(rf"\b{command}\b", help_text) for command in COMMANDS)


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=60,
    )


def test_module_is_the_same_program():
    done = run_python("-m", "fastgd", "--version")
    assert (done.returncode, done.stdout) == (0, f"fastgd {fastgd.__version__}\n")


def test_help_and_lists_import_nothing_heavy():
    code = """
import sys
from fastgd.cli import main
for arguments in (["--help"], ["run", "--help"], ["list", "optimizers"], ["list", "datasets", "--json"]):
    sys.argv = ["fastgd", *arguments]
    try:
        main()
    except SystemExit:
        pass
heavy = {"numba", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_importing_never_imports_numba():
    code = (
        "import sys, fastgd; light = set(sys.modules)\n"
        "fastgd.Study, fastgd.InputError, fastgd.optimizer, fastgd.load, fastgd.Results, dir(fastgd)\n"
        "assert not {'numpy', 'pandas', 'pydantic'} & light, 'the import itself is quick'\n"
        "assert 'numba' not in sys.modules"
    )
    done = run_python("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        _ = fastgd.studdy
    assert {"Study", "run", "load", "optimizers"} <= set(dir(fastgd))


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
        ("losses", {**LOSSES, **CLASS_LOSSES}),
        ("activations", ACTIVATIONS),
        ("starts", STARTS),
        ("datasets", DATASETS),
        ("metrics", METRICS),
    ],
)
def test_list(kind, registry):
    listing, _ = fastgd_cli("list", kind)
    assert all(name in listing for name in registry)
    records = json.loads(fastgd_cli("list", kind, "--json")[0])
    assert [record["name"] for record in records] == list(registry)


def test_list_keys():
    """The same as docs/study.md, without its links."""
    shown, _ = fastgd_cli("list", "keys")
    assert "batch_size" in shown
    records = json.loads(fastgd_cli("list", "keys", "--json")[0])
    assert [record["name"] for record in records] == [key.name for key in keys()]
    assert {"table", "name", "type", "default", "meaning", "goes_with"} == records[0].keys()
    assert sum(record["table"] == "problem.validation" and record["name"] == "folds" for record in records) == 1
    assert "](" not in json.dumps(records)


def test_list_tells_defaults():
    adam = next(
        record for record in json.loads(fastgd_cli("list", "optimizers", "--json")[0]) if record["name"] == "adam"
    )
    assert adam["hyper_parameters"] == {"lr": None, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert adam["options"]["bias_correction"] == [True, False]
    assert adam["bytes_a_parameter"] == 24
    assert "lr, beta1=0.9" in fastgd_cli("list", "optimizers")[0]
    assert re.search(r"2 to 1,000 +\[-2.048, 2.048\] +b=100", fastgd_cli("list", "landscapes")[0])


def test_best(folder):
    table, errors = fastgd_cli("best", folder, "--top", "3")
    assert errors == ""
    lines = table.splitlines()
    assert lines[1].split()[:2] == ["rank", "optimizer"]
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert lines[2].split()[1] == "adam"
    assert re.fullmatch(r"[\d,]+ more of [\d,]+: --top N, or --json for all", lines[5])


def test_best_json_is_alone_on_standard_output_and_complete(folder):
    out, errors = fastgd_cli("best", folder, "--json")
    assert errors == ""
    rows = json.loads(out)
    ranking = fastgd.load(folder).best()
    assert [row["trial_id"] for row in rows] == ranking["trial_id"].tolist()
    assert rows[0]["final_validation_loss"] == ranking["final_validation_loss"][0]
    assert rows[-1]["final_validation_loss"] is None  # infinite: JSON has no such number
    assert rows[-1]["diverged"] == 3
    assert len(json.loads(fastgd_cli("best", folder, "--json", "--top", 2, "--by", "loss", "--at", "best")[0])) == 2


def test_best_takes_what_results_take(folder, tmp_path):
    by_loss = json.loads(fastgd_cli("best", folder, "--json", "--by", "loss", "--at", "best")[0])
    assert by_loss[0]["trial_id"] == fastgd.load(folder).best(by="loss", at="best")["trial_id"][0]
    assert "best_loss" in by_loss[0]


# command line, a part of the message
MISTAKES = [
    (["run", "none.toml"], "error: none.toml: there is no such file"),
    (["run", "study.toml"], "error: study.toml: epochs must be at least 1, found 0"),
    (
        ["run", "study.toml", "--set", "epochs=3", "--set", "problem.los=1"],
        "error: --set: problem.los is not a known key",
    ),
    (["run", "study.toml", "--set", "epochs"], "error: --set epochs: write key.path=value"),
    (["run", "study.toml", "--dry-run"], "error: study.toml: epochs must be at least 1, found 0"),
    (["run", "study.toml", "--threads", "0"], "error: --threads: "),
    (["run", "study.toml", "--threads", "two"], "error: --threads: "),
    (["best", "nowhere", "--top", "0"], "error: --top: "),
    (["tune", "study.toml", "--factor", "much"], "error: --factor: "),
    (["run"], "STUDY.toml"),
    (["warmup", "study.toml", "--all"], "error: give a study or --all, not both"),
    (["warmup", "study.toml"], "error: study.toml: epochs must be at least 1, found 0"),
    (["best", "nowhere"], "error: nowhere holds no fastgd results"),
    (["best", "nowhere", "--format", "yaml"], "error: --format: there is no 'yaml'; valid: csv, json, latex, "),
    (
        ["time", "nowhere", "--gap", "1", "--unit", "epoch"],
        "error: --unit: there is no 'epoch'; did you mean 'epochs'?",
    ),
    (["ranks", "nowhere", "--at", "end"], "error: --at: there is no 'end'; valid: best, final"),
    (["versus", "nowhere", "adam", "sgd"], "error: nowhere holds no fastgd results"),
    (["plot", "nowhere", "--kind", "curves"], "error: nowhere holds no fastgd results"),
    (["plot", "study.toml"], "error: study.toml is a file, and results are a folder"),
    (["plot", "study.toml", "-k", "schedule", "--set", "page=2"], "error: --set page: the schedules of a study that"),
    (["list", "optimisers"], "error: fastgd list: there is no 'optimisers'; did you mean 'optimizers'?"),
    (["list", "nothing"], "error: fastgd list: there is no 'nothing'; valid: activations, baselines, datasets, keys,"),
    (["best", "nowhere", "--at", "end"], "error: --at: there is no 'end'; valid: best, final"),
    (["tune", "study.toml", "--by", "los"], "error: --by: there is no 'los'; did you mean 'loss'?"),
    (["rum"], "run"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_mistakes_exit_with_2_and_a_message_on_standard_error(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(
        'name = "s"\nepochs = 0\n[problem]\nloss = "hinge"\ndataset = "flights"\n[[optimizer]]\nname = "sgd"\nlr = 1\n'
    )
    out, errors = fastgd_cli(*arguments, code=2)
    assert out == ""
    assert message in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]  # nothing half-written


def test_plot_refuses_other_files(folder):
    _, errors = fastgd_cli("plot", folder, "--kind", "curves", "-o", folder / "a.gif", code=2)
    assert "ends in .png, .svg, .pdf" in errors


def play(console):
    reporter = Reporter(console)
    with reporter:
        reporter(events.Loading("flights"))
        takes = Cost(2.0, 1.0, 0.5, 1e6, 4e8).in_words()
        reporter(events.Planned(SimpleNamespace(trials=1288, left=(1288, 18), takes=takes)))
        reporter(events.Compiling("the dense tile of adam in float64"))
        reporter(events.Compiling("the dense tile of adam in float64"))  # of the next cohort: said once
        for epoch in range(10):
            reporter(events.Progress(2, 18, epoch, 10, 14, 23, 132, 1288, 1.234e9, 34.2))
        reporter(events.Warning_("[odd] things"))
    return console.file.getvalue()


def test_progress_is_plain_lines_where_there_is_no_terminal():
    lines = play(Console(file=io.StringIO(), width=200, highlight=False, markup=False)).splitlines()
    assert lines == [
        "loading flights",
        "planned 1,288 trials in 18 cohorts: about 3.5 s (training 2.0 s, evaluation 1.0 s, storing 0.5 s), "
        "1 MB on disk, 400 MB of memory",
        "compiling the dense tile of adam in float64 (or loading it from the cache)",
        "cohort 3/18, epoch 0/10: 14 alive, 23 diverged, 132 of 1,288 trials done, 1.23 G samples x lanes/s, 34 s left",
        "note: [odd] things",
    ]


def wait(console, *later):
    reporter = Reporter(console)
    with reporter:
        for waited in (0, 61.2):
            reporter(events.Waiting("results/x", "process 7 on here, seen 3 s ago", "", waited, 1288))
        assert reporter.waits
        for event in later:
            reporter(event)
        assert reporter.waits == (not later)
    return console.file.getvalue()


def test_waiting_is_one_plain_line():
    plain = Console(file=io.StringIO(), width=200, highlight=False, markup=False)
    assert wait(plain, events.Loading("flights")).splitlines() == [
        "waiting for another process: it writes to results/x (process 7 on here, seen 3 s ago); 1,288 trials stored",
        "loading flights",
    ]


@pytest.mark.parametrize("later", [(), (events.Loading("flights"),)], ids=["waits", "goes on"])
def test_waiting_on_a_terminal_is_a_live_line(later):
    """Which shows the last of them, when it ends."""
    text = wait(Console(file=io.StringIO(), width=120, force_terminal=True, highlight=False, markup=False), *later)
    assert ("waiting for another process" in text) == (not later)
    detail = "it writes to results/x (process 7 on here, seen 3 s ago); 1,288 trials stored; for 1 min 1 s"
    assert (detail in text) == (not later)


def test_progress_on_a_terminal_fits_its_width():
    text = play(Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False, markup=False))
    assert "132 of 1,288 trials done, 1.23 G samples x lanes/s" in text
    assert "34 s left" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "12 ms"), (0.44, "0.4 s"), (12.3, "12 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3 B"), (1234, "1.23 kB"), (2.5e9, "2.5 GB"), (1e16, "10 PB"), (0, "0 B")]
)
def test_amounts(value, text):
    assert amount(value, "B") == text
