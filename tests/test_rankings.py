"""Rankings where trials ended in different ways, and what a ranking says of itself."""

import numpy as np
import pytest
from small_studies import run
from store_samples import commit, open_folder, trials

from fastgd.analysis import load
from fastgd.cli.answers.rankings import ranking_table, remarks


def ranked(path, rows, **options):
    with open_folder(path, **options) as folder:
        folder.finish(commit(folder, rows))
    results = load(path)
    return results, results.best()


def printed(results, ranking):
    from rich.console import Console

    console = Console(width=250)
    with console.capture() as capture:
        console.print(ranking_table(results, ranking, ranking, "title"))
    return capture.get().splitlines()[2:]


def test_trials_that_a_target_ended_rank_by_when_they_reached_it(tmp_path):
    rows = trials(4, lr=[1.0, 2.0, 3.0, 4.0], status=["target", "target", "completed", "target"])
    rows["epochs"], rows["final_loss"] = [8.0, 2.0, 10.0, 2.0], [0.299, 0.2999, 0.31, 0.2998]
    results, best = ranked(tmp_path, rows)
    assert best["lr"].tolist() == [4.0, 2.0, 1.0, 3.0]
    np.testing.assert_array_equal(best["target_epochs"], [2.0, 2.0, 8.0, np.nan])
    assert best["final_loss"].tolist() == [0.2998, 0.2999, 0.299, 0.31]
    expected = "ranked by the epochs until the training objective reached the target, then the final loss"
    assert remarks(results, best)[0] == expected
    assert "target epochs" in str([column.header for column in ranking_table(results, best, best, "").columns])


def test_the_trial_in_the_middle_decides_whatever_ended_the_others(tmp_path):
    rows = trials(9, lr=np.repeat([1.0, 2.0, 3.0], 3), seed=[0, 1, 2] * 3)
    rows["status"] = [
        "target",
        "target",
        "completed",
        "target",
        "completed",
        "diverged",
        "target",
        "timeout",
        "timeout",
    ]
    rows["epochs"] = [4.0, 6.0, 10.0, 1.0, 10.0, 5.0, 1.0, 3.0, 3.0]
    rows["final_loss"] = [0.29, 0.29, 0.4, 0.29, 0.5, 9.0, 0.29, 0.6, 0.7]
    _, best = ranked(tmp_path, rows)
    assert best["lr"].tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(best["target_epochs"], [6.0, np.nan, np.nan])
    np.testing.assert_array_equal(best["final_loss"], [0.29, 0.5, np.nan])
    np.testing.assert_array_equal(best["final_loss_min"], [0.29, 0.29, 0.29])
    np.testing.assert_array_equal(best["final_loss_max"], [0.4, np.inf, np.nan])
    assert (best["diverged"].tolist(), best["timeout"].tolist()) == ([0, 1, 0], [0, 0, 2])


def test_what_ran_out_of_time_ranks_behind_what_ended_and_before_what_diverged(tmp_path):
    rows = trials(4, lr=[1.0, 2.0, 3.0, 4.0], status=["timeout", "completed", "diverged", "timeout"])
    rows["final_loss"] = [0.1, 0.5, 0.1, np.nan]
    results, best = ranked(tmp_path, rows)
    assert best["lr"].tolist() == [2.0, 1.0, 4.0, 3.0]
    np.testing.assert_array_equal(best["final_loss"], [0.5, np.nan, np.nan, np.inf])
    lines = printed(results, best)
    assert [line.split()[3] for line in lines] == ["0.5", "timeout", "timeout", "diverged"]
    assert not any("nan" in line for line in lines)
    expected = "ranked by the final loss; behind all others what ran out of time, then what diverged or failed"
    assert remarks(results, best)[0] == expected


def test_a_range_never_says_nan(tmp_path):
    rows = trials(6, lr=np.repeat([1.0, 2.0, 3.0], 2), seed=[0, 1] * 3)
    rows["status"] = ["completed", "completed", "completed", "timeout", "timeout", "timeout"]
    rows["final_loss"] = [0.5, 0.6, 0.4, np.nan, np.nan, np.nan]
    results, best = ranked(tmp_path, rows)
    lines = printed(results, best)
    assert "0.5 to 0.6" in lines[0]
    assert "0.4 to ?" in lines[1]
    assert " to " not in lines[2]
    assert not any("nan" in line for line in lines)
    assert remarks(results, best)[0].startswith("ranked by the final loss, the median of 2 seeds; behind all others")


def test_of_two_in_the_middle_the_later_one_decides(tmp_path):
    rows = trials(4, lr=[1.0, 1.0, 2.0, 2.0], seed=[0, 1] * 2, status=["target", "completed", "completed", "completed"])
    rows["final_loss"] = [0.29, 0.4, 0.31, 0.32]
    _, best = ranked(tmp_path, rows)
    assert best["lr"].tolist() == [2.0, 1.0]
    assert best["final_loss"].tolist() == pytest.approx([0.315, 0.345])
    assert best["target_epochs"].isna().all()


@pytest.mark.parametrize(("losses", "end"), [([1, 2, 3], "lowest"), ([3, 2, 1], "highest"), ([3, 1, 2], None)])
def test_a_best_rate_at_the_end_of_its_grid_is_said(tmp_path, losses, end):
    results, best = ranked(tmp_path, trials(3, lr=[0.1, 1.0, 10.0], final_loss=losses))
    found = results.best_at_ends(best)
    assert found["end"].tolist() == ([end] if end else [])
    assert found["rates"].tolist() == ([3] if end else [])
    rate = {"lowest": "0.1", "highest": "10"}.get(end)
    expected = f"sgd: the best rate, {rate}, is the {end} of the 3 that were tried: a better one may lie beyond"
    assert remarks(results, best)[1:] == ([expected] if end else [])


def test_rates_that_diverged_were_tried_and_other_settings_were_not(tmp_path):
    rows = trials(5, lr=[0.1, 1.0, 10.0, 1.0, 0.01], beta=[0.5, 0.5, 0.5, 0.9, 0.9], status="completed")
    rows["status"], rows["final_loss"] = ["completed"] * 2 + ["diverged"] + ["completed"] * 2, [3.0, 1.0, 0.0, 2.0, 9.0]
    results, best = ranked(tmp_path / "diverged", rows, hyper=("lr", "beta"))
    assert results.best_at_ends(best).empty
    results, best = ranked(tmp_path / "one", trials(2, lr=[1.0, 2.0], batch_size=[32, 64]))
    assert results.best_at_ends(best).empty, "one rate each"
    lost, ranking = ranked(tmp_path / "lost", trials(2, lr=[1.0, 2.0], status="diverged"))
    assert lost.best_at_ends(ranking).empty
    assert results.best_at_ends(best.drop(columns="lr")).empty
    with open_folder(tmp_path / "nothing"):
        pass
    assert remarks(load(tmp_path / "nothing"), load(tmp_path / "nothing").best()) == []


def test_a_study_with_a_target(tmp_path):
    fields = {"optimizer": {"name": "momentum", "lr": [0.003, 0.03, 0.3]}, "epochs": 20, "stop": {"target": 0.45}}
    results = run(tmp_path / "r", **fields)
    best = results.best()
    own = results.trials.set_index("trial_id").loc[best["trial_id"]]
    reached = own[own["status"] == "target"]
    assert len(reached) >= 2
    assert reached["epochs"].is_monotonic_increasing
    assert best["target_epochs"].dropna().tolist() == reached["epochs"].tolist()
