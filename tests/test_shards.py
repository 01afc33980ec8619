"""Shards and merging: a study that many machines run apart is the study that one ran, to the last bit."""

import hashlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import in_full
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from small_studies import Log, rows, study_of
from store_samples import commit, open_folder, trials
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.plan import shards
from fastgd.plan.planner import make_plan
from fastgd.plan.shards import Shard, share_of
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import CohortStarted, Warning_

FOLDED = {"loss": "logistic", "validation": {"folds": 2}}
PROBLEMS = [{**FOLDED, "name": "a"}, {**FOLDED, "name": "b", "l2": 1e-2}]
NETWORK = {"loss": "logistic", "network": {"hidden": [4]}}
RATES = {"log": [1e-3, 1e0], "num": 7}
TWO = [{"name": "momentum", "lr": RATES}, {"name": "adam", "lr": RATES}]
DOCS = Path(__file__).parent.parent / "docs"
X, Y = rows(n=80)
ARRAYS = {"dense": (X, Y), "sparse": (csr_array(np.where(np.abs(X) > 1, X, 0.0)), Y)}
RACE = {"halving": {"factor": 2, "start": 1}}
CASES = {
    "dense": {"problem": FOLDED, "optimizer": TWO, "seed": [0, 1], "record": {"parameters": "all"}},
    "full": {
        "problem": [{**FOLDED, "name": "a"}, {**FOLDED, "name": "b", "l2": 1e-2}],
        "batch_size": [16, "full"],
        "seed": [0, 1],
    },
    "sparse": {"problem": {"loss": "logistic"}, "optimizer": TWO, "record": {"parameters": "best_iterate"}},
    "network": {"problem": {**NETWORK, "validation": 0.2}, "optimizer": {"name": "adam", "lr": [0.01, 0.1, 1.0, 3.0]}},
    "race": {"problem": PROBLEMS, "search": RACE, "epochs": 8},
    "whole": {
        "optimizer": TWO,
        "seed": [0, 1],
        "record": {"parameters": "best"},
        "reference": {"optimum": True},
        "surface": {"low": -1, "high": 1, "num": 5, "at": "zeros"},
    },
    "landscape": {
        "steps": 30,
        "epochs": None,
        "problem": [{"landscape": "himmelblau", "noise": 0.1}, {"landscape": "rosenbrock"}],
        "optimizer": TWO,
        "starts": {"uniform": 20},
        "record": {"trajectories": [0, 7], "every": {"log": 4}},
        "batch_size": None,
    },
}
PASSING = ["cohort_id", "cohort_lanes", "compile_seconds", "train_seconds", "evaluate_seconds"]


def studied(case):
    fields = {key: value for key, value in CASES[case].items() if value is not None}
    if case == "landscape":
        return fastgd.Study(name="small", **fields)
    return study_of(**fields)


def arrays(case):
    return None if case == "landscape" else ARRAYS.get(case, ARRAYS["dense"])


def run(case, out, log=None, **options):
    return fastgd.run(studied(case), out, data=arrays(case), progress=False, on_event=log, threads=2, **options)


def assert_same(found, expected):
    """Two results hold the same trials, rows and parameters, to the last bit."""
    key = [name for name in ("trial_id", "start") if name in expected.trials]
    for kind, more in (("trials", []), ("curves", ["step"]), ("trajectories", ["step", "coordinate"])):
        if kind == "trajectories" and "start" not in key:
            continue
        one, other = (
            getattr(each, kind)
            .drop(columns=PASSING, errors="ignore")
            .astype({"trial_id": object})
            .sort_values([*key, *more], ignore_index=True)
            for each in (found, expected)
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_categorical=False, check_like=True)
    one, other = (each.table("parameters").to_pandas().sort_values("trial_id") for each in (found, expected))
    assert one["trial_id"].tolist() == other["trial_id"].tolist()
    for values, others in zip(one["parameters"], other["parameters"], strict=True):
        np.testing.assert_array_equal(values, others)
    ranking, same = (each.best().drop(columns="trial_id") for each in (found, expected))
    pd.testing.assert_frame_equal(ranking, same, check_exact=True)


@pytest.fixture
def fine(monkeypatch):
    """Small studies are cut as large ones are."""
    monkeypatch.setattr(shards, "GRAIN", 2)


# --- a study in parts is the study ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fine")
@pytest.mark.parametrize(
    ("case", "count"),
    [("dense", 3), ("network", 6), ("landscape", 2), ("landscape", 1)]
    + [(case, 2) for case in ("full", "sparse", "race", "whole")],
)
def test_merged_shards_are_a_run_in_one_go(tmp_path, case, count):
    folders = [tmp_path / f"shard-{number}" for number in range(1, count + 1)]
    sizes = [len(run(case, path, shard=(number, count)).trials) for number, path in enumerate(folders, 1)]
    if count == 1:  # a folder without any trials says nothing of columns
        assert not len(run(case, tmp_path / "empty", shard=(400, 400)).trials)
        folders.insert(0, tmp_path / "empty")
    before = contents_of(folders)
    assert (min(sizes) > 0) == (case != "network")  # which has 2 pieces
    fastgd.merge(tmp_path / "merged", folders, progress=False)
    assert contents_of(folders) == before
    log = Log()
    merged, expected = run(case, tmp_path / "merged", log), run(case, tmp_path / "whole")
    assert len(log.of(CohortStarted)) == (case == "whole") * 4  # for the parameters of the best
    assert_same(merged, expected)
    assert fastgd.verify(tmp_path / "merged").ok
    for one, other in zip(merged.surfaces, expected.surfaces, strict=True):
        np.testing.assert_array_equal(one.loss, other.loss)
    if case == "whole":
        assert merged.optima["minimum"].tolist() == expected.optima["minimum"].tolist()


def contents_of(folders):
    """Return the bytes of all files of folders, and the names of all of them."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.usefixtures("fine")
def test_merging_whole_folders_takes_what_they_found_beside(tmp_path):
    one, other = run("whole", tmp_path / "one"), run("whole", tmp_path / "other")
    fastgd.surface(one, data=ARRAYS["dense"], points=3, progress=False)
    merged = fastgd.merge(tmp_path / "merged", [tmp_path / "one", tmp_path / "other"], progress=False)
    assert_same(merged, other)
    assert len(merged.surfaces) == len(one.trial_surfaces) == len(merged.trial_surfaces) == 1
    assert merged.optima["minimum"].tolist() == one.optima["minimum"].tolist()
    assert fastgd.verify(tmp_path / "merged").ok


@pytest.mark.usefixtures("fine")
def test_longer_trials_go_on_from_states_of_merged_shards(tmp_path):
    study = study_of(optimizer=TWO, record={"state": True})
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, path in enumerate(folders, 1):
        fastgd.run(study, path, data=(X, Y), shard=(number, 2), progress=False)
    fastgd.merge(tmp_path / "merged", folders, progress=False)
    longer, log = study_of(optimizer=TWO, record={"state": True}, epochs=6), Log()
    found = fastgd.run(longer, tmp_path / "merged", data=(X, Y), progress=False, on_event=log)
    assert "14 trials go on from where shorter ones ended" in [note.message for note in log.of(Warning_)]
    expected = fastgd.run(longer, tmp_path / "whole", data=(X, Y), progress=False).trials
    own = found.trials[found.trials["in_study"]]
    assert own.set_index("trial_id")["final_loss"].to_dict() == expected.set_index("trial_id")["final_loss"].to_dict()


# --- what a shard takes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plans():
    found = {}
    for case in ("full", "landscape"):
        study, data = studied(case), arrays(case)
        found[case] = make_plan(study, load_data(study, data, lambda _: None) if data else ())
    return found


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_each_lane_is_in_one_shard_wherever_cohorts_are_cut(plans, data):
    units = list(plans[data.draw(st.sampled_from(sorted(plans)))].units)
    count, grain = data.draw(st.integers(1, 60)), data.draw(st.sampled_from([1, 2, 8, 64]))
    cut = [part for unit in units for part in cut_at(unit, data.draw(st.integers(0, unit.width)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "GRAIN", grain)
        parts = [lanes_of(share_of(units, Shard(number, count))) for number in range(1, count + 1)]
        others = [lanes_of(share_of(cut, Shard(number, count))) for number in range(1, count + 1)]
    assert sorted(itertools.chain(*parts)) == sorted(lanes_of(units))
    assert list(map(sorted, parts)) == list(map(sorted, others))


def cut_at(unit, place):
    """A unit in two, as one that is too large is cut."""
    keep = np.arange(unit.width) < place
    if keep.all() or not keep.any():
        return [unit]
    if unit.kind == "swarm":
        return [unit.part(unit.lanes[keep]), unit.part(unit.lanes[~keep])]
    return [unit.select(keep), unit.select(~keep)]


def lanes_of(units):
    if units and units[0].kind == "swarm":
        return [(unit.ids[c], int(s)) for unit in units for c, s in zip(*unit.places(unit.lanes), strict=True)]
    return [trial for unit in units for ids in unit.ids for trial in ids]


def test_shards_have_like_shares(plans, fine):
    for plan in plans.values():
        work = [sum(unit.flops for unit in share_of(plan.units, Shard(number, 4))) for number in range(1, 5)]
        assert max(work) < 1.2 * np.mean(work)


@pytest.mark.parametrize("given", ["0/3", "4/3", "3", "a/b", "1/2/3", "-1/3", "1.0/2", (1,), (0, 2), 3, "1/1000000"])
def test_what_is_no_shard(given):
    with pytest.raises(InputError, match=r"^shard: must be K/N, the K-th of N parts, with 1 <= K <= N <= 100,000, "):
        Shard.read(given)


def test_a_shard_is_no_trial(tmp_path):
    with pytest.raises(InputError, match="trial runs one trial alone, and shard a part of the study: give one of them"):
        run("dense", tmp_path / "r", shard="1/2", trial="a")
    assert not (tmp_path / "r").exists()


# --- what is merged, and what is refused ------------------------------------------------------------------------------


def sample(path, rows, *, finish=True, **options):
    rows = rows.assign(steps=rows["steps"].clip(upper=32))
    with open_folder(path, **options) as folder:
        ids = commit(folder, rows, parameters=True)
        folder.left_unfinished(rows.loc[rows["status"] == "timeout", "trial_id"].tolist())
        if finish:
            folder.finish(ids)
    return path


def merged(out, *folders, **options):
    log = Log()
    results = fastgd.merge(out, folders, progress=False, on_event=log, **options)
    return results, [note.message for note in log]


def test_missing_shards_are_told_and_come_later(tmp_path):
    parts = {
        number: sample(tmp_path / str(number), trials(2, f"s{number}"), shards=[f"{number}/4"], trials=8)
        for number in (1, 2, 4)
    }
    results, notes = merged(tmp_path / "out", parts[4], parts[1])
    assert notes == [
        "2 of 4 shards: 2/4 and 3/4 are missing; 4 of the study's 8 trials are there; its run in this folder computes "
        "the others"
    ]
    assert results.trials["in_study"].all()
    results, notes = merged(tmp_path / "out", parts[2])
    assert notes[0].startswith("3 of 4 shards: 3/4 is missing; 6 of the study's 8 trials are there")
    last = sample(tmp_path / "3", trials(2, "s3"), shards=["3/4"], trials=8)
    results, notes = merged(tmp_path / "out", last, parts[1])
    assert not notes
    assert len(results.trials) == results.trials["trial_id"].nunique() == 8
    assert results.curves.groupby("trial_id").size().tolist() == [3] * 8
    assert results.manifest.shards == ["4/4", "1/4", "2/4", "3/4"]


def test_a_trial_of_two_folders_is_taken_where_it_came_furthest(tmp_path):
    early = sample(tmp_path / "early", trials(3, status=["completed", "timeout", "timeout"], steps=[160, 32, 32]))
    late = sample(tmp_path / "late", trials(2, status=["completed", "timeout"], steps=[160, 16]), finish=False)
    again = sample(tmp_path / "again", trials(3))
    results, notes = merged(tmp_path / "out", early, late)
    assert results.trials.sort_values("trial_id")["steps"].tolist() == [32, 32, 32]
    assert notes == [
        f"{late}: its run has not ended: it was interrupted, or goes on",
        "2 trials have not ended: the study's run in this folder goes on with them, or anew",
    ]
    results, notes = merged(tmp_path / "out", again)
    assert not notes
    assert results.trials["status"].tolist() == ["completed"] * 3
    assert len(results.curves) == 9


def test_a_trial_that_failed_somewhere_is_taken_where_it_came_further(tmp_path):
    failed = sample(tmp_path / "failed", trials(3, status=["completed", "failed", "failed"], steps=[160, 0, 0]))
    other = sample(tmp_path / "other", trials(3, status=["completed", "failed", "timeout"], steps=[160, 0, 32]))
    whole = sample(tmp_path / "whole", trials(3))
    results, notes = merged(tmp_path / "out", failed, other)
    assert results.trials.sort_values("trial_id")["status"].tolist() == ["completed", "failed", "timeout"]
    assert notes == ["2 trials have not ended: the study's run in this folder goes on with them, or anew"]
    results, notes = merged(tmp_path / "out", whole)
    assert not notes
    assert results.trials["status"].tolist() == ["completed"] * 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows as an archive and as a text table."""
    path = tmp_path_factory.mktemp("files")
    np.savez(path / "a.npz", X=X, y=Y)
    pd.DataFrame(X, columns=list("abcde")).assign(y=Y).to_csv(path / "a.csv", index=False)
    return path


def of_file(files, source="memory", name="a.npz", order="shuffle", **changes):
    """A study of a file, whose rows are where `source` says."""
    target = {"target": "y", "csv": {"sep": ","}} if name.endswith(".csv") else {}
    problem = {"name": "a", "loss": "logistic", "path": str(files / name), "source": source, "validation": 0.2}
    return study_of(problem=problem | target, order=order, **changes)


@pytest.mark.usefixtures("fine")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"source": "map"}),
        ({"source": "stream", "order": "blocks"}, {"source": "memory", "order": "blocks"}),
        ({"source": "stream"}, {"source": "memory", "order": "blocks"}),
        ({"source": "stream", "batch_size": "full"}, {"batch_size": "full"}),
        ({}, {"name": "a.csv"}),
        ({"name": "a.csv", "source": "map"}, {"reference": {"optimum": True}, "record": {"state": True}}),
    ],
)
def test_shards_may_differ_in_what_decides_no_number(tmp_path, files, one, other):
    folders = [tmp_path / "1", tmp_path / "2"]
    studies = [of_file(files, **changes) for changes in (one, other)]
    for number, (study, folder) in enumerate(zip(studies, folders, strict=True), 1):
        fastgd.run(study, folder, shard=(number, 2), progress=False)
    assert len(fastgd.merge(tmp_path / "merged", folders, progress=False).trials) == 4
    log = Log()
    merged = fastgd.run(studies[0], tmp_path / "merged", progress=False, on_event=log)
    assert not log.of(CohortStarted)
    assert_same(merged, fastgd.run(studies[0], tmp_path / "whole", progress=False))


def test_rows_that_stream_in_one_folder_alone_are_visited_otherwise(tmp_path, files, monkeypatch):
    for name, changes in {"memory": {}, "stream": {"source": "stream"}, "auto": {"source": "auto"}}.items():
        fastgd.run(of_file(files, **changes), tmp_path / name, progress=False)
    why = r"problem\.0\.order is 'shuffle' and 'blocks' \(rows that stream are shuffled by blocks\)"
    with pytest.raises(InputError, match=why):
        merged(tmp_path / "out", tmp_path / "memory", tmp_path / "stream")
    monkeypatch.setattr(sys.modules["fastgd.datasets.load"], "room_for_rows", lambda: 1_000)
    fastgd.run(of_file(files, source="auto"), tmp_path / "less memory", progress=False)
    with pytest.raises(InputError, match=r"auto and .*less memory hold 8 trials of a study of 4: .* orders, as those"):
        merged(tmp_path / "out", tmp_path / "auto", tmp_path / "less memory")
    assert not (tmp_path / "out").exists()


def test_folders_that_do_not_belong_together_are_refused_before_anything_is_written(tmp_path):
    base, out = sample(tmp_path / "base", trials(3)), tmp_path / "out"
    toml = 'name = "sample"\nepochs = 3\n[problem]\npath = "/there/a.csv"\nl2 = 0.5\n'
    other = {
        "hold different studies: epochs is not given and 3": {"study_toml": toml},
        "hold results of different data for the problem 'flights'": {"fingerprints": {"flights": "0" * 64}},
        r"other was computed with numba 0\.1 \(in .*base 0\.68\.1\)": {"packages": {"numba": "0.1"}},
    }
    for number, (message, options) in enumerate(other.items()):
        path = sample(tmp_path / f"other{number}" / "other", trials(2, "o"), **options)
        with pytest.raises(InputError, match=message):
            merged(out, path, base) if "packages" in options else merged(out, base, path)
    results, notes = merged(tmp_path / "mixed", base, path, allow_mixed=True)
    assert len(results.trials) == 5
    assert notes == ["results of numba 0.68.1 (in other 0.1) were merged"]
    assert notes == list(results.manifest.notes)
    elsewhere = toml.replace("/there/a", "/here/b") + "\n"
    one, two = (
        sample(tmp_path / f"p{n}", trials(1, f"p{n}"), study_toml=text) for n, text in enumerate((toml, elsewhere))
    )
    assert len(merged(tmp_path / "paths", one, two)[0].trials) == 2

    odd = trials(3)
    odd.loc[1, "final_loss"] = np.nextafter(odd.loc[1, "final_loss"], 1)
    with pytest.raises(InputError, match=r"trial t00001 is not the same in .*base and .*odd: its final_loss is 0\.5 "):
        merged(out, base, sample(tmp_path / "odd", odd))
    with pytest.raises(InputError, match="is named twice"):
        merged(out, base, base)
    with pytest.raises(InputError, match="holds no fastgd results"):
        merged(out, base, tmp_path)
    file = next((base / "curves").iterdir())
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"base: curves/0000-000000-00\.parquet is damaged .*; nothing was merged"):
        merged(out, base, path)
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills")
@pytest.mark.parametrize("stride", ["5", in_full("1")])
def test_a_kill_loses_and_doubles_nothing(tmp_path, monkeypatch, stride):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    victim = Path(__file__).with_name("store_victim.py")
    subprocess.run([sys.executable, victim, tmp_path, "files", stride, "merge"], check=True, timeout=300)
    sources = [tmp_path / "sources" / name for name in ("one", "two")]
    before = contents_of(sources)
    expected = fastgd.merge(tmp_path / "whole", sources, progress=False)
    killed = sorted(path for path in tmp_path.glob("files-*") if path.is_dir())
    assert len(killed) > 5
    first, every = {"a0", "a1"}, set(expected.trials["trial_id"])
    for path in killed:
        if (path / "manifest.json").exists() and fastgd.verify(path).trials:
            assert set(fastgd.load(path).trials["trial_id"]) in (first, every)
        found = fastgd.merge(path, sources, progress=False)
        assert_same_rows(found, expected)
    assert contents_of(sources) == before


def assert_same_rows(found, expected):
    for kind in ("trials", "curves"):
        one, other = (
            getattr(each, kind).sort_values(["trial_id"], ignore_index=True, kind="stable")
            for each in (found, expected)
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True)


# --- the command line -------------------------------------------------------------------------------------------------

STUDY = """
name = "rates"
epochs = 2
batch_size = 64
problem = { loss = "logistic", dataset = "breast_cancer", standardize = true }
optimizer = { name = "momentum", lr = { log = [1e-3, 1e0], num = 70 } }
seed = [0, 1]
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rates.toml").write_text(STUDY)
    return tmp_path


def test_the_command_shows_what_a_shard_takes(job):
    shown, _ = fastgd_cli("run", "rates.toml", "--shard", "2/3", "--dry-run")
    assert "shard 2/3: 64 of the study's 140 trials, 45.7% of its operations" in shown
    shown, _ = fastgd_cli("run", "rates.toml", "--shard", "9/9", "--dry-run")
    assert "shard 9/9: 0 of the study's 140 trials, 0.0% of its operations" in shown
    said = fastgd_cli("run", "rates.toml", "--shard", "9/9", "--out", "nothing")[1]
    assert "nothing to run: shard 9/9 has none of the study's trials" in said
    for arguments, message in (
        (("run", "rates.toml", "--shard", "9/8"), "shard: must be K/N, the K-th of N parts"),
        (("run", "rates.toml", "--shard", "1/8", "--trial", "a"), "give one of them"),
        (("merge", "results/rates", "results/none"), "holds no fastgd results"),
    ):
        assert message in fastgd_cli(*arguments, code=2)[1]
    assert not Path("results").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_the_jobs_of_the_page_run(job):
    """Run the scripts of docs/scale.md as SLURM does: the second part stands still, and is told to be missing."""
    array, after = re.findall(r"```text\n(#!/bin/bash\n.*?)```", (DOCS / "scale.md").read_text(), re.DOTALL)
    run_script(array, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_COUNT="2", SLURM_CPUS_PER_TASK="2")
    said = run_script(after)
    assert "1 of 2 shards: 2/2 is missing; 70 of the study's 140 trials are there; its run in this folder" in said
    results = fastgd.load("results/rates")
    assert len(results.trials) == 140
    assert results.manifest.shards == ["1/2"]
    assert fastgd_cli("verify", "results/rates")


def run_script(text, **environment):
    """Run a job's script with the program of this interpreter; return what it said."""
    program = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}", **environment}
    done = subprocess.run(["bash", "-e"], input=text, text=True, capture_output=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stderr
