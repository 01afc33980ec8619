"""Results read back: ranking, curves, parameters, and that none of it needs Numba."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from store_samples import OPTIMIZERS, commit, configured, open_folder, trials, write_study

from fastgd.analysis import load
from fastgd.common.errors import InputError
from fastgd.store import Contents


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("analysis") / "study", ["momentum", "adam"], rates=8, epochs=5)


def stored(path, rows, **options):
    with open_folder(path, hyper=("lr", "beta"), **options) as folder:
        folder.finish(commit(folder, rows))
    return load(path)


def test_loading_never_imports_numba_or_the_engine(study):
    code = f"""
import sys
import fastgd, fastgd.analysis, fastgd.store
results = fastgd.load({str(study)!r})
assert len(results.best()) and len(results.curves) and results.timings
loaded = [name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite", "matplotlib", "sklearn")]
loaded += [name for name in sys.modules if name.startswith(("fastgd.engine", "fastgd.optimizers", "fastgd.problems"))]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tables_are_all_there(study):
    results = load(study)
    assert len(results.trials) == 8 * 3 * (2 + 4)
    assert results.trials["in_study"].all()
    assert results.curves["trial_id"].nunique() == len(results.trials)
    assert results.curves_dataset.count_rows() == len(results.curves)
    assert results.study == {"name": "sample"}
    assert results.manifest.name == "sample"
    assert set(results.timings) == {"load", "plan", "compile", "train", "evaluate", "store"}
    assert results.hyper == ("lr", "momentum", "beta1", "beta2")
    assert "144 trials" in repr(results)


def test_best_agrees_with_a_naive_ranking(study):
    results = load(study)
    for by in ("validation_loss", "loss"):
        for at in ("final", "best"):
            rows = []
            for key, group in results.trials.groupby(["optimizer", "lr", "momentum", "beta1", "beta2"], dropna=False):
                values = [
                    np.inf if status == "diverged" else value
                    for value, status in zip(group[f"{at}_{by}"], group["status"], strict=True)
                ]
                rows.append((np.median(values), min(values), max(values), sum(group["status"] == "diverged"), key[:2]))
            rows.sort(key=lambda row: (row[0], row[3]))
            best = results.best(by=by, at=at)
            assert best["rank"].tolist() == list(range(1, len(rows) + 1))
            np.testing.assert_array_equal(best[f"{at}_{by}"], [row[0] for row in rows])
            np.testing.assert_array_equal(best[f"{at}_{by}_min"].sort_values(), sorted(row[1] for row in rows))
            np.testing.assert_array_equal(best[f"{at}_{by}_max"].sort_values(), sorted(row[2] for row in rows))
            assert best["diverged"].sum() == sum(row[3] for row in rows)
            assert best["seeds"].eq(3).all()
            finite = best[np.isfinite(best[f"{at}_{by}"])]
            found = zip(finite[f"{at}_{by}"], finite["optimizer"], finite["lr"], strict=True)
            assert sorted(found) == sorted((row[0], *row[4]) for row in rows if np.isfinite(row[0]))
            own = results.trials.set_index("trial_id").loc[finite["trial_id"], f"{at}_{by}"]
            np.testing.assert_array_equal(own, finite[f"{at}_{by}"])  # with three seeds a trial stands at the median


def test_diverged_configurations_come_last(tmp_path):
    rows = trials(6, lr=[0.1, 0.1, 1.0, 1.0, 9.0, 9.0], seed=[0, 1] * 3)
    rows["status"] = ["completed", "completed", "completed", "diverged", "diverged", "diverged"]
    rows["final_loss"] = [0.5, 0.7, 0.1, 0.2, 0.01, np.nan]
    best = stored(tmp_path, rows).best()
    assert best["lr"].tolist() == [0.1, 1.0, 9.0]
    assert best["final_loss"].tolist() == [0.6, np.inf, np.inf]
    assert best["final_loss_min"].tolist() == [0.5, 0.1, np.inf]
    assert best["diverged"].tolist() == [0, 1, 2]
    assert best["trial_id"].tolist()[0] == "t00000"


def test_configurations_differ_by_everything_but_the_seed(tmp_path):
    rows = trials(6, lr=0.1, seed=0, beta=[None, None, 0.9, 0.9, None, None], batch_size=[64, 64, 64, 64, 128, 128])
    rows["schedule"] = ["constant", "cosine"] * 3
    best = stored(tmp_path, configured(rows)).best()
    assert len(best) == 6
    rows = configured(rows.assign(seed=[0, 1] * 3, schedule="constant", trial_id=[f"u{i}" for i in range(6)]))
    assert len(stored(tmp_path / "other", rows).best()) == 3


def test_seeds_of_a_trial(study):
    results = load(study)
    first = results.best().iloc[0]
    seeds = results.seeds_of(first["trial_id"])
    assert len(seeds) == 3
    assert first["trial_id"] in seeds
    assert results.trials.set_index("trial_id").loc[seeds, "lr"].eq(first["lr"]).all()
    with pytest.raises(InputError, match="no trial 'nope'"):
        results.seeds_of("nope")


def test_problems_are_ranked_apart(tmp_path):
    results = stored(tmp_path, trials(4, problem=["b", "a", "b", "a"], final_loss=[4.0, 3.0, 2.0, 1.0]))
    best = results.best()
    assert best["problem"].tolist() == ["b", "b", "a", "a"]
    assert best["rank"].tolist() == [1, 2, 1, 2]
    assert best["final_loss"].tolist() == [2.0, 4.0, 1.0, 3.0]


def test_trials_out_of_the_study_are_kept_and_not_ranked(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(4))
        folder.finish(ids[:2])
    results = load(tmp_path)
    assert results.trials["in_study"].tolist() == [True, True, False, False]
    assert len(results.best()) == 2
    assert set(results.best()["trial_id"]) == set(ids[:2])


def test_the_validation_loss_is_ranked_by_where_there_is_one(study, tmp_path):
    assert "final_validation_loss" in load(study).best()
    results = stored(tmp_path, trials(2))
    assert "final_loss" in results.best()
    with pytest.raises(InputError, match="the study has no validation data; rank by 'loss'"):
        results.best(by="validation_loss")
    with pytest.raises(InputError, match="cannot be ranked by 'los'; did you mean 'loss'"):
        results.best(by="los")
    with pytest.raises(InputError, match="cannot be ranked at 'end'"):
        results.best(at="end")


def test_a_diverged_study_with_validation_data_still_has_a_validation_loss(tmp_path):
    rows = trials(2, status="diverged", final_validation_loss=np.nan, best_validation_loss=0.7)
    assert stored(tmp_path, rows).best()["final_validation_loss"].tolist() == [np.inf, np.inf]


def test_parameters(tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(3), parameters=True)
        commit(folder, trials(1, "u"))
    results = load(tmp_path)
    np.testing.assert_array_equal(results.parameters("t00001"), [3.0, 4.0, 5.0])
    assert results.parameters("t00001").dtype == np.float64
    with pytest.raises(InputError, match="'u00000' were not recorded"):
        results.parameters("u00000")
    with pytest.raises(InputError, match="no trial 'v'"):
        results.parameters("v")


def test_a_folder_that_holds_nothing_yet(tmp_path):
    with pytest.raises(InputError, match="holds no fastgd results"):
        load(tmp_path / "nowhere")
    with open_folder(tmp_path):
        pass
    results = load(tmp_path)
    assert len(results.trials) == len(results.curves) == len(results.best()) == 0
    assert {"rank", "optimizer", "final_loss", "trial_id"} <= set(results.best())
    assert results.timings == {}


def test_results_can_be_read_while_a_run_ends(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(2)) + commit(folder, trials(2, "u"))
        results, late = load(tmp_path), load(tmp_path)
        assert len(results.trials) == 4
        folder.finish(ids)  # the files that `results` knows are gone
        assert len(results.curves) == 12
        assert len(late.trials) == 4
        assert Contents.read(tmp_path).generation == 1


def test_damaged_curves_are_one_message(study, tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(50), checkpoints=50)
    (path,) = (tmp_path / "curves").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name} is damaged.*fastgd verify"):
        _ = load(tmp_path).curves


def test_ranking_a_hundred_thousand_trials(tmp_path):
    write_study(tmp_path, list(OPTIMIZERS), rates=1470, seeds=4, epochs=1)
    results = load(tmp_path)
    assert len(results.trials) == 99960
    assert len(results.best()) == 24990


def test_results_pass_for_plain_pandas(study):
    results = load(study)
    merged = results.curves.merge(results.trials, on="trial_id")
    assert len(merged) == len(results.curves)
    last = results.curves.groupby("trial_id")["loss"].last()
    expected = results.trials.set_index("trial_id")["final_loss"]
    pd.testing.assert_series_equal(last.sort_index(), expected.sort_index(), check_names=False)
    assert results.trials.dtypes["lr"] == results.curves.dtypes["loss"] == np.float64
