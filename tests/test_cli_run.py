"""The command line with real runs, in real processes where signals and exit codes matter."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from campaign.signals import SOON
from test_cli import fastgd_cli

import fastgd

STUDY = """
name = "tiny"
epochs = 4
seed = [0, 1]
batch_size = 32

[problem]
loss = "logistic"
synthetic = { n = 600, d = 5, noise = 0.1 }
intercept = true
validation = 0.2

[[optimizer]]
name = "momentum"
lr = { log = [1e-2, 1e0], num = 3 }
momentum = [0.5, 0.9]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: the study's file, the folder, and what was printed."""
    place = tmp_path_factory.mktemp("run")
    study, folder = place / "tiny.toml", place / "results"
    study.write_text(STUDY)
    out, errors = fastgd_cli("run", study, "--out", folder)
    return study, folder, out, errors


def test_run_prints_what_it_found_and_where(finished):
    _, folder, out, errors = finished
    lines = out.splitlines()
    assert lines[0] == "tiny: the best of each optimizer".ljust(len(lines[0]))
    assert re.fullmatch(
        r"rank +optimizer +lr +momentum +final validation loss +range over seeds +tied +seeds +diverged", lines[1]
    )
    assert lines[2].split()[:2] == ["1", "momentum"]
    assert "12 trials: 12 completed" in lines
    assert re.fullmatch(r"times: load .*, plan .*, compile .*, train .*, evaluate .*, store .*", lines[-2])
    assert lines[-1] == f"results: {folder}"
    assert "loading synthetic" in errors
    assert "planned 12 trials in 2 cohorts" in errors
    assert "compiling momentum" in errors
    assert "epoch" not in out  # progress is on standard error alone


def test_run_again_has_nothing_to_do(finished):
    study, folder, _, _ = finished
    before = fastgd.load(folder).trials
    out, errors = fastgd_cli("run", study, "--out", folder)
    assert "planned 12 trials, of which 0 are to run: " in errors
    assert f"nothing to run: every trial is in {folder}" in errors
    assert "12 trials: 12 completed" in out
    pd.testing.assert_frame_equal(fastgd.load(folder).trials, before)


def test_extending_runs_what_is_new(finished, tmp_path):
    study, _, _, _ = finished
    folder = tmp_path / "results"
    fastgd_cli("run", study, "--out", folder, "--set", "optimizer.0.lr=[0.1, 0.3]")
    _, errors = fastgd_cli("run", study, "--out", folder, "--set", "optimizer.0.lr=[0.1, 0.2, 0.3]")
    assert "planned 12 trials, of which 4 are to run in 2 cohorts: " in errors
    assert "cohort 1/2, " in errors
    trials = fastgd.load(folder).trials
    assert sorted(trials["lr"]) == [0.1] * 4 + [0.2] * 4 + [0.3] * 4
    assert trials["in_study"].all()


def test_fresh_moves_the_old_folder_aside(finished, tmp_path):
    study, _, _, _ = finished
    folder = tmp_path / "results"
    fastgd_cli("run", study, "--out", folder)
    fastgd_cli("run", study, "--out", folder, "--fresh", "--set", "optimizer.0.lr=0.5")
    assert len(fastgd.load(folder).trials) == 4
    (aside,) = [path for path in tmp_path.iterdir() if path.name.startswith("results.")]
    assert len(fastgd.load(aside).trials) == 12


def test_default_folder_is_named_after_the_study(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = fastgd_cli("run", finished[0])
    assert out.splitlines()[-1] == "results: results/tiny"
    assert len(fastgd.load("results/tiny").trials) == 12


def test_one_trial_alone_has_the_same_bits(finished, tmp_path, monkeypatch):
    study, folder, _, _ = finished
    monkeypatch.chdir(tmp_path)
    trial = json.loads(fastgd_cli("best", folder, "--json")[0])[0]["trial_id"]
    out, _ = fastgd_cli("run", study, "--trial", trial)
    assert "1 trial: 1 completed" in out
    alone = fastgd.load(tmp_path / "results" / f"tiny.{trial}").curves.set_index("step")
    whole = fastgd.load(folder).curves.query("trial_id == @trial").set_index("step")
    assert alone["loss"].equals(whole["loss"])


def test_dry_run_prints_the_plan_and_writes_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = fastgd_cli("run", finished[0], "--dry-run", "--set", "seed=[0, 1, 2]")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "tiny: the plan"
    assert re.fullmatch(r"optimizer +batch size +cohorts +lanes +padding +kernel +memory +passes +work", lines[1])
    assert lines[2].split()[:4] == ["momentum", "32", "3", "18"]
    assert lines[4].startswith("18 trials in 3 cohorts: 18 lanes, ")
    assert "the largest part takes" in lines[5]
    assert "passes over the data" in lines[5]
    assert list(tmp_path.iterdir()) == []


def test_dry_run_tells_that_a_folder_would_be_refused(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    schema_1 = Path(__file__).parent / "data" / "schema_1" / "rates"
    for folder, why in ((tmp_path / "other", "is not empty and holds no fastgd results"), (schema_1, "has schema 1")):
        out, _ = fastgd_cli("run", tmp_path / "study.toml", "--dry-run", "--out", folder)
        assert f"a run would be refused: {folder} {why}" in out


@pytest.mark.parametrize("kind", ["curves", "sensitivity", "heatmap"])
def test_plot(finished, tmp_path, kind):
    picture = tmp_path / f"{kind}.svg"
    out, _ = fastgd_cli("plot", finished[1], "--kind", kind, "-o", picture)
    assert out == f"{kind}: {picture}\n"
    assert "<svg" in picture.read_text()


def test_plot_knows_its_kinds(finished):
    _, errors = fastgd_cli("plot", finished[1], "--kind", "curve", code=2)
    assert "did you mean 'curves'?" in errors


# replacements on the command line, a part of the message
MISTAKES = [
    (["batch_size=1000"], "batch_size"),
    (["problem.synthetic={ n = 0, d = 3 }"], "--set: problem.synthetic.n must be greater than 0, found 0"),
    (["problem.loss=squared", "record.metrics=['accuracy']"], "record.metrics: no problem has 'accuracy'"),
    (["name=other"], "holds the study 'tiny', not 'other'"),
    (["problem.synthetic.seed=1"], "holds results of other data"),
    (["optimizer.0.name=adamm"], "did you mean 'adam'?"),
    (["optimizer.0.lr=[]"], "optimizer.0.lr is an empty list"),
    (["optimizer.0.lr=-1"], "optimizer.0.lr must be greater than 0, found -1"),
]


@pytest.mark.parametrize(("assignments", "message"), MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_mistakes_leave_results_as_they_are(finished, assignments, message):
    study, folder, _, _ = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    out, errors = fastgd_cli("run", study, "--out", folder, *sets, code=2)
    assert out == ""
    assert message in errors.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# a data file's name and text, more keys of the problem, a part of the message
BAD_DATA = [
    ("none.csv", None, 'target = "y"', "none.csv: there is no such file"),
    ("rows.csv", "a,y\n1,0\nnan,1\n2,0\n", 'target = "y"', "row"),
    ("rows.csv", "a,y\n1,0\n2,1\n3,7\n", 'target = "y"', "two classes"),
    ("rows.csv", "a,y\n1,0\n2,1\n", 'target = "z"', "z"),
    ("rows.csv", "a,y\n1,0\n2,1\n", "", "target"),
    ("rows.parquet", "not parquet", 'target = "y"', "rows.parquet"),
    ("rows.npz", "not npz", "", "rows.npz"),
    ("rows.svm", "1 1:0.5\n0 1:x\n", "", "rows.svm"),
    ("rows.doc", "1", "", "unknown extension"),
]


@pytest.mark.parametrize(("name", "text", "keys", "message"), BAD_DATA, ids=[f"{row[0]}-{row[3]}" for row in BAD_DATA])
def test_bad_data_is_one_clear_message(tmp_path, name, text, keys, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    study = tmp_path / "study.toml"
    study.write_text(
        f'name = "bad"\nepochs = 2\n[problem]\nloss = "hinge"\npath = "{name}"\n{keys}\n'
        '[[optimizer]]\nname = "sgd"\nlr = 0.1\n'
    )
    out, errors = fastgd_cli("run", study, "--out", tmp_path / "results", code=2)
    assert out == ""
    assert message in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written(finished, tmp_path):
    (tmp_path / "file").write_text("in the way")
    _, errors = fastgd_cli("run", finished[0], "--out", tmp_path / "file" / "results", code=2)
    assert "cannot write to" in errors
    assert (tmp_path / "file").read_text() == "in the way"


def test_info():
    assert "\npython" in fastgd_cli("info")[0]
    found = json.loads(fastgd_cli("info", "--json")[0])
    assert found["fastgd"] == fastgd.__version__
    assert found["threads"] >= 1
    assert found["bandwidth_gb_per_s"] > 0


def test_warmup_of_a_study(finished):
    out, errors = fastgd_cli("warmup", finished[0])
    assert out == "1 kernel compiled and cached\n"
    assert "compiling momentum" in errors


def test_ctrl_c_stops_within_a_second_and_the_same_command_resumes(tmp_path):
    study, folder = tmp_path / "long.toml", tmp_path / "results"
    long = STUDY.replace("epochs = 4", "epochs = 50").replace("n = 600", "n = 60_000")
    study.write_text(long.replace("[0, 1]", str(list(range(12)))))
    command = [sys.executable, "-m", "fastgd", "run", str(study), "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        while not list(folder.glob("trials/[!.]*.parquet")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        spent = time.monotonic() - start
    assert process.returncode == 130, errors
    assert spent < SOON
    assert out == ""
    kept = re.search(r"interrupted: (\d+) of 72 trials are kept in .*; the same command \(without --fresh\)", errors)
    assert kept, errors
    assert 0 < int(kept[1]) < 72
    assert len(fastgd.load(folder).trials) == int(kept[1])
    before = fastgd.load(folder).trials.set_index("trial_id")

    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "72 trials: 72 completed" in done.stdout
    trials = fastgd.load(folder).trials.set_index("trial_id")
    assert trials.index.is_unique
    pd.testing.assert_frame_equal(trials.loc[before.index].drop(columns="in_study"), before.drop(columns="in_study"))
