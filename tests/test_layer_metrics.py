"""What one sees of a network's layers: sizes of updates, dead units, and gradients that vanish or explode."""

import numpy as np
import pytest
import reference_networks
from cohorts import in_full
from small_studies import assert_same, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.core.threads import Threads
from fastgd.engine.rows.norms import relative_moves
from fastgd.engine.rows.order import subsample
from fastgd.plan.estimates.costs import Pace, cost_of
from fastgd.plan.estimates.memory import of_cohort
from fastgd.plan.planner import make_plan
from fastgd.problems.activations import ACTIVATIONS, DEAD_SLOPE
from fastgd.runs.clock import Clock, TimeIsOver
from fastgd.runs.data.loading import load_data
from fastgd.runs.measured.layer_gradients import EXPLODED, FEWEST_VANISHED, VANISHED, LayerGradients
from fastgd.runs.measured.metrics import Recorder
from fastgd.runs.units.cohort_run import CohortRun, make_cohort

METRICS = ["layer_grad_norm", "layer_update_ratio", "dead_units"]
NORMS, UPDATES, DEAD = (
    [f"{name}.{layer}" for layer in range(1, 5)][: 3 if name == "dead_units" else 4] for name in METRICS
)
PROBLEM = {"loss": "logistic", "network": {"hidden": [6, 4], "activation": "tanh"}, "l2": [0.0, 0.01]}
SIZES = [5 * 6 + 6, 6 * 4 + 4, 4 + 1]  # of each layer's parameters
DEEP = {"loss": "logistic", "network": {"hidden": [6, 6, 6], "activation": "tanh"}, "init": {"normal": 1e-3}}
EIGHT = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


def seen(path, problem=PROBLEM, **changes):
    """The results of a small study that records all that one sees of layers."""
    return run(path, problem=problem, **{"record": {"metrics": METRICS, "parameters": "all"}, **changes})


def sorted_curves(results):
    found = results.curves.merge(results.trials[["trial_id", "l2", "lr"]].rename(columns={"lr": "rate"}))
    return found.sort_values(["rate", "l2", "step"], ignore_index=True)


def unit_of(data, **changes):
    """The only cohort of a small study, and its data."""
    study = study_of(**{"problem": PROBLEM, "record": {"metrics": METRICS}, **changes})
    loaded = load_data(study, data, lambda _: None)
    (unit,) = make_plan(study, loaded).units
    (own,) = loaded
    return unit, own


def relative(before, after):
    """The norm of each layer's update, relative to that of its parameters, of lanes (lanes, parameters)."""
    cuts = np.cumsum(SIZES)[:-1]
    parts = zip(np.split(after - before, cuts, axis=1), np.split(before, cuts, axis=1), strict=True)
    return np.stack([np.linalg.norm(step, axis=1) / np.linalg.norm(w, axis=1) for step, w in parts])


# --- updates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, in_full({"dtype": "float32"}), in_full({"batch_size": "full"})], ids=str)
def test_updates_are_those_of_the_last_step(tmp_path, changes):
    curves = sorted_curves(seen(tmp_path, **changes))
    start = curves["step"] == 0
    assert curves.loc[start, UPDATES].isna().all(axis=None), "no step was taken"
    assert curves.loc[~start, UPDATES[:3]].notna().all(axis=None)
    assert curves[UPDATES[3]].isna().all(), "there is no fourth layer"
    unit, data = unit_of(rows(), **changes)
    ids = [trial for (trial,) in unit.ids]
    with Threads(1) as threads:
        cohort = make_cohort(unit, data.X, data.y, threads)
        for step in unit.checkpoints[1:]:
            cohort.advance(int(step) - 1 - cohort.t)
            before = cohort.parameters()
            cohort.advance(1)
            expected = relative(before, cohort.parameters())
            found = curves[curves["step"] == step].set_index("trial_id").loc[ids, UPDATES[:3]].to_numpy().T
            assert found == pytest.approx(expected, rel=1e-12)


def test_updates_are_of_the_weights_that_steps_move_whatever_is_reported(tmp_path):
    plain, averaged = (
        sorted_curves(seen(tmp_path / name, optimizer={"name": "sgd", "lr": [0.03, 0.1, 0.3], **more}))
        for name, more in (("plain", {}), ("averaged", {"averaging": {"kind": "ema"}}))
    )
    assert averaged["loss"].iloc[-1] != plain["loss"].iloc[-1]
    assert averaged[UPDATES[:3]].equals(plain[UPDATES[:3]])


def test_moves_of_floats_and_of_nothing():
    before = np.array([[1, 0, 3e-30, np.nan], [1, 0, 4e-30, 1]], np.float32)
    after = np.nextafter(before, np.float32(2))
    found = relative_moves(before, after, [slice(0, 2), slice(1, 2)])
    assert found[:, 0] == pytest.approx(np.finfo(np.float32).eps, rel=1e-12), "exact, not rounded to float32"
    assert np.isnan(found[:, 1]).all(), "nothing is relative to zeros"
    exact = after.astype(float) - before.astype(float)
    assert found[0, 2] == pytest.approx(np.linalg.norm(exact[:, 2]) / np.hypot(*before[:, 2].astype(float)), rel=1e-12)
    assert np.isnan(found[0, 3])


def test_what_is_watched_changes_no_step(tmp_path):
    watched = sorted_curves(seen(tmp_path / "watched"))
    alone = sorted_curves(run(tmp_path / "not", problem=PROBLEM))
    columns = ["loss", "param_norm", "step"]
    assert watched[columns].equals(alone[columns])


# --- dead units -------------------------------------------------------------------------------------------------------


def dead_shares(w, X, widths, activation):
    layers = reference_networks.layers_of(w, widths)
    sums = reference_networks.forward(layers, X, activation)[1][:-1]
    slopes = [np.abs(reference_networks.ACTIVATIONS[activation][1](z)).max(axis=0) for z in sums]
    return [np.mean(largest <= DEAD_SLOPE) for largest in slopes]


@pytest.mark.parametrize(
    ("activation", "scale"),
    [("relu", 0.5), ("tanh", 10.0), in_full("sigmoid", 30.0), in_full("leaky_relu", 30.0), in_full("gelu", 2.0)],
)
def test_dead_units_are_those_without_a_slope_at_any_row(tmp_path, activation, scale):
    X, y = rows()
    X[:, 0] = 5.0  # all rows are on one side of many units
    problem = {"loss": "logistic", "network": {"hidden": [40, 20], "activation": activation}, "init": {"normal": scale}}
    results = seen(tmp_path, problem, data=(X, y), optimizer={"name": "momentum", "lr": EIGHT}, epochs=2)
    last = results.curves.groupby("trial_id").last()[DEAD]
    assert last[DEAD[2]].isna().all(), "the last layer has no activation"
    found = last[DEAD[:2]]
    expected = [dead_shares(results.parameters(trial), X, (5, 40, 20, 1), activation) for trial in found.index]
    assert found.to_numpy().tolist() == expected
    if activation == "leaky_relu":
        assert (found == 0).all(axis=None), "it never has no slope"
    else:
        assert found.to_numpy().max() > 0


def test_every_activation_has_a_slope_that_counts():
    z = np.linspace(-5, 5, 101)
    assert all(np.abs(activation.derivative(z)).max() > 100 * DEAD_SLOPE for activation in ACTIVATIONS.values())


@pytest.mark.parametrize("threads", [1, 2])
def test_dead_units_of_many_rows_and_of_a_subsample(threads):
    X, y = rows(n=3000)
    fixed = subsample(3000, 200)
    X[:, 0] = 5.0
    X[np.setdiff1d(np.arange(3000), fixed)[-1]] = 0.0  # a row that wakes units, and is not in the subsample
    problem = PROBLEM | {"init": {"normal": 3.0}, "l2": 0.0}
    unit, data = unit_of((X, y), problem=problem, optimizer={"name": "momentum", "lr": EIGHT})
    with Threads(threads) as pool:
        cohort = make_cohort(unit, data.X, data.y, pool)
        cohort.advance(20)
        recorder = Recorder(data, unit.spec.loss, METRICS, 200, features=False)
        exact, sampled = (recorder.record(cohort, lambda: None, exact=which) for which in (True, False))
    for found, own in ((exact, X), (sampled, X[fixed])):
        expected = [dead_shares(w, own, (5, 6, 4, 1), "tanh") for w in cohort.parameters()]
        assert np.stack([found[name] for name in DEAD[:2]], axis=1).tolist() == expected
    assert (exact[DEAD[0]] < sampled[DEAD[0]]).any()


def test_units_whose_sums_are_no_numbers_are_not_counted(tmp_path):
    X, y = rows()
    X[3] = 1e200  # whose sums overflow once weights are large
    problem = {"loss": "logistic", "network": {"hidden": [6, 4], "activation": "relu"}, "init": {"normal": 1e150}}
    results = seen(tmp_path, problem, data=(X, y), optimizer={"name": "momentum", "lr": EIGHT}, epochs=1)
    assert results.curves[DEAD[:2]].isna().all(axis=None)


# --- what the results hold --------------------------------------------------------------------------------------------


def test_a_trial_has_the_same_bits_alone_and_among_trials_that_end(tmp_path):
    optimizer = {"name": "momentum", "lr": [0.03, 1e9, 1e12, 0.1, 1e10, 1e11, 0.3, 1e13]}
    problem = {"loss": "squared", "network": PROBLEM["network"]}
    whole = seen(tmp_path / "whole", problem, optimizer=optimizer)
    assert (whole.trials["status"] == "diverged").sum() == 5
    assert_same(seen(tmp_path / "threads", problem, optimizer=optimizer, threads=1), whole)
    trial = whole.trials.set_index("lr")["trial_id"][0.3]
    alone = seen(tmp_path / "alone", problem, optimizer=optimizer, trial=trial)
    ours, theirs = (each.curves[each.curves["trial_id"] == trial].reset_index() for each in (alone, whole))
    columns = [*NORMS, *UPDATES, *DEAD]
    assert ours[columns].equals(theirs[columns])


def test_linear_models_and_baselines_have_what_they_can_have(tmp_path):
    search = {"name": "random_search", "low": -100.0, "high": 100.0}
    problems = [{"name": "linear", "loss": "logistic"}, PROBLEM | {"name": "network", "l2": 0.0}]
    both = [{"name": "momentum", "lr": EIGHT}, search]
    results = seen(tmp_path, problems, optimizer=both, epochs=2)
    curves = results.curves.merge(results.trials[["trial_id", "problem", "optimizer"]], on="trial_id")
    linear = curves[curves["problem"] == "linear"]
    assert linear[[*NORMS, *UPDATES, *DEAD]].isna().all(axis=None)
    guesses = curves[(curves["problem"] == "network") & (curves["optimizer"] == "random_search")]
    assert guesses[UPDATES].isna().all(axis=None), "a baseline takes no steps"
    last = guesses.iloc[-1]
    w = results.parameters(last["trial_id"])
    assert last[DEAD[:2]].tolist() == dead_shares(w, rows()[0], (5, 6, 4, 1), "tanh")
    assert guesses[NORMS[:3]].notna().all(axis=None)


def test_what_is_watched_is_counted():
    problem, plans = PROBLEM | {"network": {"hidden": [300]}}, {}
    for name, metric in (("none", "nonzeros"), ("updates", "layer_update_ratio"), ("dead", "dead_units")):
        plans[name], _ = unit_of(rows(), problem=problem, record={"metrics": [metric]})
    parameters = (5 * 300 + 300 + 300 + 1) * 8
    assert of_cohort(plans["updates"]) - of_cohort(plans["none"]) >= 8 * parameters
    costs = {name: cost_of(unit, Pace.of(1)).evaluation for name, unit in plans.items()}
    assert costs["none"] < min(costs["updates"], costs["dead"])
    assert plans["dead"].method != plans["none"].method == plans["updates"].method, "one kernel more is compiled"


@pytest.mark.parametrize("stop", [4, 5, 10, 14])
def test_a_run_that_is_cut_short_goes_on_with_the_same_bits(tmp_path, monkeypatch, stop):
    """Also where it was saved just before a checkpoint, whose last step nobody can watch again."""
    problem = DEEP | {"l2": 0.0}
    changes = {"optimizer": {"name": "momentum", "lr": EIGHT}, "epochs": 4, "record": {"metrics": METRICS}}
    whole = seen(tmp_path / "whole", problem, **changes)
    check = Clock.check

    def over(self, step, alive):
        check(self, step, alive)
        if step == stop:
            raise TimeIsOver

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "check", over)
        cut = seen(tmp_path / "parts", problem, **changes)
    assert set(cut.trials["status"]) == {"timeout"}
    assert cut.trials["reason"].str.contains("was over; the gradient vanished").any() == (stop > 10), (
        "at the third look"
    )
    last = cut.curves[cut.curves["step"] == stop]
    assert len(last) == 8
    assert last[UPDATES].notna().all(axis=None) == (stop % 5 == 0), "of a step that is the last before a checkpoint"
    assert_same(seen(tmp_path / "parts", problem, **changes), whole)
    assert whole.trials["reason"].str.contains("vanished").any()


# --- reasons ----------------------------------------------------------------------------------------------------------


def test_a_gradient_that_vanishes_is_told(tmp_path):
    optimizer = {"name": "momentum", "lr": EIGHT}
    results = seen(tmp_path, DEEP, optimizer=optimizer, epochs=8)
    assert set(results.trials["status"]) == {"completed"}
    reasons = results.trials.set_index("trial_id")["reason"]
    told = 0
    for trial, curve in results.curves.groupby("trial_id"):
        low = (curve.sort_values("step")[NORMS[0]] < VANISHED * curve[NORMS[3]]).to_numpy()
        steps = np.sort(curve["step"].to_numpy())
        spans = [at for at in range(len(low) - 2) if low[at : at + FEWEST_VANISHED].all()]
        assert ("in layer 1 " in reasons[trial] or "in layers 1 " in reasons[trial]) == bool(spans)
        if spans:
            end = spans[0] + int(np.argmin(np.append(low[spans[0] :], False))) - 1
            span = f"from step {steps[spans[0]]} to step {steps[end]}"
            assert f"the gradient vanished: its norm was under 1e-07 of the last layer's, in layer 1 {span}" in (
                reasons[trial].replace("layers 1 and 2", "layer 1")
            )
            told += 1
    assert 0 < told < 8


def test_a_gradient_that_explodes_is_told_with_what_else_is(tmp_path):
    optimizer = {"name": "momentum", "lr": [0.1, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]}
    problem = {"loss": "squared", "network": {"hidden": [6, 4], "activation": "relu"}}
    results = seen(tmp_path, problem, optimizer=optimizer)
    trials = results.trials.set_index("lr")
    assert trials.loc[0.1, "reason"] == ""
    text = trials.loc[1e9, "reason"]
    assert text.startswith("the objective ")
    assert "; the gradient exploded: at step 5 its norm was " in text
    curve = results.curves[results.curves["trial_id"] == trials.loc[1e9, "trial_id"]].sort_values("step")
    largest = curve[NORMS[:3]].iloc[0].max()
    assert f"(at the start {largest:.3g} at most)" in text
    norms = curve[NORMS[:3]].iloc[1].to_numpy()
    for layer in np.flatnonzero(~np.isfinite(norms) | (norms > EXPLODED * largest)) + 1:
        assert f"{layer}" in text.partition("exploded")[2]


def test_without_the_metric_nothing_is_told(tmp_path):
    results = seen(tmp_path, DEEP, optimizer={"name": "momentum", "lr": EIGHT}, epochs=8, record={})
    assert set(results.trials["reason"]) == {""}


class Watched:
    """Norms of two lanes with three layers, given a checkpoint at a time."""

    def __init__(self):
        self.gradients, self.step = LayerGradients(2, 3), 0

    def see(self, *norms, times=1):
        for _ in range(times):
            metrics = dict(zip(NORMS, np.array([norms, (1.0, 1.0, 1.0)]).T, strict=False))
            self.gradients.observe(np.arange(2), self.step, metrics)
            self.step += 10

    @property
    def words(self):
        assert self.gradients.words(1) == [], "what is told of a lane is its own"
        return "; ".join(self.gradients.words(0))


VANISHES = (1e-9, 1.0, 1.0)


def test_the_first_span_that_is_long_enough_is_told():
    watched = Watched()
    watched.see(*VANISHES, times=FEWEST_VANISHED - 1)
    watched.see(1.0, 1.0, 1.0)
    assert watched.words == ""
    watched.see(*VANISHES, times=FEWEST_VANISHED)
    restored = Watched()
    restored.gradients.restore(watched.gradients.state())
    restored.step = watched.step
    for each in (watched, restored):
        each.see(*VANISHES)
        each.see(1.0, 1.0, 1.0)
        each.see(0.0, 0.0, 1.0, times=5)
        assert each.words == (
            "the gradient vanished: its norm was under 1e-07 of the last layer's, "
            "in layer 1 from step 30 to step 60 and in layer 2 from step 80 to step 120"
        )


def test_what_is_no_vanishing_gradient():
    watched = Watched()
    for norms in ((0.0, 0.0, 0.0), (1e-7, 1.0, 1.0), (1.0, 1.0, 1e-30), (np.nan, 1.0, 1.0)):
        watched.see(*norms, times=FEWEST_VANISHED)
    assert "vanished" not in watched.words
    watched.see(1.0, 1.0, np.inf, times=FEWEST_VANISHED)
    assert "vanished" not in watched.words


def test_the_first_layers_that_explode_are_told():
    watched = Watched()
    watched.see(0.0, 0.0, 0.0)
    watched.see(1e-9, 0.5, 2.0)
    watched.see(1.9e7, 1e7, 2e7)
    assert watched.words == "", "a small gradient may grow to what others were"
    watched.see(np.nan, 2.5e9, np.nan)
    watched.see(np.inf, np.inf, np.inf)
    assert watched.words == (
        "the gradient exploded: at step 30 its norm was nan in layers 1 and 3 and 2.5e+09 in layer 2 "
        "(at the start 2 at most)"
    )


def test_every_part_of_a_cohorts_memory_is_saved(tmp_path):
    unit, data = unit_of(rows())
    with Threads(1) as threads:
        work = CohortRun(unit, data, None, Clock(), threads)
    state = work.own_state()
    assert {name.partition(".")[0] for name in state} >= {"gradients", "updates"}
    assert all(len(values) == unit.lanes for values in state.values()), "lanes may be cut off"


# --- what is refused --------------------------------------------------------------------------------------------------

LINEAR, SOFTMAX = ({"problem": {"loss": loss}} for loss in ("logistic", "softmax"))
GUESSES = {"name": "random_search", "low": -1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *((LINEAR | {"record": {"metrics": [name]}}, f"no problem has '{name}'") for name in METRICS),
        (SOFTMAX | {"record": {"metrics": ["dead_units"]}}, "no problem has 'dead_units', which is of hidden layers"),
        (
            {"problem": PROBLEM, "optimizer": GUESSES, "record": {"metrics": ["layer_update_ratio"]}},
            "no optimizer of the study has 'layer_update_ratio', which is of steps: random_search",
        ),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        study_of(**changes)


def test_landscapes_have_no_layers():
    problem, sgd = {"landscape": "rosenbrock"}, {"name": "sgd", "lr": 0.1}
    with pytest.raises(InputError, match=r"record.metrics.*'dead_units'"):
        fastgd.Study(name="valley", problem=problem, optimizer=sgd, steps=9, record={"metrics": ["dead_units"]})
