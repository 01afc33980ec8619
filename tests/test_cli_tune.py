"""`fastgd tune` on the command line."""

import json

import pytest
from test_cli import fastgd_cli, run_python

STUDY = """
name = "tiny"
epochs = 5
batch_size = 32

[problem]
loss = "logistic"
synthetic = { n = 300, d = 4, noise = 0.1 }
validation = 0.2

[[optimizer]]
name = "momentum"
lr = 0.1
momentum = [0.5, 0.9]

[[optimizer]]
name = "dog"
"""
GRID = ["--factor", "2", "--points", "4"]  # eight lanes, two tiles of the narrowest


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A finished search: the study's file, the folder, and what was printed."""
    place = tmp_path_factory.mktemp("command")
    (place / "tiny.toml").write_text(STUDY)
    out, errors = fastgd_cli("tune", place / "tiny.toml", "--out", place / "t", *GRID)
    return place / "tiny.toml", place / "t", out, errors


def test_the_command_prints_a_table_and_writes_all(command):
    _, folder, out, errors = command
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "tiny: the best rates"
    told = ["optimizer", "momentum", "best lr", "bracket", "validation loss", "flat range", "rates", "trials", "remark"]
    assert lines[1].split() == " ".join(told).split()
    assert lines[2].startswith("momentum ")
    assert (lines[3].split()[0], lines[3].endswith("no rate")) == ("dog", True)
    assert lines[-2:] == [f"tune: {folder}/tune.png", f"fastgd run {folder}/tuned.toml"]
    assert "round-0: 8 trials" in errors
    assert {"tune.json", "tune.png", "tuned.toml", "round-0"} <= {path.name for path in folder.iterdir()}


def test_json_alone_in_a_process(command):
    study, folder, _, _ = command
    done = run_python("-m", "fastgd", "tune", str(study), "--out", str(folder), *GRID, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [answer["optimizer"] for answer in printed["answers"]] == ["momentum", "dog"]
    assert printed["answers"][1]["low"] is None
    assert printed["tuned"] == str(folder / "tuned.toml")
    assert printed["answers"] == json.loads((folder / "tune.json").read_text())["answers"]
    assert f"nothing to run: every trial is in {folder}" in done.stderr


def test_the_tuned_study_runs(command, tmp_path):
    out, _ = fastgd_cli("run", command[1] / "tuned.toml", "--out", tmp_path / "r")
    assert "2 trials: 2 completed" in out


def test_the_command_of_a_range_test(command, tmp_path):
    study, folder, _, _ = command
    out, _ = fastgd_cli("tune", study, "--range-test", "--steps", 50, "--out", folder)
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[1].split() == ["optimizer", "momentum", "suggestion", "steepest", "least", "blow", "up"]
    assert "without a rate to test: dog" in lines
    assert lines[-1] == f"range: {folder}/range-test.png"
    found = json.loads(fastgd_cli("tune", study, "--range-test", "--steps", 50, "--out", folder, "--json")[0])
    assert [answer["momentum"] for answer in found["answers"]] in ([0.5, 0.9], [0.9, 0.5])
    for kind in ("range", "tune"):
        picture = tmp_path / f"{kind}.svg"
        assert fastgd_cli("plot", folder, "--kind", kind, "-o", picture)[0] == f"{kind}: {picture}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--points", 2], "points must be at least 3, found 2"),
        (["--range-test", "--epochs", 3], "--epochs is for a search"),
        (["--set", "optimizer.0.lr=-1"], "optimizer.0.lr must be greater than 0"),
    ],
    ids=str,
)
def test_mistakes_on_the_command_line(command, tmp_path, options, message):
    out, errors = fastgd_cli("tune", command[0], "--out", tmp_path / "t", *options, code=2)
    assert out == ""
    assert message in errors.splitlines()[-1]
    assert not (tmp_path / "t").exists()
