"""What a study is said to cost: parts that add up, that grow with what grows, and that fit what is found on disk and in
memory. Seconds are compared with nothing: `python -m benchmarks.costs` does that.
"""

import io
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from cohorts import in_full
from landscape_studies import study as landscape_study
from rich.console import Console
from scipy.sparse import csr_array
from small_studies import Log, rows, run, study_of
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.datasets import from_arrays, prepare
from fastgd.engine import machine
from fastgd.engine.machine import Machine
from fastgd.optimizers import OPTIMIZERS, find
from fastgd.optimizers.rule import Rule
from fastgd.plan import notes
from fastgd.plan.budgets.race import after
from fastgd.plan.estimates import operations
from fastgd.plan.estimates.costs import Cost, Pace, cohort_cost, compiling, swarm_cost
from fastgd.plan.estimates.scaling import of_rows
from fastgd.plan.planner import make_plan
from fastgd.problems import LANDSCAPES, LOSSES
from fastgd.problems.activations import ACTIVATIONS
from fastgd.runs.reporting.display import Reporter
from fastgd.runs.reporting.events import Planned, Searching
from fastgd.search.rate_grid import RateGrid

N, D = 400, 6
SGD = {"name": "sgd", "lr": [0.1, 0.2, 0.3, 0.4, 0.5]}
PACE = Pace(Machine(100.0, 200.0, 20.0), 2)
# Every engine over data: changes of a study, and whether its rows are sparse.
ENGINES = {
    "tile": ({"optimizer": SGD}, False),
    "sums": ({"optimizer": {**SGD, "name": "lamb"}}, False),
    "single": ({"optimizer": {"name": "adam", "lr": 0.1}}, False),
    "large": ({"optimizer": SGD, "batch_size": "full", "epochs": 20}, False),
    "sweeps": ({"optimizer": SGD, "batch_size": 1}, False),
    "squares": ({"optimizer": SGD, "batch_size": "full", "epochs": 20, "problem": {"loss": "squared"}}, False),
    "squares of batches": ({"optimizer": SGD, "batch_size": 64, "problem": {"loss": "squared"}}, False),
    "svrg": ({"optimizer": {**SGD, "estimator": "svrg"}}, False),
    "saga": ({"optimizer": {**SGD, "estimator": "saga"}}, False),
    "search": (
        {"optimizer": {"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}, "batch_size": "full"},
        False,
    ),
    "baseline": ({"optimizer": {"name": "random_search", "low": -1.0, "high": 1.0}}, False),
    "sparse": ({"optimizer": SGD}, True),
    "coasting": ({"optimizer": {**SGD, "name": "adam"}}, True),
    "dense updates": ({"optimizer": {**SGD, "name": "lamb"}}, True),
    "sparse batch": ({"optimizer": SGD, "batch_size": "full"}, True),
}


def plan_of(n=N, d=D, sparse=False, validation=0.0, **changes):
    """The plan of a small study over so many rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5)
    problem = {"loss": "logistic", "intercept": True, "validation": validation}
    study = study_of(**{"epochs": 5, "problem": problem, **changes})
    dataset = from_arrays(csr_array(X) if sparse else X, (X[:, 0] > 0).astype(float))
    return make_plan(study, [prepare(dataset, targets="binary", dtype=study.dtype, validation=validation)])


def cost_of(pace=PACE, **changes):
    costs = [cohort_cost(cohort, pace) for cohort in plan_of(**changes).units]
    return sum(costs, Cost())


def swarm_cost_of(pace=PACE, **changes):
    study = landscape_study(**{"record": {"trajectories": 0}, **changes})
    return sum((swarm_cost(swarm, pace) for swarm in make_plan(study).units), Cost())


def test_costs_add_up():
    one, other = Cost(1.0, 2.0, 3.0, 100.0, 5.0), Cost(0.5, 0.25, 0.125, 10.0, 7.0)
    assert (one.seconds, (one + other).seconds) == (6.0, 6.875)
    assert (one + other).disk == 110
    assert (one + other).memory == 7, "one after the other"
    summary = plan_of(optimizer=SGD).summary()
    assert set(asdict(summary)["cost"]) == {"training", "evaluation", "storing", "disk", "memory"}
    assert json.loads(json.dumps(asdict(summary.cost)))
    assert min(asdict(summary.cost).values()) > 0
    assert summary.cost.memory > summary.bytes, "the process is counted too"


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_costs_more_with_more_work(engine):
    changes, sparse = ENGINES[engine]
    changes = {"sparse": sparse, "batch_size": 32, **changes}
    small, kind = cost_of(**changes), changes["optimizer"]
    assert all(value > 0 for value in asdict(small).values())
    longer = cost_of(**{**changes, "epochs": 2 * changes.get("epochs", 5)})
    assert longer.training > small.training
    assert longer.evaluation > small.evaluation
    assert longer.disk > small.disk
    more = cost_of(n=64 * N, **changes)
    assert more.training > small.training
    assert more.evaluation > small.evaluation
    assert cost_of(d=20 * D, **changes).training > small.training
    if isinstance(kind.get("lr"), list):
        many = cost_of(**{**changes, "optimizer": {**kind, "lr": np.geomspace(1e-3, 1, 200).tolist()}})
        assert many.training > small.training
        assert many.evaluation > small.evaluation
        assert many.memory > small.memory
    slower = cost_of(Pace(Machine(10.0, 20.0, 2.0), 2), **changes)
    assert slower.training > small.training
    assert slower.evaluation > small.evaluation
    alone = cost_of(Pace(Machine(50.0, 100.0, 10.0), 1), **changes)
    assert alone.training >= small.training, "half of the machine is not faster"


def test_the_features_that_a_sparse_batch_touches():
    (cohort,) = plan_of(sparse=True, optimizer=SGD, batch_size=1).units
    assert cohort.workload.touched == pytest.approx(cohort.entries), "those of a row"
    (cohort,) = plan_of(sparse=True, optimizer=SGD, batch_size=64).units
    assert D - 1 < cohort.workload.touched <= D


def test_what_is_recorded_costs():
    base = {"optimizer": SGD, "validation": 0.25, "n": 20_000}
    plain = cost_of(**base)
    for metrics in (["accuracy"], ["grad_norm"], ["validation_accuracy"]):
        found = cost_of(**base, record={"metrics": metrics})
        assert found.evaluation > plain.evaluation, metrics
        assert found.disk > plain.disk
        assert found.training == plain.training
    often = cost_of(**base, record={"every": {"log": 100}})
    assert often.evaluation > 5 * plain.evaluation
    assert often.storing > plain.storing
    fewer = cost_of(**base, record={"every": {"log": 100}, "rows": 500})
    assert fewer.evaluation < often.evaluation
    assert fewer.training == often.training
    assert cost_of(**base, record={"parameters": "all"}).disk > plain.disk
    feedback = cost_of(**base, record={"every": {"log": 2}}, schedule=[{"name": "plateau"}])
    assert feedback.evaluation > cost_of(**base, record={"every": {"log": 2}}).evaluation


RACE = {"search": {"halving": {"factor": 3, "start": 1}}, "epochs": 9, "n": 4_000, "validation": 0.25}


def test_a_race_costs_what_its_rounds_do():
    plan = plan_of(optimizer={**SGD, "lr": np.geomspace(1e-4, 1, 90).tolist()}, seed=[0, 1], **RACE)
    assert [(each.first, each.last) for each in plan.rounds] == [(0, 1), (1, 3), (3, 9)]
    assert [round(90 * each.share) for each in plan.rounds] == [90, 30, 10]
    units = list(plan.expected)
    assert [unit.lanes for unit in units] == [90, 30, 10] * 2
    assert sum(unit.steps for unit in units) == sum(unit.steps for unit in plan.units)
    checkpoints = np.concatenate([unit.checkpoints for unit in units])
    assert np.array_equal(checkpoints, np.concatenate([unit.checkpoints for unit in plan.units])), "each in one round"
    race, all_trials = plan.cost(), replace(plan, rounds=()).cost()
    assert 0.1 < race.training / all_trials.training < 0.8
    assert race.evaluation < all_trials.evaluation
    assert race.disk < all_trials.disk
    alone = plan.only(plan.table["trial_id"][0])
    assert alone.rounds == (), "a trial alone runs to its end"


def test_the_rounds_that_are_left_of_a_race():
    rounds = plan_of(optimizer=SGD, **RACE).rounds
    assert after(rounds, 1) == rounds
    (second, third) = after(rounds, 3)
    assert (second.first, second.share, third.last) == (1, 1.0, 9)
    assert third.share == pytest.approx(1 / 3)
    assert after(rounds, 10) == ()


def test_states_that_are_kept_cost():
    base = {"optimizer": {**SGD, "name": "adam"}, "d": 300}
    plain, kept = (cost_of(**base, record={"state": state}) for state in (False, True))
    size = 5 * 301 * 3 * 8  # lanes, parameters with the intercept, and the two slots of each
    assert kept.disk - plain.disk == size
    assert kept.storing > plain.storing
    assert kept.training == plain.training


def test_a_lane_costs_more_in_a_narrow_tile():
    def of_a_lane(lanes, **changes):
        rates = np.geomspace(1e-4, 1e-1, lanes).tolist()
        return (
            cost_of(Pace(PACE.machine, 1), n=64 * N, d=100, optimizer={**SGD, "lr": rates}, **changes).training / lanes
        )

    for changes in ({}, {"dtype": "float32"}):
        narrow, wide, wider = (of_a_lane(lanes, **changes) for lanes in (4, 16, 64))
        assert narrow > wide > wider, changes


def test_a_sweep_moves_parameters_while_it_computes():
    """Its rows are read as those of larger batches are; what a step moves beside them costs nothing more."""
    memory = {gbytes: Pace(Machine(100.0, 200.0, gbytes), 1) for gbytes in (20.0, np.inf)}

    def moving_a_row(b):
        given = {"optimizer": {**SGD, "name": "adam"}, "d": 200, "n": 72 * 20, "batch_size": b}
        (unit,) = plan_of(**given).units
        assert unit.spec.sweeps == (b <= 8)
        some, none = (cohort_cost(unit, pace).training for pace in memory.values())
        return some - none

    assert moving_a_row(9) > 1.5 * moving_a_row(8)
    lone = {"optimizer": {"name": "sgd", "lr": 0.1}, "d": 100, "n": 4_000}
    assert cost_of(**lone, batch_size=1).training < 3 * cost_of(**lone, batch_size=2).training, "a step is one call"


def test_what_prepares_a_step_costs_however_few_parameters_there_are():
    adam, plain = (cost_of(optimizer={**SGD, **each}, d=1, batch_size=1, n=4_000).training for each in (
        {"name": "adam"}, {"name": "adam", "bias_correction": False}
    ))  # fmt: skip
    assert adam > 1.3 * plain


def test_rows_that_stand_anywhere_in_memory_come_later():
    """A thread waits for rows that are visited in a random order, unless all of them are near."""

    def more_than_in_order(n, optimizer=SGD, **changes):
        (shuffled,) = plan_of(**{"n": 400, "d": 100, "optimizer": optimizer, "batch_size": 64, **changes}).units
        shuffled = of_rows(shuffled, n)
        in_order = replace(shuffled, spec=replace(shuffled.spec, order="sequential"))
        one, other = (cohort_cost(unit, PACE) for unit in (shuffled, in_order))
        assert one.evaluation == other.evaluation
        return one.training / other.training

    assert more_than_in_order(10_000) == 1
    assert 1 < more_than_in_order(40_000) < more_than_in_order(400_000) < 3
    assert more_than_in_order(400_000, batch_size="full", epochs=50) == 1, "of which there is no order"
    assert more_than_in_order(400_000, {"name": "sgd", "lr": 0.1}) > 1


def test_tiles_that_take_turns_read_rows_once():
    """On one thread four tiles cost less than four times one, which waits for each row itself."""
    alone = Pace(Machine(50.0, 100.0, 0.5), 1)  # of which memory is the limit

    def tiles(count):
        (unit,) = plan_of(optimizer={**SGD, "lr": np.geomspace(1e-4, 1, 64 * count).tolist()}, d=50).units
        return cohort_cost(unit, alone).training

    assert tiles(4) < 3 * tiles(1)


def test_what_goes_on_costs_what_is_left():
    (unit,) = plan_of(optimizer=SGD, epochs=10, n=4_000).units
    whole, rest = (cohort_cost(each, PACE) for each in (unit, replace(unit, taken=unit.steps * 7 // 10)))
    assert rest.training == pytest.approx(0.3 * whole.training, rel=0.05)
    assert rest.evaluation == pytest.approx(whole.evaluation * 3 / 11, rel=0.05)
    assert rest.disk == whole.disk, "the rows before are stored with the others"
    done = cohort_cost(replace(unit, taken=unit.steps), PACE)
    assert done.evaluation == 0
    assert done.training < 0.1 * rest.training


def test_two_threads_that_share_a_batch_each_take_the_step():
    one, two, four = (Pace(Machine(50.0 * k, 100.0 * k, 10.0 * k), k) for k in (1, 2, 4))
    long = {"n": 64 * N, "d": 100, "optimizer": {**SGD, "name": "adam"}, "batch_size": 256}
    (unit,) = plan_of(**long).units
    assert unit.spec.kernel.halves
    alone, shared = (cost_of(pace, **long).training for pace in (one, two))
    assert alone / 2 < shared < alone
    assert cost_of(four, **long).training == pytest.approx(shared), "two share it, however many there are"


def test_both_limits_of_the_machine_count():
    slow_memory, slow_arithmetic = Pace(Machine(100.0, 200.0, 2.0), 2), Pace(Machine(10.0, 20.0, 20.0), 2)
    for engine, (changes, sparse) in ENGINES.items():
        given = {"sparse": sparse, "batch_size": 32, **changes}
        plain = cost_of(**given)
        assert cost_of(slow_memory, **given).computing > plain.computing, engine
        assert cost_of(slow_arithmetic, **given).computing > plain.computing, engine


def test_parameters_past_the_caches_cost_more():
    base = {"sparse": True, "optimizer": SGD, "batch_size": 1, "n": 50}
    (small,), (large,) = (plan_of(**base, d=d).units for d in (200, 40_000))
    entries = replace(small, d=large.d)  # as few entries of a row, among as many features as the large one has
    assert cohort_cost(entries, PACE).training > cohort_cost(small, PACE).training
    assert cohort_cost(entries, PACE).evaluation > cohort_cost(small, PACE).evaluation


def test_rows_in_files_and_hidden_units_cost():
    (unit,) = plan_of(optimizer=SGD).units
    for changes in ({"mapped": 48.0}, {"formed": 6.0}):
        more = cohort_cost(replace(unit, workload=replace(unit.workload, **changes)), PACE)
        assert more.training > cohort_cost(unit, PACE).training, changes
        assert more.evaluation > cohort_cost(unit, PACE).evaluation, changes
    networks = ({"hidden": [8], "activation": name} for name in ("relu", "tanh"))
    relu, tanh = (cost_of(optimizer=SGD, problem={"loss": "logistic", "network": each}) for each in networks)
    assert tanh.training > relu.training
    assert tanh.evaluation > relu.evaluation


def test_swarms_cost_more_with_more_work():
    small = swarm_cost_of()
    assert all(value > 0 for value in asdict(small).values())
    assert swarm_cost_of(steps=3_000).training > 5 * small.training
    more = swarm_cost_of(starts={"grid": 100})
    assert more.training > 5 * small.training
    assert more.disk > 5 * small.disk
    assert more.memory > small.memory
    assert swarm_cost_of(record={"every": "epoch", "trajectories": 0}).disk > 5 * small.disk
    assert swarm_cost_of(record={"trajectories": 2}).disk > swarm_cost_of(record={"trajectories": 0}).disk
    assert swarm_cost_of(problem={"landscape": "himmelblau", "noise": 0.1}).training > 2 * small.training
    assert swarm_cost_of(problem={"landscape": "ackley"}).training > 2 * small.training
    wide = {"problem": {"landscape": "rosenbrock", "dimension": 40}, "starts": {"uniform": 400}}
    assert swarm_cost_of(**wide).training > 10 * small.training


def test_error_surfaces_are_part_of_the_total():
    surface = {"low": -1, "high": 1, "num": 500}
    without, whole = plan_of(optimizer=SGD).cost(), plan_of(optimizer=SGD, surface=surface).cost()
    assert whole.evaluation > without.evaluation
    assert whole.disk - without.disk > 500 * 500
    small, large = (make_plan(landscape_study(surface={"num": num})).summary().cost.disk for num in (10, 1_000))
    assert large - small > 5e6


def test_one_trial_costs_less_than_all():
    plan = plan_of(optimizer=SGD, surface={"low": -1, "high": 1, "num": 500})
    one = plan.only(plan.table["trial_id"][0])
    assert one.cost().evaluation < plan.cost().evaluation
    assert one.surfaces == (), "a trial alone draws no surface"
    swarms = make_plan(landscape_study())
    name = swarms.table["trial_id"][0]
    assert swarms.only(f"{name}:3").cost().disk < swarms.cost().disk


# --- against what is found --------------------------------------------------------------------------------------------


def bytes_in(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("changes", [
    {"optimizer": SGD, "epochs": 200, "record": {"metrics": ["accuracy", "grad_norm"]}},
    {"optimizer": SGD, "epochs": 40, "seed": list(range(12)), "record": {"parameters": "all"}},
])  # fmt: skip
def test_disk_of_data(tmp_path, changes):
    log = Log()
    run(tmp_path / "r", log=log, **changes)
    (planned,) = log.of(Planned)
    assert 0.4 < planned.summary.cost.disk / bytes_in(tmp_path / "r") < 2.5


@pytest.mark.parametrize("changes", [
    {"starts": {"grid": 60}},
    in_full({"starts": {"uniform": 3_000}, "problem": {"landscape": "himmelblau", "noise": 1.0}}),
    {"starts": {"grid": 4}, "record": {"trajectories": "all"}, "steps": 1_000},
])  # fmt: skip
def test_disk_of_landscapes(tmp_path, changes):
    log = Log()
    fastgd.run(landscape_study(**changes), tmp_path / "r", on_event=log)
    (planned,) = log.of(Planned)
    assert 0.4 < planned.summary.cost.disk / bytes_in(tmp_path / "r") < 2.5


# --- in words ---------------------------------------------------------------------------------------------------------


def test_costs_in_words():
    text = Cost(35.0, 4.0, 1.0, 120e6, 300e6).in_words()
    assert text == "about 40 s (training 35 s, evaluation 4.0 s, storing 1.0 s), 120 MB on disk, 300 MB of memory"


LINE = (
    r"about [\d.]+ (ms|s|min)( \d+ s)? \(training .+, evaluation .+, storing .+\), [\d.]+ [kMG]B on disk, "
    r"[\d.]+ [MG]B of memory"
)


COMPILING = r"; compiling the kernels of \d of \d methods? comes on top, some [\d.]+ (ms|s)"


def test_the_plan_and_the_first_lines_of_a_run_say_it(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(landscape_study().to_toml())
    plan, _ = fastgd_cli("run", str(file), "--dry-run")
    assert re.search(f"^{LINE}({COMPILING})?$", plan, re.MULTILINE)
    slower, _ = fastgd_cli("run", str(file), "--dry-run", "--threads", "1")
    assert re.search(LINE, slower)
    written = io.StringIO()
    reporter = Reporter(Console(file=written, width=200))
    reporter(Planned(make_plan(landscape_study()).summary()))
    assert re.fullmatch(f"planned 1,200 trials in 2 cohorts: {LINE}({COMPILING})?\n", written.getvalue())


def test_kernels_that_are_not_in_the_cache_are_said_to_prolong_a_run(monkeypatch):
    plan = plan_of(optimizer=[SGD, {**SGD, "name": "momentum"}])
    new, _ = plan.methods
    monkeypatch.setattr("fastgd.plan.plan.is_compiled", lambda method: method != new)
    summary = plan.summary(1)
    assert (summary.to_compile, summary.methods) == (1, 2)
    assert summary.compiling > 0
    assert summary.takes.startswith(summary.cost.in_words())
    assert re.search("; compiling the kernels of 1 of 2 methods comes on top, some .* s$", summary.takes)
    monkeypatch.setattr("fastgd.plan.plan.is_compiled", lambda method: True)
    there = plan_of(optimizer=SGD).summary(1)
    assert (there.compiling, there.takes) == (0, there.cost.in_words())
    alone, shared = (compiling({"one": "dense", "other": "dense"}, threads) for threads in (1, 2))
    assert alone / 2 < shared < alone, "a second process compiles beside the run"
    assert alone < 2 * compiling({"one": "dense"}, 1), "methods share what walks their rows"


def test_a_search_says_what_all_of_its_rounds_cost(tmp_path):
    log = Log()
    study = study_of(epochs=20, optimizer={"name": "sgd", "lr": [1e-3, 10.0]})
    fastgd.tune(study, tmp_path / "t", data=rows(), on_event=log)
    (said,) = log.of(Searching)
    rounds = [event.summary.cost for event in log.of(Planned)]
    assert len(rounds) > 2
    assert 0.3 < said.cost.training / sum(cost.training for cost in rounds) < 3
    assert said.cost.memory == rounds[0].memory
    written = io.StringIO()
    Reporter(Console(file=written, width=200))(said)
    assert re.fullmatch(f"all rounds of the search: {LINE}\n", written.getvalue())


@pytest.mark.parametrize(
    "grid", [RateGrid(1e-4, 1.0), RateGrid(1e-3, 0.1), RateGrid(1e-5, 1.0, 5), RateGrid(1e-2, 1.0, 9, 1.05)]
)
def test_the_rates_of_a_search_are_foreseen(grid):
    searched, about = grid.foreseen()
    assert grid.points < searched < 10 * grid.points
    assert about == 5, "the best one is bracketed at once"


def test_a_note_where_evaluation_outweighs_training(monkeypatch):
    often = {"optimizer": SGD, "record": {"every": {"log": 50}}}
    assert not any("evaluation" in note for note in plan_of(**often).summary().notes), (
        "of a study of milliseconds it matters not"
    )
    monkeypatch.setattr(notes, "LEAST_NOTED_SECONDS", 0.0)
    assert any(
        "evaluation is expected to take" in note and "record.rows" in note for note in plan_of(**often).summary().notes
    )
    rare = {"optimizer": SGD, "epochs": 3_000, "record": {"every": {"log": 2}}}
    assert not any("evaluation" in note for note in plan_of(**rare).summary().notes)
    assert any("recording is expected to take" in note for note in make_plan(landscape_study()).summary().notes)


# --- what they are made of --------------------------------------------------------------------------------------------


def test_operations_are_counted():
    assert operations.of_rule(Rule.of(find("sgd"), {})) == {"simple": 4}
    adam = operations.of_rule(Rule.of(find("adam"), {}))
    assert (adam["root"], adam["division"], adam["function"]) == (1, 1, 0)
    clipped = operations.of_rule(Rule.of(find("sgd"), {}, {"clip": "norm"}))
    assert clipped["simple"] > 4
    assert operations.of_loss(LOSSES["squared"], derivative=True) == {"simple": 1}
    assert operations.of_loss(LOSSES["poisson"])["function"] == 1
    assert operations.of_activation(ACTIVATIONS["tanh"])["function"] == 1
    assert operations.of_activation(ACTIVATIONS["gelu"])["function"] == 1
    rosenbrock, levy = LANDSCAPES["rosenbrock"], LANDSCAPES["levy"]
    few, many = (operations.of_landscape(rosenbrock, rosenbrock.instance(), d)["simple"] for d in (10, 1_000))
    assert 80 < many / few < 120
    assert operations.of_landscape(levy, levy.instance(), 2)["function"] > 0


def test_operations_that_prepare_a_step():
    adam, sgd = Rule.of(find("adam"), {}), Rule.of(find("sgd"), {})
    assert operations.of_preparing(sgd, 1_000) == 0
    few, many = (operations.of_preparing(adam, t) for t in (10, 100_000))
    assert 10 < few < many < 100, "powers take squarings, more of them for later steps"
    broken = replace(find("adam"), cls=type("Broken", (find("adam").cls,), {"prepare": lambda h, t: [float(h.lr)]}))
    assert operations.of_preparing(Rule.of(broken, {}), 10) == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_rule_is_counted_and_not_guessed(name):
    rule = Rule.of(find(name), {})
    found = operations.of_rule(rule)
    assert found["simple"] > 0
    broken = replace(find(name), cls=type("Broken", (find(name).cls,), {"rule": lambda h, c, w, g, s: float(w)}))
    assert operations.of_rule(Rule.of(broken, {}))["simple"] == 6 + 4 * rule.slots, "what cannot be counted is guessed"


def test_limits_are_measured_once_for_a_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.the_cache, "CACHE", tmp_path)
    machine.limits.cache_clear()
    first = machine.limits(1)
    (file,) = tmp_path.iterdir()
    assert Machine(*json.loads(machine.the_cache.verified(file))) == first
    assert min(first) > 0
    machine.the_cache.write_verified(file, json.dumps([1.0, 2.0, 3.0]).encode())
    assert machine.limits(1) == first, "this process knows them"
    machine.limits.cache_clear()
    assert machine.limits(1) == (1.0, 2.0, 3.0)
    file.write_text("damaged")
    machine.limits.cache_clear()
    assert min(machine.limits(1)) > 0
    assert Machine(*json.loads(machine.the_cache.verified(file))) == machine.limits(1)
    machine.limits.cache_clear()


def test_rows_are_of_data():
    with pytest.raises(InputError, match=r"record\.rows goes with problems over data"):
        landscape_study(record={"rows": 10})
