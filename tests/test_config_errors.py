"""Each mistake in a study file is one clear message: the file, the key, what was found, and what would be valid."""

import re

import numpy as np
import pytest

import fastgd
from fastgd.common.errors import InputError, nearest
from fastgd.study.config import Study

STUDY = """
name = "small"
epochs = 3
seed = [0, 1]
batch_size = 64
dtype = "float64"

[problem]
loss = "logistic"
dataset = "flights"
validation = 0.1

[[optimizer]]
name = "momentum"
lr = { log = [1e-4, 1e1], num = 5 }

[[schedule]]
name = "cosine"

[stop]
diverge = 1e3

[record]
metrics = ["loss"]
"""

GRID = "lr = { log = [1e-4, 1e1], num = 5 }"

# what stands in the file, what stands there instead, the key path, the rest of the message
MISTAKES = [
    # the study
    ('name = "small"', "", "name", "is missing"),
    ('name = "small"', "name = 3", "name", "must be a string, found 3"),
    ('name = "small"', 'name = "a/b"', "name", "must be letters, digits, spaces and any of _ . + - = @ (it names"),
    ('name = "small"', 'name = "../up"', "name", "must be letters"),
    ('name = "small"', 'name = ""', "name", "must be letters"),
    ("epochs = 3", "epoch = 3", "epoch", "is not a known key; did you mean 'epochs'?"),
    ("epochs = 3", "frobnicate = 3", "frobnicate", "is not a known key; valid: batch_size, dtype, epochs, init,"),
    ("epochs = 3", "", "", "epochs or steps: one of the two is missing"),
    ("epochs = 3", "epochs = 3\nsteps = 9", "", "epochs or steps: give one of the two"),
    ("epochs = 3", "epochs = 0", "epochs", "must be at least 1, found 0"),
    ("epochs = 3", "epochs = 2.5", "epochs", "must be a whole number, found 2.5"),
    ('metrics = ["loss"]', 'trajectories = "all"', "record.trajectories", "goes with landscapes, found 'all'"),
    (
        'name = "cosine"',
        'name = "cosine"\nthen = { name = "constant" }',
        "schedule.0.length",
        "is missing: after how many indices 'then' begins; without it 'cosine' never ends",
    ),
    ("epochs = 3", "epochs = true", "epochs", "must be a whole number, found true"),
    ("epochs = 3", "epochs = 'ten'", "epochs", "must be a whole number, found 'ten'"),
    ("epochs = 3", "steps = 1e3", "steps", "must be a whole number, found 1000.0"),
    ("epochs = 3", f"steps = {10**30}", "steps", "must be a whole number of at most 64 bits, found one of 100"),
    ("seed = [0, 1]", "seed = [0, -1]", "seed.1", "must be at least 0, found -1"),
    ("seed = [0, 1]", "seed = -1", "seed", "must be at least 0, found -1"),
    ("seed = [0, 1]", "seed = [0, 1, 0]", "seed.2", "stands twice in the list, found 0"),
    ("seed = [0, 1]", "seed = []", "seed", "is an empty list; give at least one value"),
    ("seed = [0, 1]", "seed = [[0]]", "seed.0", "must be a whole number, found [0]"),
    ("seed = [0, 1]", "seed = { linear = [0, 2], num = 3 }", "seed", "must be a whole number, found 0.0"),
    ("batch_size = 64", "batch_size = 0", "batch_size", "must be a whole number of at least 1, or 'full', found 0"),
    ("batch_size = 64", "batch_size = 'Full'", "batch_size", "must be a whole number of at least 1, or 'full'"),
    ("batch_size = 64", "batch_size = [64, true]", "batch_size.1", "must be a whole number of at least 1, or 'full'"),
    ("batch_size = 64", "batch_size = 64.0", "batch_size", "must be a whole number of at least 1, or 'full'"),
    ('dtype = "float64"', 'dtype = "float16"', "dtype", "must be 'float64' or 'float32', found 'float16'"),
    ('dtype = "float64"', 'order = "random"', "order", "must be 'shuffle', 'blocks' or 'sequential', found 'random'"),
    (
        'dtype = "float64"',
        'init = "ones"',
        "init",
        "must be 'zeros', { normal = s } with s > 0, or { point = [ ... ] }, found 'ones'",
    ),
    ('dtype = "float64"', "init = { normal = -1 }", "init", "must be 'zeros', { normal = s } with s > 0, or { point"),
    ('dtype = "float64"', "max_seconds = 0", "max_seconds", "must be greater than 0, found 0"),
    ('dtype = "float64"', "max_seconds = nan", "max_seconds", "must be a finite number, found nan"),
    # what is drawn
    ("epochs = 3", "epochs = 3\nsearch = { draws = 9 }", "search.draws", "needs a random axis, such as lr = { loguni"),
    ("epochs = 3", "epochs = 3\nsearch = { drawn = 9 }", "search.drawn", "is not a known key; did you mean 'draws'?"),
    ("epochs = 3", "epochs = 3\nsearch = { draws = 0 }", "search.draws", "must be at least 1, found 0"),
    (GRID, "lr = { loguniform = [1e-4, 1] }", "optimizer.0.lr", "has no number of draws: [search] draws = 200, for"),
    (GRID, "lr = { loguniform = [0, 1], num = 3 }", "optimizer.0.lr.loguniform", "must have both ends greater than 0"),
    (
        GRID,
        "lr = { uniform = [1, 1], num = 3 }",
        "optimizer.0.lr.uniform",
        "must be two numbers, [lo, hi] with lo < hi",
    ),
    (GRID, "lr = { uniform = [0, 1], num = 0 }", "optimizer.0.lr.num", "must be a whole number from 1 to 100,000"),
    (
        GRID,
        "lr = { log_uniform = [1, 2] }",
        "optimizer.0.lr.log_uniform",
        "is not a known key; did you mean 'loguniform'?",
    ),
    (GRID, "lr = { uniform = [0, 1], nmu = 3 }", "optimizer.0.lr.nmu", "is not a known key; did you mean 'num'?"),
    (GRID, "lr = { uniform = [0, 1], choice = [1] }", "optimizer.0.lr", "must be { loguniform = [lo, hi] }, { uniform"),
    (GRID, "lr = { choice = 0.1, num = 3 }", "optimizer.0.lr.choice", "must be a list of values, found 0.1"),
    (GRID, "lr = { choice = [0.1, 0.1], num = 3 }", "optimizer.0.lr", "stands twice in the list, found 0.1"),
    (GRID, f"{GRID}\nmomentum = {{ uniform = [0, 1.2], num = 3 }}", "optimizer.0.momentum", "must be less than 1"),
    (
        GRID,
        f"{GRID}\nlookahead.every = {{ uniform = [2.5, 9], num = 3 }}",
        "optimizer.0.lookahead.every",
        "must be a w",
    ),
    (
        'name = "cosine"',
        'name = "cosine"\nfinal = { uniform = [0, 0.1] }',
        "schedule.0.final",
        "cannot be drawn together",
    ),
    ("seed = [0, 1]", "seed = { choice = [0, 1] }", "seed.choice", "is not a known key; valid: linear, log, num"),
    # the problem
    ("[problem]", "[problems]", "problems", "is not a known key; did you mean 'problem'?"),
    ('loss = "logistic"', "", "problem.loss", "is missing"),
    ('loss = "logistic"', 'loss = "logistc"', "problem.loss", ": there is no loss 'logistc'; did you mean"),
    ('loss = "logistic"', 'loss = "log_loss"\nlosss = 1', "problem.losss", "is not a known key; did you mean 'loss'?"),
    (
        'dataset = "flights"',
        'dataset = "flight"',
        "problem.dataset",
        ": there is no dataset 'flight'; did you mean 'fli",
    ),
    (
        'dataset = "flights"',
        'dataset = "synthetic"',
        "problem.dataset",
        ": 'synthetic' is described by a key of its own",
    ),
    ('dataset = "flights"', 'dataset = "flights"\npath = "a.csv"', "problem", "has dataset and path; give one of them"),
    ('dataset = "flights"', "synthetic = { n = 9 }", "problem.synthetic.d", "is missing"),
    ('dataset = "flights"', "synthetic = { n = 0, d = 3 }", "problem.synthetic.n", "must be greater than 0, found 0"),
    (
        'dataset = "flights"',
        "synthetic = { n = 9, dd = 3 }",
        "problem.synthetic.dd",
        "is not a known key; did you mean 'd'?",
    ),
    ('dataset = "flights"', "synthetic = 9", "problem.synthetic", "must be a table, found 9"),
    ('dataset = "flights"', "synthetic = { n = 9, d = 3, noise = 0.9 }", "problem.synthetic", ": noise flips"),
    (
        'dataset = "flights"',
        'dataset = "flights"\ntarget = "delay"',
        "problem.target",
        ": the dataset 'flights' has the",
    ),
    ('dataset = "flights"', "l2 = -1", "problem.l2", "must be at least 0, found -1"),
    ('dataset = "flights"', "l2 = [0, 'x']", "problem.l2.1", "must be a number, found 'x'"),
    ('dataset = "flights"', "l2 = true", "problem.l2", "must be a number, found true"),
    ('dataset = "flights"', "intercept = 1", "problem.intercept", "must be true or false, found 1"),
    ('dataset = "flights"', "positive = [1]", "problem.positive", "must be one of the target's labels, found [1]"),
    ('dataset = "flights"', "layout = 'csr'", "problem.layout", "must be 'auto', 'dense' or 'sparse', found 'csr'"),
    ("validation = 0.1", "validation = 1", "problem.validation", "must be a fraction from 0 to below 1, the path"),
    (
        "validation = 0.1",
        "validation = -0.1",
        "problem.validation",
        "must be a fraction from 0 to below 1, the path",
    ),
    ("validation = 0.1", "split_seed = 1.0", "problem.split_seed", "must be a whole number, found 1.0"),
    ("validation = 0.1", "split_seed = 1", "problem.split_seed", "goes with validation as a fraction, found 1"),
    (
        "validation = 0.1",
        'split_seed = 1\nvalidation = "held_out.csv"',
        "problem.split_seed",
        "goes with validation as a fraction, found 1",
    ),
    # optimizers
    ('name = "momentum"', "", "optimizer.0.name", "is missing"),
    ('name = "momentum"', 'name = "momentun"', "optimizer.0.name", ": there is no optimizer 'momentun'; did you mean"),
    ('name = "momentum"', "name = 1", "optimizer.0.name", "must be a string, found 1"),
    (
        'name = "momentum"',
        'name = "no_such_module:Rule"',
        "optimizer.0.name",
        ": optimizer 'no_such_module:Rule': cannot import",
    ),
    (
        'name = "momentum"',
        'name = "momentum"\nmomentun = 0.9',
        "optimizer.0.momentun",
        "is not a known key; did you mean",
    ),
    (
        'name = "momentum"',
        'name = "momentum"\nbeta1 = 0.9',
        "optimizer.0.beta1",
        "is not a known key; valid: averaging, clip, dampening, estimator, form, li",
    ),
    ('name = "momentum"', 'name = "momentum"\nmomentum = 1', "optimizer.0.momentum", "must be less than 1, found 1"),
    (
        'name = "momentum"',
        'name = "momentum"\nmomentum = [0.5, -1]',
        "optimizer.0.momentum.1",
        "must be at least 0, fou",
    ),
    (
        'name = "momentum"',
        'name = "momentum"\nform = "mine"',
        "optimizer.0.form",
        "must be 'torch' or 'lecture', found",
    ),
    ('name = "momentum"', 'name = "adam"\neps_inside = 1', "optimizer.0.eps_inside", "must be false or true, found 1"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "", "optimizer.0.lr", "is missing"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = -0.1", "optimizer.0.lr", "must be greater than 0, found -0.1"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = [0.1, 0]", "optimizer.0.lr.1", "must be greater than 0, found 0"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = inf", "optimizer.0.lr", "must be a finite number, found inf"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = 'fast'", "optimizer.0.lr", "must be a number, found 'fast'"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", f"lr = {10**400}", "optimizer.0.lr", "must be a"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = [0.1, 0.2, 0.1]", "optimizer.0.lr.2", "stands twice in the list"),
    ("lr = { log = [1e-4, 1e1], num = 5 }", "lr = 2020-01-01", "optimizer.0.lr", "must be a number, found 2020-01-01"),
    ("log = [1e-4, 1e1], num = 5", "", "optimizer.0.lr", "must be { log = [lo, hi], num = k } or { linear = [lo, hi]"),
    ("log = [1e-4, 1e1], num = 5", "log = [1e-4, 1e1]", "optimizer.0.lr", "must be { log = [lo, hi], num = k } or"),
    ("num = 5", "linear = [0, 1], num = 5", "optimizer.0.lr", "must be { log = [lo, hi], num = k } or"),
    ("num = 5", "num = 5, base = 2", "optimizer.0.lr.base", "is not a known key; valid: linear, log, num"),
    ("num = 5", "nun = 5", "optimizer.0.lr.nun", "is not a known key; did you mean 'num'?"),
    ("num = 5", "num = 1", "optimizer.0.lr.num", "must be a whole number from 2 to 100,000, found 1"),
    ("num = 5", "num = 5.5", "optimizer.0.lr.num", "must be a whole number from 2 to 100,000, found 5.5"),
    ("log = [1e-4, 1e1]", "log = [0, 1]", "optimizer.0.lr.log", "must have both ends greater than 0 (a linear grid"),
    ("log = [1e-4, 1e1]", "log = [1]", "optimizer.0.lr.log", "must be two different numbers, [lo, hi], found [1]"),
    (
        "log = [1e-4, 1e1]",
        "log = [1, 1]",
        "optimizer.0.lr.log",
        "must be two different numbers, [lo, hi], found [1, 1]",
    ),
    ("log = [1e-4, 1e1]", "log = ['a', 1]", "optimizer.0.lr.log", "must be two different numbers, [lo, hi]"),
    ("log = [1e-4, 1e1]", "linear = [-1, 1]", "optimizer.0.lr", "must be greater than 0, found -1.0"),
    # schedules
    ('name = "cosine"', 'name = "cosin"', "schedule.0.name", ": there is no schedule 'cosin'; did you mean 'cosine'?"),
    (
        'name = "cosine"',
        'name = "cosine"\nend = 0.1',
        "schedule.0.end",
        "is not a known key; valid: also, dips, final, horizon",
    ),
    ('name = "cosine"', 'name = "cosine"\nfinal = -1', "schedule.0.final", "must be at least 0, found -1"),
    ('name = "cosine"', 'name = "step"', "schedule.0.every", "is missing"),
    ('name = "cosine"', 'name = "exponential"', "schedule.0", "needs exactly one of gamma, final, k; it has none"),
    (
        'name = "cosine"',
        'name = "exponential"\nk = 1\ngamma = 1',
        "schedule.0",
        "needs exactly one of gamma, final, k; it has g",
    ),
    ('name = "cosine"', 'name = "cosine"\nper = "batch"', "schedule.0.per", "must be 'epoch' or 'step', found 'batch'"),
    (
        'name = "cosine"',
        'name = "cosine"\nof = "beta1"',
        "schedule",
        "has of = 'beta1', which the optimizer 'momentum' do",
    ),
    (
        'name = "cosine"',
        'name = "cosine"\nof = "momentum"',
        "schedule",
        "'cosine' gives momentum the value 1 at index 0;",
    ),
    ("num = 5 }", "num = 5 }\nschedule = { name = 'step' }", "optimizer.0.schedule.every", "is missing"),
    ("num = 5 }", "num = 5 }\nschedule = 'step'", "optimizer.0.schedule", "must be a table, found 'step'"),
    (
        "num = 5 }",
        "num = 5 }\nschedule = { name = 'cosine', of = 'momentum' }",
        "optimizer.0.schedule",
        "'cosine' gives m",
    ),
    # stop and record
    ("[stop]", "[halt]", "halt", "is not a known key; valid: batch_size"),
    ("diverge = 1e3", "patience = 0", "stop.patience", "must be at least 1, found 0"),
    ("diverge = 1e3", "tolerance = 1e-3", "stop.tolerance", "goes with stop.patience, which is missing, found 0.001"),
    (
        "diverge = 1e3",
        "patience = 2\n[record]\nevery = 'end'",
        "stop.patience",
        "goes with losses on the way, and record.every = 'end' has none",
    ),
    ("diverge = 1e3", "tolerance = 1", "stop.tolerance", "must be less than 1, found 1"),
    (
        "diverge = 1e3",
        "watch = 'validation_loss'",
        "stop.watch",
        "goes with stop.patience, which is missing, found ",
    ),
    ("diverge = 1e3", "watch = 'best'", "stop.watch", "must be 'loss' or 'validation_loss', found 'best'"),
    ("diverge = 1e3", "diverge = 0", "stop.diverge", "must be greater than 0, found 0"),
    ("diverge = 1e3", "target = '0.3'", "stop.target", "must be a number, found '0.3'"),
    ('metrics = ["loss"]', 'metrics = ["los"]', "record.metrics.0", ": there is no metric 'los'; did you mean 'los"),
    ('metrics = ["loss"]', 'metrics = "loss"', "record.metrics", "must be a list, found 'loss'"),
    ('metrics = ["loss"]', 'metrics = ["r2"]', "record.metrics", ": no problem has 'r2', which needs a loss of squar"),
    (
        'metrics = ["loss"]',
        'every = "step"',
        "record.every",
        "must be 'epoch', 'end' or { log = k } with k from 2 to 1,000,000",
    ),
    (
        'metrics = ["loss"]',
        "every = { log = 1 }",
        "record.every",
        "must be 'epoch', 'end' or { log = k } with k from 2 to 1,000,000",
    ),
    ('metrics = ["loss"]', "every = { log = 10, of = 2 }", "record.every", "must be 'epoch', 'end' or { log = k }"),
    (
        'metrics = ["loss"]',
        'parameters = "last"',
        "record.parameters",
        "must be 'none', 'best', 'all' or ",
    ),
    (
        "validation = 0.1",
        "[record]\nmetrics = ['validation_accuracy']",
        "record.metrics",
        ": 'validation_accuracy' needs val",
    ),
]


@pytest.mark.parametrize(
    ("text", "instead", "key", "message"), MISTAKES, ids=[row[1] or f"no {row[0]}" for row in MISTAKES]
)
def test_a_mistake_is_one_clear_message(tmp_path, text, instead, key, message):
    assert text in STUDY
    path = tmp_path / "study.toml"
    body = STUDY.replace(text, instead, 1)
    path.write_text(body if instead.count("[record]") == 0 else body.rpartition("[record]")[0])
    with pytest.raises(InputError) as caught:
        Study.from_toml(path)
    assert str(caught.value).startswith(
        f"{path}: {key}{message}" if message.startswith(":") else f"{path}: {key} {message}".replace(":  ", ": ")
    )
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_wrong_key_is_named_at_once(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("epochs = 3", "epochs = 0").replace('"logistic"', '"logit"').replace("1e-4", "-1"))
    with pytest.raises(InputError) as caught:
        Study.from_toml(path)
    assert [line.split()[1] for line in str(caught.value).splitlines()] == [
        "epochs",
        "problem.loss:",
        "optimizer.0.lr.log",
    ]


def test_a_grid_of_wrong_values_is_one_line():
    with pytest.raises(InputError, match=r"^optimizer\.0\.lr must be greater than 0, found -1\.0$"):
        Study(
            name="s",
            epochs=1,
            problem={"loss": "squared"},
            optimizer=[{"name": "sgd", "lr": {"linear": [-1, 0], "num": 99}}],
        )


def test_many_mistakes_are_counted():
    keys = {f"l{i}": 1 for i in range(3)}
    with pytest.raises(InputError, match=r"\.\.\. and 4 more$"):
        Study(name="s", epochs=1, problem={"loss": "squared"}, optimizer=[{"name": "sgd", "lr": -1} | keys] * 12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "name is missing\nproblem is missing\noptimizer is missing"),
        ({"name": "s", "problem": [], "optimizer": []}, "problem is an empty list; give at least one"),
        ({"name": "s", "problem": 3, "optimizer": {}}, "problem must be a table, found 3"),
        ({"name": "s", "optimizer": {"name": "adam"}}, "optimizer.lr is missing"),
        ({"name": "s", "optimizer": [{"name": "adam", "lr": object}]}, "optimizer.0.lr must be a number, found <class"),
    ],
)
def test_python_face_names_keys_alone(fields, message):
    with pytest.raises(InputError) as caught:
        Study(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.0.lr", "--set optimizer.0.lr: write key.path=value, as in --set optimizer.0.lr=0.1"),
        ("=3", "--set =3: write key.path=value"),
        ("stop..target=3", "--set stop..target=3: write key.path=value"),
        ("optimizer.1.lr=3", "--set optimizer.1.lr=3: the study has optimizer.0, and no optimizer.1"),
        ("optimizer.lr=3", "--set optimizer.lr=3: the study has optimizer.0, and no optimizer.lr"),
        ("seed.2=3", "--set seed.2=3: the study has seed.0 to seed.1, and no seed.2"),
        ("epochs.first=3", "--set epochs.first=3: epochs is a value, it has no keys"),
        ("seed.0.x=3", "--set seed.0.x=3: seed.0 is a value, it has no keys"),
        ("seed=[1, 2", "--set seed=[1, 2: '[1, 2' is not a TOML value"),
        ("seed=", "--set seed=: '' is not a TOML value"),
        ("optimizer.0.lr=-1", "--set: optimizer.0.lr must be greater than 0, found -1"),
        ("optimizer.0.lr=fast", "--set: optimizer.0.lr must be a number, found 'fast'"),
        ("problem.los=hinge", "--set: problem.los is not a known key; did you mean 'loss'?"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, assignment, message):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    with pytest.raises(InputError) as caught:
        Study.from_toml(path, set=[assignment])
    assert str(caught.value).startswith(message)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: there is no such file$"):
        Study.from_toml(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r": cannot be read: Is a directory$"):
        Study.from_toml(tmp_path)
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"study\.toml: is not text in UTF-8"):
        Study.from_toml(path)
    path.write_text("epochs = = 3")
    with pytest.raises(InputError, match=r"study\.toml: is not valid TOML: .*line 1, column 10"):
        Study.from_toml(path)


DATA = {"name": "s", "epochs": 1, "problem": {"loss": "squared"}, "optimizer": {"name": "sgd", "lr": 1}}
LANDSCAPE = {"name": "s", "steps": 1, "problem": {"landscape": "himmelblau"}, "optimizer": {"name": "sgd", "lr": 1}}
EMPTY = [
    (DATA, "schedule", [], "schedule"),
    (DATA, "schedule", {"name": "warmup", "length": 2, "then": []}, "schedule.then"),
    (DATA, "schedule", {"name": "warmup", "length": []}, "schedule.length"),
    (DATA, "schedule", {"name": "cosine", "also": []}, "schedule.also"),
    (DATA, "schedule", {"name": "cosine", "final": []}, "schedule.final"),
    (DATA, "schedule", [{"name": "multistep", "milestones": []}], "schedule.0.milestones"),
    (DATA, "schedule", {"name": "multistep", "milestones": [[]]}, "schedule.milestones.0"),
    (DATA, "schedule", {"name": "piecewise", "at": [0], "values": [[1], []]}, "schedule.values.1"),
    (DATA, "seed", [], "seed"),
    (DATA, "batch_size", np.array([]), "batch_size"),
    (DATA, "problem", [], "problem"),
    (DATA, "problem", {"loss": "squared", "l2": []}, "problem.l2"),
    (DATA, "optimizer", [], "optimizer"),
    (DATA, "optimizer", {"name": "sgd", "lr": ()}, "optimizer.lr"),
    (DATA, "optimizer", {"name": "sgd", "lr": {"log": [], "num": 3}}, "optimizer.lr.log"),
    (DATA, "optimizer", {"name": "sgd", "lr": 1, "estimator": []}, "optimizer.estimator"),
    (DATA, "optimizer", {"name": "sgd", "lr": 1, "clip": []}, "optimizer.clip"),
    (DATA, "optimizer", {"name": "sgd", "lr": 1, "clip": {"norm": []}}, "optimizer.clip.norm"),
    (DATA, "optimizer", {"name": "sgd", "lr": 1, "line_search": []}, "optimizer.line_search"),
    (DATA, "optimizer", [{"name": "sgd", "lr": 1, "schedule": []}], "optimizer.0.schedule"),
    (DATA, "record", {"metrics": []}, "record.metrics"),
    (DATA, "init", {"point": []}, "init.point"),
    (DATA, "surface", {"parameters": []}, "surface.parameters"),
    (LANDSCAPE, "problem", {"landscape": "himmelblau", "minima": []}, "problem.minima"),
    (LANDSCAPE, "problem", {"landscape": "himmelblau", "minima": [[]]}, "problem.minima.0"),
    (LANDSCAPE, "problem", {"landscape": "himmelblau", "domain": []}, "problem.domain"),
    (LANDSCAPE, "starts", {"points": []}, "starts.points"),
    (LANDSCAPE, "starts", {"points": [[]]}, "starts.points.0"),
    (LANDSCAPE, "starts", {"grid": []}, "starts.grid"),
    (LANDSCAPE, "starts", {"uniform": 3, "low": []}, "starts.low"),
    (LANDSCAPE, "record", {"trajectories": []}, "record.trajectories"),
]


@pytest.mark.parametrize(("fields", "key", "value", "path"), EMPTY, ids=[row[-1] for row in EMPTY])
def test_every_empty_list_is_one_message(fields, key, value, path):
    with pytest.raises(InputError) as error:
        fastgd.Study(**{**fields, key: value})
    assert re.fullmatch(rf"{re.escape(path)} is an empty list; give at least one (table|value)", str(error.value))


@pytest.mark.parametrize("num", [0, 1, -3])
def test_a_grid_without_values_is_one_message(num):
    with pytest.raises(InputError, match=rf"optimizer\.lr\.num must be a whole number from 2 to 100,000, found {num}"):
        fastgd.Study(**{**DATA, "optimizer": {"name": "sgd", "lr": {"log": [1, 2], "num": num}}})


def test_what_is_watched_is_held_out():
    stop = {"patience": 1, "watch": "validation_loss"}
    with pytest.raises(InputError, match=r"^stop\.watch = 'validation_loss', and nothing is held out; set problem"):
        fastgd.Study(**DATA, stop=stop)
    held_out = {"loss": "squared", "validation": 0.2}
    with pytest.raises(InputError, match=r"nothing is held out; set problem\.1\.validation$"):
        fastgd.Study(**{**DATA, "problem": [{**held_out, "name": "a"}, {"loss": "squared", "name": "b"}]}, stop=stop)
    assert fastgd.Study(**{**DATA, "problem": held_out}, stop=stop).stop.watch == "validation_loss"


def test_a_message_does_not_list_all_trials():
    assert nearest("zebra", map(str, range(1000))).endswith(" and 940 more")
    assert nearest("zebra", ["one", "two"]) == "valid: one, two"


def test_four_arrays_are_too_many():
    study = fastgd.Study(name="a", epochs=1, problem={"loss": "squared"}, optimizer={"name": "sgd", "lr": 1})
    with pytest.raises(InputError, match=r"data must be \(X, y\), or \(X, y, weights\); found tuple of 4"):
        fastgd.run(study, data=([[1.0]], [1.0], [1.0], [1.0]))


def test_a_path_is_no_study():
    for use in (fastgd.run, fastgd.tune, fastgd.range_test):
        with pytest.raises(InputError, match=r"a fastgd\.Study is needed, found str: fastgd\.Study\.from_toml"):
            use("study.toml")
