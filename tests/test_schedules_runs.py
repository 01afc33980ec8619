"""Schedules through whole runs: what the kernels got, chains, several at once, and feedback by validation losses."""

import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import reference
from cohorts import spread
from small_studies import assert_same, rows, run, study_of

from fastgd.common.errors import InputError
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data
from fastgd.runs.units import schedule_values as study_schedule
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.schedules import SCHEDULES, chained, parts_of

EPOCHS, BATCHES = 6, 5
HELD_OUT = {"loss": "logistic", "intercept": True, "validation": 0.3}
FEEDBACK = [name for name, record in SCHEDULES.items() if record.feedback]
EVERY = {"epoch": "epoch", "log": {"log": 5}}
FIXED = [name for name in SCHEDULES if name not in FEEDBACK]


def block_of(name, **keys):
    """A block of a study file from a schedule's example."""
    record = SCHEDULES[name]
    return {"name": name, **{k: list(v) if isinstance(v, tuple) else v for k, v in record.example.items()}, **keys}


def curve(results, trial_id):
    return results.curves[results.curves["trial_id"] == trial_id].sort_values("step", ignore_index=True)


def trained(trial, hyper, optimizer="momentum", **options):
    X, y = rows()
    return reference.train(
        X, y, optimizer, hyper,
        **{"loss": "logistic", "batch_size": 32, "steps": int(trial["steps"]), "seed": 0, "intercept": True} | options,
    )  # fmt: skip


# --- values that are known in advance ---------------------------------------------------------------------------------


def test_every_schedule_gives_the_kernels_its_values(tmp_path):
    """One study has them all side by side; each trial's parameters are those of a loop in NumPy with its rates."""
    rate = 1e-2
    blocks = [block_of(name, of="lr") for name in FIXED]
    results = run(
        tmp_path / "r", epochs=EPOCHS, schedule=blocks, record={"parameters": "all"},
        optimizer={"name": "momentum", "lr": rate},
    )  # fmt: skip
    assert len(results.trials) == len(blocks)
    for block, (_, trial) in zip(results.study["schedule"], results.trials.iterrows(), strict=True):
        unit = 1 if block["per"] == "step" else BATCHES
        index = np.arange(EPOCHS * BATCHES) // unit
        rates = rate * chained(parts_of(block), "last", index, EPOCHS * BATCHES // unit)
        found = curve(results, trial["trial_id"])
        np.testing.assert_allclose(found["lr"], rates[np.maximum(found["step"] - 1, 0)], rtol=1e-13)
        iterates = trained(trial, lambda t, rates=rates: {"lr": rates[t - 1], "momentum": 0.9})
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-9)


def test_a_constant_gives_another_hyper_parameter_its_value(tmp_path):
    schedule = [{"name": "constant"}, {"name": "constant", "of": "momentum", "value": [0.0, 0.5]}]
    results = run(tmp_path / "r", schedule=schedule, record={"parameters": "all"})
    assert set(results.trials["schedule"]) == {"constant", "constant (of=momentum)"}
    for _, trial in results.trials.iterrows():
        momentum = 0.9 if np.isnan(trial["schedule.value"]) else trial["schedule.value"]
        iterates = trained(trial, lambda t, lr=trial["lr"], m=momentum: {"lr": lr, "momentum": m})
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-10)


def test_a_constant_of_what_cannot_be_one_is_an_error():
    with pytest.raises(InputError, match="'constant' gives momentum the value 1 at index 0; it must be less than 1"):
        run(None, schedule={"name": "constant", "of": "momentum"})


def test_rate_and_momentum_together(tmp_path):
    """One-cycle, both halves: what drives the rate and what drives the momentum belong to one trial."""
    momentum = {"name": "one_cycle", "of": "momentum", "start": 0.95, "peak": [0.5, 0.85], "final": 0.95}
    results = run(
        tmp_path / "r", epochs=EPOCHS, record={"parameters": "all"},
        schedule=[{"name": "one_cycle", "also": momentum}, {"name": "constant", "also": {"name": "sutskever"}}],
    )  # fmt: skip
    names = {"one_cycle + one_cycle (of=momentum)", "constant + sutskever"}
    assert set(results.trials["schedule"]) == names
    assert set(results.trials["schedule.also.peak"].dropna()) == {0.5, 0.85}
    total = EPOCHS * BATCHES
    t = np.arange(total)
    for _, trial in results.trials.iterrows():
        rates, momenta = np.full(total, trial["lr"]), np.full(total, 0.5)
        if trial["schedule"].startswith("one_cycle"):
            up = 0.3 * total - 1

            def cycle(start, peak, final, up=up):
                rise = peak + (start - peak) * (1 + np.cos(np.pi * t / up)) / 2
                fall = final + (peak - final) * (1 + np.cos(np.pi * (t - up) / (total - 1 - up))) / 2
                return np.where(t < up, rise, fall)

            rates, momenta = trial["lr"] * cycle(1 / 25, 1, 4e-6), cycle(0.95, trial["schedule.also.peak"], 0.95)
        iterates = trained(trial, lambda t, r=rates, m=momenta: {"lr": r[t - 1], "momentum": m[t - 1]})
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-9)


def test_a_chain_in_a_study(tmp_path):
    chain = {"name": "warmup", "length": [7, 12], "then": {"name": "linear", "length": 10, "final": 0.5, "then": {
        "name": "step", "every": 4, "start": 0.5}}}  # fmt: skip
    results = run(tmp_path / "r", epochs=EPOCHS, schedule=chain, record={"every": {"log": 20}})
    assert set(results.trials["schedule"]) == {"warmup > linear > step"}
    assert set(results.trials["schedule.then.then.every"]) == {4}
    for _, trial in results.trials.iterrows():
        w, found = int(trial["schedule.length"]), curve(results, trial["trial_id"])
        i = np.maximum(found["step"] - 1, 0).to_numpy()
        level = np.where(i < w + 10, 1 - 0.5 * (i - w) / 10, 0.5 * 0.5 ** ((i - w - 10) // 4))
        np.testing.assert_allclose(found["lr"] / trial["lr"], np.where(i < w, i / w, level), rtol=1e-12)


def test_values_for_whole_calls_are_cheap(monkeypatch):
    """A call computes each schedule once for all of its steps, and an epoch's index once for all steps of the epoch."""
    sizes = []

    def counted(parts, horizon, index, total):
        sizes.append(len(index))
        return chained(parts, horizon, index, total)

    study = study_of(schedule=[{"name": "cosine", "final": [0.1, 0.2]}, {"name": "wsd"}], batch_size=1)
    (cohort,) = make_plan(study, load_data(study, rows(), lambda event: None)).units
    values = ScheduleValues.of(cohort)
    monkeypatch.setattr(study_schedule, "chained", counted)
    assert values(0, 130).shape == (130, 1, 12)
    assert sizes == [1, 1, 130]


# --- feedback ---------------------------------------------------------------------------------------------------------

BLOCKS = {
    "plateau": {"name": "plateau", "patience": 1, "factor": 0.3, "threshold": 0.01},
    "halve_on_rise": {"name": "halve_on_rise"},
}
RATES = [0.01, 0.1, 0.3, 1.0, 3.0]
LONG = 20


def followed(path, block, **changes):
    """A study of many epochs with feedback, with validation data."""
    optimizer = {"name": "momentum", "lr": RATES}
    return run(path, problem=HELD_OUT, schedule=block, **{"optimizer": optimizer, "epochs": LONG} | changes)


PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"patience": 0, "cooldown": 3},
    {"patience": 1, "threshold": 0.01},
    {"patience": 1, "threshold": 0.002, "threshold_mode": "abs", "min": 0.05},
]


@pytest.mark.parametrize("keys", PLATEAUS)
def test_plateau_equals_torch_on_the_recorded_curve(tmp_path, keys):
    torch = pytest.importorskip("torch", reason="PyTorch is the witness of schedules: pip install fastgd[witnesses]")
    results = followed(tmp_path / "r", {"name": "plateau", **keys})
    drops = 0
    for _, trial in results.trials.iterrows():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=trial["lr"])
        own = {"min_lr" if key == "min" else key: value for key, value in keys.items()}
        own["min_lr"] = own.get("min_lr", 0.0) * trial["lr"]
        witness = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **own)
        found = curve(results, trial["trial_id"])
        rates = [trial["lr"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for loss in found["validation_loss"][1:]:
                rates.append(optimizer.param_groups[0]["lr"])
                witness.step(loss)
        np.testing.assert_allclose(found["lr"], rates, rtol=1e-12)
        drops += len(set(rates)) - 1
    assert drops > 2 or not keys


def test_halve_on_rise_follows_from_the_recorded_curve(tmp_path):
    results = followed(tmp_path / "r", [{"name": "halve_on_rise"}, {"name": "halve_on_rise", "factor": 0.9}])
    halved = 0
    for _, trial in results.trials.iterrows():
        found = curve(results, trial["trial_id"])
        factor, expected = 1.0, [1.0, 1.0]
        for before, loss in zip(found["validation_loss"][:-2], found["validation_loss"][1:-1], strict=True):
            factor *= trial["schedule.factor"] if loss > before else 1.0
            expected.append(factor)
        np.testing.assert_allclose(found["lr"] / trial["lr"], expected, rtol=1e-13)
        halved += expected[-1] < 1
    assert halved > 3


def test_the_kernels_get_what_the_curves_say(tmp_path):
    results = followed(tmp_path / "r", BLOCKS["halve_on_rise"], record={"parameters": "all"})
    X, y = rows()
    from fastgd.datasets import from_arrays, prepare

    data = prepare(from_arrays(X, y), targets="binary", validation=0.3, dtype="float64")
    for _, trial in results.trials[results.trials["lr"] < 0.5].iterrows():
        rates = curve(results, trial["trial_id"])["lr"].to_numpy()[1:]
        batches = -(-len(data.X) // 32)
        iterates = reference.train(
            data.X, data.y, "momentum", lambda t, r=rates, b=batches: {"lr": r[(t - 1) // b], "momentum": 0.9},
            loss="logistic", batch_size=32, steps=int(trial["steps"]), seed=0, intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-9)


@pytest.mark.parametrize("name", FEEDBACK)
def test_judged_at_epoch_ends_whatever_is_recorded(tmp_path, name):
    """Checkpoints elsewhere: the same parameters to the bit, no row more, and the rate that was in force."""
    keep = {"parameters": "all"}
    whole = followed(tmp_path / "a", BLOCKS[name], record=keep)
    sparse = followed(tmp_path / "b", BLOCKS[name], record=keep | {"every": {"log": 6}})
    for rate in RATES:
        ids = [r.trials.set_index("lr").loc[rate, "trial_id"] for r in (whole, sparse)]
        np.testing.assert_array_equal(*(r.parameters(t) for r, t in zip((whole, sparse), ids, strict=True)))
        every, few = (curve(r, t) for r, t in zip((whole, sparse), ids, strict=True))
        steps = np.unique(np.rint(np.geomspace(1, every["step"].iloc[-1], 6)).astype(int))
        assert few["step"].tolist() == [0, *steps]
        batches = every["step"].iloc[1]
        expected = every["lr"].to_numpy()[-(-few["step"] // batches)]
        np.testing.assert_array_equal(few["lr"], expected)


@pytest.mark.parametrize("name", FEEDBACK)
def test_a_budget_of_steps_may_end_inside_an_epoch(tmp_path, name):
    whole = followed(tmp_path / "a", BLOCKS[name])
    batches = int(curve(whole, whole.trials["trial_id"][0])["step"][1])
    cut = followed(tmp_path / "b", BLOCKS[name], epochs=None, steps=batches * 8 + 1)
    for rate in RATES:
        every, few = (curve(r, r.trials.set_index("lr").loc[rate, "trial_id"]) for r in (whole, cut))
        assert few["step"].iloc[-1] == batches * 8 + 1
        np.testing.assert_array_equal(few["lr"], every["lr"][: len(few)])
        np.testing.assert_array_equal(few["loss"][:-1], every["loss"][: len(few) - 1])


@pytest.mark.parametrize(
    ("name", "every"),
    spread(list(product(FEEDBACK, EVERY)), [*zip(FEEDBACK, EVERY, strict=True)]),
)
def test_a_trial_alone_or_resumed_has_the_same_bits(tmp_path, name, every):
    changes = {
        "record": {"every": EVERY[every], "parameters": "all"},
        "stop": {"diverge": 0.1, "target": 0.345},  # lanes leave in between
        "optimizer": {"name": "momentum", "lr": [*RATES, 30.0]},
    }
    blocks = [BLOCKS[name], {"name": "constant"}]
    whole = followed(tmp_path / "whole", blocks, **changes)
    assert whole.trials["status"].nunique() > 1
    for trial in whole.trials["trial_id"][::3]:
        alone = followed(tmp_path / "parts", blocks, **changes, trial=trial)
        for column in ("loss", "validation_loss", "lr", "param_norm"):
            np.testing.assert_array_equal(curve(alone, trial)[column], curve(whole, trial)[column])
        np.testing.assert_array_equal(alone.parameters(trial), whole.parameters(trial))
    resumed = followed(tmp_path / "parts", blocks, **changes, threads=1)  # what is left, without them
    assert_same(resumed, whole)


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_feedback_changes_no_other_trial(tmp_path, every):
    without = followed(tmp_path / "a", [{"name": "constant"}, {"name": "cosine"}], record={"every": every})
    blocks = [{"name": "constant"}, *BLOCKS.values(), {"name": "cosine"}]
    beside = followed(tmp_path / "b", blocks, record={"every": every})
    assert set(without.trials["trial_id"]) < set(beside.trials["trial_id"])
    for trial in without.trials["trial_id"]:
        found, expected = (curve(r, trial).drop(columns="train_seconds") for r in (beside, without))
        if without.trials["kernel"].iloc[0] == beside.trials["kernel"].iloc[0]:
            assert found.equals(expected)
        else:
            np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-10)


def test_feedback_within_a_chain(tmp_path):
    """After a warm-up it is judged from the first epoch that it took part in."""
    chain = {"name": "warmup", "length": 7, "then": {"name": "plateau", "patience": 0, "factor": 0.5}}
    results = followed(tmp_path / "r", chain)
    for _, trial in results.trials.iterrows():
        found = curve(results, trial["trial_id"])
        batches, factor, best = int(found["step"][1]), 1.0, np.inf
        for _, row in found.iloc[1:].iterrows():
            i = row["step"] - 1
            assert row["lr"] / trial["lr"] == pytest.approx(i / 7 if i < 7 else factor, rel=1e-12)
            if row["step"] > 7:
                factor, best = (factor, row["validation_loss"]) if row["validation_loss"] < best * (1 - 1e-4) else (
                    factor / 2, best)  # fmt: skip
        assert batches == 3
    assert factor < 1


@pytest.mark.parametrize("batch_size", [32, "full"])
def test_plateau_may_drive_the_momentum(tmp_path, batch_size):
    block = {"name": "plateau", "of": "momentum", "start": 0.9, "patience": 0, "factor": 0.5, "threshold": 0.05}
    results = followed(tmp_path / "r", block, batch_size=batch_size, record={"parameters": "all"}, epochs=8)
    from fastgd.datasets import from_arrays, prepare

    data = prepare(from_arrays(*rows()), targets="binary", validation=0.3, dtype="float64")
    for _, trial in results.trials[results.trials["lr"] < 0.5].iterrows():
        momenta, best = [0.9], np.inf
        for loss in curve(results, trial["trial_id"])["validation_loss"][1:]:
            better = loss < best * 0.95
            best = loss if better else best
            momenta.append(momenta[-1] * (1 if better else 0.5))
        size = len(data.X) if batch_size == "full" else 32
        batches = -(-len(data.X) // size)
        iterates = reference.train(
            data.X, data.y, "momentum",
            lambda t, lr=trial["lr"], m=momenta, b=batches: {"lr": lr, "momentum": m[(t - 1) // b]},
            loss="logistic", batch_size=size, steps=int(trial["steps"]), seed=0, intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-9)


def test_a_loss_that_is_not_a_number_is_neither_better_nor_risen():
    for name in FEEDBACK:
        rule = SCHEDULES[name].cls()
        state = rule.begin(2)
        for _ in range(3):
            state = rule.judge(state, np.array([1.0, np.nan]), np.array([np.nan, np.nan]))
        assert (state.value == 1).all()


# --- mistakes, through the command line -------------------------------------------------------------------------------

STUDY = """
name = "mistakes"
epochs = 5
batch_size = 64
[problem]
loss = "logistic"
dataset = "breast_cancer"
[[optimizer]]
name = "momentum"
lr = 0.1
[[schedule]]
"""
MISTAKES = [
    ('name = "plateau"', "schedule: 'plateau' judges the validation loss, and nothing is held out; "
     "set problem.validation"),
    ('name = "halve_on_rise"', "schedule: 'halve_on_rise' judges the validation loss"),
    ('name = "warmup"\nlength = 3\nthen = { name = "plateau" }', "schedule: 'plateau' judges the validation loss"),
    ('name = "plateau"\nper = "step"', "schedule.0.per must be 'epoch', found 'step'"),
    ('name = "plateau"\nthreshold_mode = "relative"', "schedule.0.threshold_mode must be 'rel' or 'abs'"),
    ('name = "plateau"\nfactor = 1.0', "schedule.0.factor must be less than 1, found 1.0"),
    ('name = "warmup"', "schedule.0.length is missing"),
    ('name = "warmup"\nlength = 2.5', "schedule.0.length must be a whole number, found 2.5"),
    ('name = "warmup"\nlenght = 2', "schedule.0.lenght is not a known key; did you mean 'length'?"),
    ('name = "warmup"\nlength = 2\nthen = "cosine"', "schedule.0.then must be a table, found 'cosine'"),
    ('name = "warmup"\nlength = 2\nthen = { name = "cosin" }', "schedule.0.then.name: there is no schedule 'cosin'; "
     "did you mean 'cosine'?"),
    ('name = "warmup"\nlength = 2\nthen = { name = "linear", finl = 0 }',
     "schedule.0.then.finl is not a known key; did you mean 'final'?"),
    ('name = "warmup"\nlength = 2\nthen = { name = "linear", of = "lr" }', "schedule.0.then.of is not a known key"),
    ('name = "step"\nevery = 2\nthen = { name = "step" }', "schedule.0.then.every is missing"),
    ('name = "cosine"\nalso = { name = "sutskever", of = "beta1" }',
     "schedule has of = 'beta1', which the optimizer 'momentum' does not have"),
    ('name = "cosine"\nalso = { name = "step", every = 2 }', "schedule drives 'lr' twice"),
    ('name = "multistep"\nmilestones = [3, 2]', "schedule.0: milestones must rise"),
    ('name = "multistep"\nmilestones = []', "schedule.0.milestones is an empty list"),
    ('name = "piecewise"\nat = [0, 1]\nvalues = [1]', "schedule.0: at and values must have the same length"),
    ('name = "wsd"\nwarmup = 0.9\ndecay = 0.3', "schedule.0: warmup and decay must add up to 1 at most"),
    ('name = "one_cycle"\nform = "sine"', "schedule.0.form must be 'cosine' or 'linear', found 'sine'"),
    ('name = "one_cycle"\nthree_phase = true\nrise = 0.6', "schedule.0: three_phase needs a rise of 0.5 at most"),
    ('name = "pegasos"', "schedule.0.alpha is missing"),
    ('name = "constant"\nof = "momentum"', "schedule 'constant' gives momentum the value 1 at index 0"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "message"), MISTAKES, ids=[block.replace("\n", ", ") for block, _ in MISTAKES])
def test_mistakes_are_named_before_anything_runs(tmp_path, block, message):
    file = tmp_path / "study.toml"
    file.write_text(STUDY + block)
    from typer.testing import CliRunner

    from fastgd.cli.app import app

    ended = CliRunner().invoke(app, ["run", str(file), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: {file}: {message}"), ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_fresh_process_says_so_too(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(STUDY + MISTAKES[0][0])
    command = [sys.executable, "-m", "fastgd", "run", str(file), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    assert ended.returncode == 2
    assert "plateau" in ended.stderr
    assert not (tmp_path / "out").exists()
