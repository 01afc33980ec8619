"""Ordinary studies of few kernels, with all the numbers that a study may have: what is extreme replaces one of them."""

RATES = [0.01, 0.1]
STARTS = {"points": [[0.0, 0.0], [1.0, 1.0], [-1.5, 0.5], [1.9, -1.9]]}


def over_rows(loss, *optimizers, data="rows.csv", **more):
    """A study over the rows beside it; `problem` may be among what is more."""
    problem = {"loss": loss, "path": data, "target": "y", "l2": [0.0, 0.001], "intercept": True, "validation": 0.25}
    problem |= {"split_seed": 0} | more.pop("problem", {})
    if data.endswith(".svm"):
        del problem["target"]
    fields = {"epochs": 4, "batch_size": 8, "seed": 0, "init": {"normal": 0.5}, "stop": {"diverge": 1000.0}}
    return fields | {"problem": problem, "optimizer": list(optimizers)} | more


def on(landscape, *optimizers, **more):
    """A study on a landscape; `problem` may be among what is more."""
    problem = {"landscape": landscape, "tolerance": 1e-6} | more.pop("problem", {})
    fields = {"steps": 100, "starts": STARTS, "stop": {"diverge": 1000.0}, "record": {"trajectories": 4}}
    return fields | {"problem": problem, "optimizer": list(optimizers)} | more


SGD = {"name": "sgd", "lr": RATES, "weight_decay": [0.0, 0.01]}
MOMENTUM = {"name": "momentum", "lr": RATES, "momentum": [0.5, 0.9], "dampening": 0.1, "weight_decay": 0.01}
ADAM = {"name": "adam", "lr": RATES, "beta1": [0.9, 0.5], "beta2": 0.99, "eps": [1e-8, 1e-3]}
ADAGRAD = {"name": "adagrad", "lr": RATES, "lr_decay": 0.01, "initial_accumulator_value": [0.0, 0.1], "eps": 1e-10}
SEARCH = {"name": "random_search", "low": [-1.0, -2.0], "high": 2.0}

TEMPLATES = {
    "logistic": over_rows("logistic", SGD, MOMENTUM, record={"metrics": ["accuracy", "grad_norm"]}),
    "float32": over_rows("logistic", SGD, ADAM, dtype="float32", init={"point": [0.1, -0.1, 0.2, 0.3]}),
    "squared": over_rows(
        "squared", SGD, ADAGRAD, record={"metrics": ["r2", "validation_r2", "effective_lr"], "parameters": "best"},
        stop={"target": 1e-3, "diverge": 1000.0, "patience": 2},
    ),
    "poisson": over_rows("poisson", SGD, {"name": "dog", "lr": [1.0, 0.5], "init_step": [1e-6, 1e-3], "eps": 1e-8}),
    "clip": over_rows("squared", ADAM | {"clip": {"norm": [0.1, 1.0]}}, SGD | {"clip": {"value": [0.1, 1.0]}}),
    "averages": over_rows(
        "squared",
        SGD | {"averaging": {"decay": [0.9, 0.99], "start": 2}, "lookahead": {"every": 2, "alpha": [0.5, 1.0]}},
    ),
    "proximal": over_rows(
        "squared", SGD | {"proximal": {"l1": [0.0, 0.1], "l2": [0.0, 0.1]}}, problem={"standardize": True},
        record={"metrics": ["composite_loss", "nonzeros"], "parameters": "all", "rows": 10, "every": {"log": 5}},
    ),
    "svrg": over_rows("logistic", SGD | {"estimator": ["svrg", "saga"]}),
    "searches": over_rows(
        "squared",
        {"name": "sgd", "lr": [1.0, 0.5], "line_search": {"kind": "best", "rates": [0.01, 0.1, 1.0]}},
        {"name": "sgd", "lr": [1.0, 0.5],
         "line_search": {"kind": "armijo", "shrink": [0.8, 0.5], "slope": 1e-4, "grow": 1.5, "backtracks": 30}},
        {"name": "sgd", "lr": [1.0, 0.5], "line_search": {"kind": "exact", "doublings": 40}},
        batch_size="full",
    ),
    "guesses": over_rows(
        "logistic", SEARCH, {"name": "grid", "low": -1.0, "high": 1.0},
        batch_size="full", surface={"low": [-1.0, -2.0], "high": 2.0, "num": 7, "at": [0.1, 0.2, 0.3, 0.4]},
        epochs=30,
    ),
    "sparse": over_rows("logistic", SGD, ADAM, MOMENTUM, data="rows.svm", record={"metrics": ["effective_lr"]}),
    "sparse32": over_rows("squared", ADAM, SGD, data="rows.svm", dtype="float32", problem={"sparse": "masked"}),
    "himmelblau": on("himmelblau", SGD, MOMENTUM, ADAM, record={"trajectories": 4, "metrics": ["grad_norm"]}),
    "rosenbrock": on("rosenbrock", ADAM, MOMENTUM, problem={"b": 100.0}, dtype="float32"),
    "saddle": on("saddle", SGD | {"clip": {"norm": [0.1, 1.0]}}, problem={"noise": 0.1}, seed=[0, 1],
                 starts={"normal": 5, "center": [0.0, 0.1], "scale": 1.0, "seed": 0}),
    "rastrigin": on("rastrigin", ADAM, problem={"amplitude": 10.0, "domain": [[-5.0, 5.0], [-4.0, 4.0]]},
                    starts={"uniform": 6, "low": [-3.0, -4.0], "high": 4.0, "seed": 1}),
    "ravine": on("ravine", SGD, SEARCH, problem={"condition": 50.0},
                 starts={"grid": 4, "low": -1.0, "high": [1.0, 2.0]},
                 surface={"low": [-1.0, -2.0], "high": 2.0, "num": 30, "at": [0.5, 0.5]}),
    "walls": on(
        "himmelblau",
        {"name": "sgd", "lr": [1.0, 0.5], "line_search": {"kind": "armijo", "shrink": 0.8, "slope": 1e-4, "grow": 1.5}},
        {"name": "sgd", "lr": [1.0, 0.5], "line_search": {"kind": "exact", "doublings": 40}},
        {"name": "sgd", "lr": [1.0, 0.5], "line_search": {"kind": "best", "rates": [0.01, 0.1, 1.0]}},
    ),
    "online": on("adam_counterexample", ADAM, problem={"C": 3.0}),
    "ackley": on("ackley", ADAM | {"averaging": {"decay": [0.9, 0.99], "start": 2}},
                 problem={"a": 20.0, "b": 0.2, "c": 6.0}, starts={"sobol": 6, "seed": 0}),
    "bumps": on("bumpy_bowl", SGD, problem={"bowl": 0.2, "depth": 2.0, "pothole": 0.5, "width": 0.4}),
    "cliff": on("plateau_cliff", SGD, problem={"height": 10.0, "steepness": 20.0, "slope": 0.05}),
    "neuron": on("toy_neuron", SGD, problem={"x": [0.5, 2.5], "y": [0.2, 0.9]}),
}  # fmt: skip

SCHEDULES = [
    {"name": "constant", "value": 0.5},
    {"name": "linear", "start": 1.0, "final": 0.1},
    {"name": "polynomial", "power": 2.0, "final": 0.1, "start": 1.0},
    {"name": "exponential", "final": 0.01, "start": 1.0},
    {"name": "exponential", "gamma": 0.9},
    {"name": "exponential", "k": 0.1},
    {"name": "step", "every": 2, "factor": 0.5},
    {"name": "multistep", "milestones": [1, 3], "factor": 0.1},
    {"name": "piecewise", "at": [0, 2, 3], "values": [1.0, 0.5, 0.1], "form": "linear"},
    {"name": "inverse_time", "k": 0.5},
    {"name": "inverse_sqrt", "timescale": 100.0},
    {"name": "invscaling", "power": 0.25},
    {"name": "optimal", "alpha": 0.1, "t0": 10.0},
    {"name": "pegasos", "alpha": 0.1},
    {"name": "cosine", "final": 0.01, "start": 1.0, "dips": 2},
    {"name": "cosine_restarts", "period": 2.0, "growth": 2.0, "final": 0.1},
    {"name": "cyclic", "up": 3.0, "down": 2.0, "start": 0.25, "peak": 1.0, "mode": "exp_range", "gamma": 0.99},
    {"name": "one_cycle", "start": 0.04, "peak": 1.0, "final": 1e-4, "rise": 0.3},
    {"name": "warmup", "start": 0.1, "length": 2, "then": {"name": "cosine", "final": 0.1}},
]
