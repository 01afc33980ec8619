"""What may stand in the file of a study on landscapes: starts, users' functions, and what is wrong."""

import numpy as np
import pandas as pd
import pytest
from landscape_studies import study

import fastgd
from fastgd import InputError, Study
from fastgd.problems import find_landscape


@pytest.mark.parametrize(
    ("starts", "count"),
    [
        ({"normal": 50, "scale": 0.5}, 50),
        ({"sobol": 50}, 50),
        ({"uniform": 50, "low": 0, "high": [1, 2]}, 50),
        (None, 1),
    ],
)
def test_starts(starts, count):
    from fastgd.plan.starts import make_starts

    own = study(starts=starts) if starts else study(**{"starts": None})
    points = make_starts(own.starts, own.landscapes[0])
    assert points.shape == (count, 2)
    if starts is None:
        assert points[0].tolist() == find_landscape("himmelblau").start(2).tolist()
        return
    (kind,) = {"normal", "sobol", "uniform"} & set(starts)
    more = make_starts(study(starts={**starts, kind: 77}).starts, own.landscapes[0])
    assert np.array_equal(more[:count], points)
    if kind == "uniform":
        assert (points >= 0).all()
        assert (points <= [1, 2]).all()
        assert points[:, 1].max() > 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather", ".npy"])
def test_starts_from_a_file(tmp_path, suffix):
    from fastgd.plan.starts import make_starts

    points, path = np.array([[1.0, 2.0], [3.0, 4.5]]), tmp_path / f"starts{suffix}"
    frame = pd.DataFrame(points, columns=["a", "b"])
    write = {".csv": lambda: frame.to_csv(path, index=False), ".parquet": lambda: frame.to_parquet(path)}
    write |= {".feather": lambda: frame.to_feather(path), ".npy": lambda: np.save(path, points)}
    write[suffix]()
    own = study(starts={"path": str(path)})
    assert np.array_equal(make_starts(own.starts, own.landscapes[0]), points)
    wrong = study(starts={"path": str(path)}, problem={"landscape": "rosenbrock", "dimension": 3})
    with pytest.raises(InputError, match=r"must have 3 columns"):
        make_starts(wrong.starts, wrong.landscapes[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": {"landscape": "rosenbrok"}}, "problem.landscape: .*did you mean 'rosenbrock'"),
        ({"problem": {"landscape": "rosenbrock", "condition": 3}}, "problem.condition is not a known key"),
        ({"problem": {"landscape": "ravine", "condition": -1}}, "condition = -1"),
        ({"problem": {"landscape": "himmelblau", "dimension": 3}}, "problem.dimension must be at most 2"),
        ({"problem": {"landscape": "himmelblau", "domain": [1, 0]}}, r"problem.domain must be \[low, high\]"),
        ({"problem": {"landscape": "himmelblau", "minima": [[1.0]]}}, "problem.minima.0 must have 2 coordinates"),
        ({"epochs": 3}, "epochs goes with data"),
        ({"steps": None}, "steps is missing"),
        ({"batch_size": 3}, "batch_size goes with problems over data"),
        ({"seed": [0, 1]}, "nothing here is random"),
        ({"stop": {"target": 0.1}}, "stop.target goes with problems over data"),
        ({"record": {"metrics": ["accuracy"]}}, "landscapes have no 'accuracy'"),
        ({"record": {"trajectories": -1}}, "record.trajectories must be 'auto'"),
        ({"starts": {"grid": 3, "uniform": 3}}, "starts has grid and uniform; give one of them"),
        ({"starts": {"points": [[1.0]]}}, "starts.points.0 must have 2 coordinates"),
        ({"starts": {"grid": [3, 3, 3]}}, "starts.grid must be a number, or one for each of the 2 coordinates"),
        ({"starts": {"points": [[1.0, 1.0]], "low": 0}}, "starts.low goes with grid, uniform, sobol"),
        ({"starts": {"grid": 3, "scale": 2.0}}, "starts.scale goes with normal, found 2.0"),
        ({"schedule": {"name": "plateau"}}, "landscapes have none"),
        (
            {"problem": [{"landscape": "himmelblau"}, {"loss": "logistic", "dataset": "breast_cancer"}]},
            "studies of their own",
        ),
        ({"problem": {"loss": "logistic", "dataset": "breast_cancer"}}, "starts goes with landscapes"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        study(**changes)


def test_a_study_reads_its_own_text(tmp_path):
    own = study(problem={"landscape": "toy_neuron", "x": [0.5, 2.5, 1.0], "y": [0.2, 0.9, 0.4], "noise": 0.1})
    file = tmp_path / "study.toml"
    file.write_text(own.to_toml())
    assert Study.from_toml(file) == own


def test_more_trajectories_than_can_be_kept_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"record.trajectories would keep"):
        fastgd.run(study(starts={"grid": 1000}, record={"trajectories": "all"}), tmp_path / "none")
    assert not (tmp_path / "none").exists()


MODULE = '''
import numpy as np

def bowl(x):
    """A bowl with ripples."""
    return x[0] ** 2 + 2 * x[1] ** 2 + 0.1 * np.sin(5 * x[0])

def slope(x, g):
    g[0] = 2 * x[0] + 0.5 * np.cos(5 * x[0])
    g[1] = 4 * x[1]
'''


def test_a_users_function(tmp_path, monkeypatch):
    (tmp_path / "my_landscapes_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"steps": 50, "starts": {"uniform": 30}, "optimizer": [{"name": "momentum", "lr": 0.02}]}
    name = "my_landscapes_of_test:bowl"
    plain = fastgd.run(study(**fields, problem={"landscape": name}), tmp_path / "plain").trials
    given = {"landscape": name, "gradient": "my_landscapes_of_test:slope", "minima": [[-0.25, 0.0]]}
    exact = fastgd.run(study(**fields, problem=given), tmp_path / "exact").trials
    np.testing.assert_allclose(plain[["end_0", "end_1"]], exact[["end_0", "end_1"]], rtol=1e-7, atol=1e-9)
    assert plain["steps_to_tolerance"].isna().all()


def test_a_file_of_starts_without_names(tmp_path):
    from fastgd.plan.starts import make_starts

    (tmp_path / "starts.csv").write_text("1,1\n2,2\n3,3\n")
    own = study(starts={"path": str(tmp_path / "starts.csv")})
    assert make_starts(own.starts, own.landscapes[0]).tolist() == [[1, 1], [2, 2], [3, 3]]


TABLE = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})


@pytest.mark.parametrize(
    ("suffix", "write", "message"),
    [
        (".csv", lambda path: path.write_text("0,1\n2,2\n"), "the first line, 0,1, may be a point or names"),
        (".csv", lambda path: path.write_text("nan,1\n2,2\n"), "the first line, nan,1, may be a point or names"),
        (".csv", TABLE[["a"]].to_csv, "column 1 has no name, as the index has that pandas writes"),
        (".csv", lambda path: path.write_text("a,b\n1,2\n\n,4\n"), "line 4, column 'a': found nan"),
        (".csv", lambda path: path.write_text("a,a\n1,2\n"), "there are 2 columns 'a'"),
        (".parquet", TABLE.astype(str).to_parquet, "column 'a' is not numeric: row 1 holds '1.0'"),
        (".parquet", TABLE.astype("datetime64[s]").to_parquet, "column 'a' is not numeric: row 1 holds Timestamp"),
        (".npy", lambda path: np.save(path, np.array([[1, 2j]])), "X must hold real numbers; found complex128"),
        (".npy", lambda path: np.save(path, np.array([["1", "2"]])), "X must hold real numbers; found <U1"),
        (".npy", lambda path: np.save(path, np.zeros(2)), "X must have rows and columns"),
        (".txt", lambda path: path.write_text("1,2"), "must end in one of"),
    ],
)
def test_files_of_starts_that_will_not_do(tmp_path, suffix, write, message):
    from fastgd.plan.starts import make_starts

    path = tmp_path / f"starts{suffix}"
    write(path)
    own = study(starts={"path": str(path)})
    with pytest.raises(InputError) as caught:
        make_starts(own.starts, own.landscapes[0])
    assert str(caught.value).startswith(f"starts.path: {path}")
    assert message in str(caught.value)


def test_a_line_search_needs_a_line():
    optimizer = [{"name": "sgd", "line_search": {"kind": "armijo"}}]
    with pytest.raises(InputError, match=r"optimizer.0.line_search: does not go with 'adam_counterexample'"):
        study(problem={"landscape": "adam_counterexample"}, starts=None, optimizer=optimizer)


LAST = """
def last(x):
    return (x[0] - 1) ** 2 + 3 * (x[-1] - 2) ** 2
"""


@pytest.mark.full
def test_coordinates_may_be_counted_from_the_end(tmp_path, monkeypatch):
    (tmp_path / "last_of_test.py").write_text(LAST)
    monkeypatch.syspath_prepend(tmp_path)
    problem = {"landscape": "last_of_test:last", "dimension": 2}
    optimizer = [{"name": "sgd", "lr": 0.1}]
    trials = fastgd.run(study(problem=problem, starts={"uniform": 40}, optimizer=optimizer), tmp_path / "out").trials
    np.testing.assert_allclose(trials[["end_0", "end_1"]], np.tile([1.0, 2.0], (40, 1)), atol=1e-6)
