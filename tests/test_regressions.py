"""`fastgd compare`: pairs of trials, what is equal, what is worse, and what cannot be compared."""

import json

import numpy as np
import pandas as pd
import pytest
import store_samples
from hypothesis import given
from hypothesis import strategies as st
from small_studies import run
from store_samples import block, open_folder, trials
from test_cli import fastgd_cli

import fastgd
from fastgd.analysis.regressions import paired_curves
from fastgd.analysis.regressions.comparison import relative
from fastgd.analysis.regressions.pairing import paired
from fastgd.common.errors import InputError

STEPS = 16 * np.arange(6)
FALLING = 0.3 + 0.4 * np.exp(-0.8 * np.arange(6))


def write(path, rows, curves=None, **options):
    """A folder with these trials; `curves` gives each one's losses, by default the same falling ones."""
    curves = np.broadcast_to(FALLING, (len(rows), 6)) if curves is None else np.asarray(curves)
    ids = rows["trial_id"].tolist()
    rows = rows.assign(final_loss=curves[:, -1], best_loss=np.fmin.reduce(curves, axis=1))
    with open_folder(path, **options) as folder:
        with folder.writer() as cohort:
            for place, step in enumerate(STEPS):
                cohort.append("curves", block(ids, place, step=step, loss=curves[:, place], lr=rows["lr"].to_numpy()))
            cohort.commit(rows)
        folder.finish(ids)
    return path


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "base", trials(4))


def verdicts(found):
    return found.pairs["verdict"].tolist()


def test_the_same_numbers_are_equal_and_times_do_not_count(base, tmp_path):
    found = fastgd.compare(base, write(tmp_path / "new", trials(4, train_seconds=77.0, cohort_id="another")))
    assert verdicts(found) == ["equal"] * 4
    assert found.ok
    summary = found.summary
    assert summary["curves_equal"] == summary["final_loss_equal"] == summary["equal"] == summary["pairs"] == 4
    assert [summary[f"largest_{name}_difference"] for name in ("final", "best", "curve")] == [0, 0, 0]


def test_rounding_is_seen_and_is_no_regression(base, tmp_path):
    curves = np.tile(FALLING, (4, 1))
    curves[1] = np.nextafter(curves[1], 1)
    curves[2, 3] *= 1 + 1e-13
    found = fastgd.compare(base, write(tmp_path / "new", trials(4), curves))
    assert verdicts(found) == ["equal", "same", "same", "equal"]
    assert found.pairs["outcome_equal"].tolist() == [True, False, True, True]
    assert found.pairs["curve_equal"].tolist() == [True, False, False, True]
    assert 0 < found.pairs["curve_difference"].max() < 1e-12
    assert found.ok


def test_what_is_worse_and_what_is_better(base, tmp_path):
    curves = np.tile(FALLING, (4, 1))
    curves[0, -1] *= 1.01  # only the end
    curves[1] = 0.3 + 0.4 * np.exp(-0.6 * np.arange(6))  # slower all the way
    curves[2, -1] *= 0.98
    rows = trials(4, status=["completed", "completed", "completed", "diverged"])
    found = fastgd.compare(base, write(tmp_path / "new", rows, curves))
    assert verdicts(found) == ["worse", "worse", "better", "worse"]
    reasons = found.pairs["reason"].tolist()
    assert "final loss higher" in reasons[0]
    assert "best loss higher" in reasons[1]
    assert "final loss lower" in reasons[2]
    assert reasons[3] == "diverged or failed"
    other_way = fastgd.compare(tmp_path / "new", base)
    assert verdicts(other_way) == ["better", "better", "worse", "better"]
    assert other_way.pairs["reason"].tolist()[3] == "no longer diverged or failed"
    assert fastgd.compare(base, tmp_path / "new", tolerance=0.5).pairs["verdict"].tolist()[:3] == ["same"] * 3


def test_later_to_the_same_loss_is_worse(base, tmp_path):
    """Both end at the same losses, and one is there two checkpoints later."""
    fast, slow = [0.7, 0.4, 0.3, 0.3, 0.3, 0.3], [0.7, 0.6, 0.5, 0.4, 0.3, 0.3]
    one, other = (write(tmp_path / name, trials(1), [curve]) for name, curve in (("fast", fast), ("slow", slow)))
    found = fastgd.compare(one, other)
    pair = found.pairs.iloc[0]
    assert (pair["verdict"], pair["reason"]) == ("worse", "later to the target")
    assert (pair["base_target_steps"], pair["target_steps"]) == (32, 64)
    assert pair["target"] == pytest.approx(0.3 + 1e-3 * 0.4)
    assert fastgd.compare(other, one).pairs.iloc[0]["reason"] == "earlier at the target"
    # A checkpoint that misses the target by rounding makes nobody late.
    nearly = write(tmp_path / "nearly", trials(1), [[0.7, 0.4, 0.3004 * (1 + 1e-12), 0.3, 0.3, 0.3]])
    exactly = write(tmp_path / "exactly", trials(1), [[0.7, 0.4, 0.3004, 0.3, 0.3, 0.3]])
    assert fastgd.compare(exactly, nearly).pairs.iloc[0]["verdict"] == "same"


def test_trials_that_ran_out_of_time_are_not_judged(base, tmp_path):
    curves = np.tile(FALLING, (4, 1))
    curves[:, -1] *= 2
    found = fastgd.compare(base, write(tmp_path / "new", trials(4, status="timeout"), curves))
    assert verdicts(found) == ["unknown"] * 4
    assert found.ok


def test_trials_that_lost_a_race_are_judged_where_both_lost_it(tmp_path):
    status = ["retired", "retired", "early_stopped", "retired"]
    lost = write(tmp_path / "lost", trials(4, status=status))
    curves = np.tile(FALLING, (4, 1))
    curves[1, -1] *= 2
    again = write(tmp_path / "again", trials(4, status=[*status[:3], "completed"]), curves)
    assert verdicts(fastgd.compare(lost, again)) == ["equal", "worse", "equal", "unknown"]


def test_a_loss_that_is_no_number_any_more_is_worse(base, tmp_path):
    curves = np.tile(FALLING, (4, 1))
    curves[0, 3], curves[1, -1] = np.inf, np.nan
    found = fastgd.compare(base, write(tmp_path / "new", trials(4), curves))
    assert verdicts(found) == ["same", "worse", "equal", "equal"]
    assert found.pairs["curve_difference"].tolist()[:2] == [np.inf, np.inf]


def test_other_names_are_paired_by_settings_to_twelve_digits(base, tmp_path):
    rows = trials(5, prefix="other", lr=[*trials(4)["lr"] * (1 + 1e-14), 7.0]).sample(frac=1, random_state=0)
    found = fastgd.compare(base, write(tmp_path / "new", rows.reset_index(drop=True)))
    assert len(found.pairs) == 4
    assert not found.pairs["by_name"].any()
    assert found.pairs["trial_id"].str.removeprefix("other").tolist() == found.pairs["base_trial_id"].str[1:].tolist()
    assert (len(found.only_base), found.only_new["trial_id"].tolist()) == (0, ["other00004"])
    seeds = write(tmp_path / "seeds", trials(4, prefix="seeds", seed=1))
    with pytest.raises(InputError, match="no trial in common"):
        fastgd.compare(base, seeds)


def test_settings_that_only_one_has_or_that_stand_twice_make_no_pair(base, tmp_path):
    rows = trials(4, prefix="b", beta=[0.9, np.nan, np.nan, np.nan])
    found = fastgd.compare(base, write(tmp_path / "beta", rows, hyper=("lr", "beta")))
    assert found.pairs["base_trial_id"].tolist() == ["t00001", "t00002", "t00003"]
    assert "'beta'" in found.notes[0]
    twice = trials(4, prefix="c", lr=[*trials(4)["lr"][:2], 1.0, 1.0])
    found = fastgd.compare(base, write(tmp_path / "twice", twice))
    assert found.pairs["base_trial_id"].tolist() == ["t00000", "t00001"]


def test_another_budget_is_no_pair_by_settings(tmp_path):
    one, other = (
        write(
            tmp_path / str(epochs), trials(2, prefix=f"e{epochs}"), study_toml=f'name = "sample"\nepochs = {epochs}\n'
        )
        for epochs in (5, 6)
    )
    with pytest.raises(InputError, match="epochs is 5 in one and 6 in the other"):
        fastgd.compare(one, other)


def test_other_data_cannot_be_compared(base, tmp_path):
    other = write(tmp_path / "other", trials(4), fingerprints={"flights": "0" * 64})
    with pytest.raises(InputError, match="'flights' has other data"):
        fastgd.compare(base, other)
    _, error = fastgd_cli("compare", base, other, code=2)
    assert "cannot be compared" in error
    with pytest.raises(InputError, match="tolerance"):
        fastgd.compare(base, base, tolerance=-1)


def test_trials_that_are_no_longer_in_the_study_are_left_out(tmp_path, base):
    with open_folder(tmp_path / "new") as folder:
        ids = store_samples.commit(folder, trials(4))
        folder.finish(ids[:2])
    found = fastgd.compare(base, tmp_path / "new")
    assert (len(found.pairs), len(found.only_base)) == (2, 2)


def test_the_command_says_it_and_exits_with_one(base, tmp_path):
    curves = np.tile(FALLING, (4, 1))
    curves[2] *= 1.1
    new = write(tmp_path / "new", trials(4), curves)
    text, _ = fastgd_cli("compare", base, base)
    assert "4 pairs of trials" in text
    assert "worse, the largest" not in text
    text, _ = fastgd_cli("compare", base, new, code=1)
    assert "t00002" in text
    assert "final loss higher" in text
    printed, _ = fastgd_cli("compare", base, new, "--json", code=1)
    told = json.loads(printed)
    assert (told["ok"], told["worse"], told["equal"]) == (False, 1, 3)
    assert told["worse_trials"][0]["trial_id"] == "t00002"
    assert told["worse_trials"][0]["optimizer"] == "sgd"
    assert told["largest_final_difference"] == pytest.approx(0.1 / 1.1)


def test_curves_in_pieces_are_those_in_one(monkeypatch, tmp_path):
    """Cohorts in another order, checkpoints in blocks, pairs of several pieces; against pandas."""
    optimizers = ["sgd", "momentum", "adam"]
    one = store_samples.write_study(tmp_path / "one", optimizers, seeds=2, rates=8)
    other = store_samples.write_study(tmp_path / "other", optimizers[::-1], seeds=2, rates=8)
    whole = fastgd.compare(one, other)
    assert whole.summary["equal"] == len(whole.pairs) > 50
    changed = store_samples.write_study(tmp_path / "changed", optimizers, seeds=2, rates=8, epochs=19)
    expected = fastgd.compare(one, changed).pairs
    for rows in (1, 100, 1000):
        monkeypatch.setattr(paired_curves, "ROWS", rows)
        pd.testing.assert_frame_equal(fastgd.compare(one, changed).pairs, expected)
    both = [fastgd.load(path).curves.set_index(["trial_id", "step"])["loss"] for path in (one, changed)]
    joined = pd.concat(both, axis=1, keys=["base", "new"], join="inner")
    apart = (joined["new"] - joined["base"]).abs() / joined.abs().max(axis=1)
    apart[joined["base"] == joined["new"]] = 0
    largest = apart.groupby("trial_id").max()
    found = expected.set_index("trial_id")["curve_difference"].sort_index()
    np.testing.assert_allclose(found, largest.sort_index(), rtol=1e-12)


def test_only_a_piece_of_the_curves_is_in_memory(monkeypatch, tmp_path):
    path = store_samples.write_study(tmp_path / "r", ["sgd", "adam"], seeds=3, rates=24, log_steps=100)
    monkeypatch.setattr(paired_curves, "ROWS", 2_000)
    pairing = paired(fastgd.load(path), fastgd.load(path))
    side = pairing.base
    curves = [paired_curves.Curves(side.study, side.ids.tolist(), side.code, side.start) for _ in range(2)]
    sizes = [len(base.pair) + len(new.pair) for _, _, base, new in paired_curves.side_by_side(*curves)]
    assert len(sizes) > 5
    assert max(sizes) <= 2_000 + 2 * curves[0].rows.max()
    assert sum(sizes) == 2 * side.study.curves_dataset.count_rows()


@given(st.lists(st.tuples(*[st.floats(allow_subnormal=False)] * 2), min_size=1))
def test_differences_are_antisymmetric_and_never_no_number(pairs):
    one, other = np.array(pairs).T
    least = np.zeros(len(one))
    there, back = relative(one, other, least), relative(other, one, least)
    assert not np.isnan(there).any()
    finite = np.isfinite(one) & np.isfinite(other)
    np.testing.assert_array_equal(there[finite], -back[finite])
    assert (there[one == other] == 0).all()


def test_real_studies_that_were_extended(tmp_path):
    base = run(tmp_path / "base", seed=[0, 1])
    new = run(tmp_path / "new", seed=[0, 1, 2], threads=1)
    found = fastgd.compare(base, new)
    assert verdicts(found) == ["equal"] * 8
    assert (len(found.only_base), len(found.only_new)) == (0, 4)
    float32 = run(tmp_path / "float32", dtype="float32")
    with pytest.raises(InputError, match="cannot be compared"):
        fastgd.compare(base, float32)


def test_landscapes_are_compared_start_by_start(tmp_path):
    study = {
        "name": "starts",
        "steps": 50,
        "problem": {"landscape": "himmelblau"},
        "starts": {"grid": 4},
        "optimizer": {"name": "momentum", "lr": [1e-3, 5e-3]},
        "record": {"every": {"log": 6}},
    }
    base = fastgd.run(fastgd.Study(**study), tmp_path / "base", progress=False)
    new = fastgd.run(fastgd.Study(**study), tmp_path / "new", progress=False)
    found = fastgd.compare(base, new)
    assert len(found.pairs) == 32
    assert found.summary["equal"] == 32
    assert not found.pairs.duplicated(["trial_id", "start"]).any()
    with pytest.raises(InputError, match="on landscapes"):
        fastgd.compare(base, run(tmp_path / "data"))
    other = fastgd.Study(**{**study, "steps": 60})
    with pytest.raises(InputError, match="steps is 50 in one and 60"):
        fastgd.compare(base, fastgd.run(other, tmp_path / "other", progress=False))
