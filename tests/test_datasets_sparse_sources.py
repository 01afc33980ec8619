"""Sparse data from files, from the bundled flights and made by Zipf's law, and the study's keys for them."""

import bz2
import gzip
import lzma
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_tables import TABLES, is_canonical

from fastgd.common.errors import InputError
from fastgd.datasets import DATASETS, Source, from_arrays, load, prepare
from fastgd.runs.data.loading import load_data
from fastgd.study import config

# --- .svm files


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(path, **keys):
    return load(Source(path=str(path), **keys))


def refusal(path, **keys):
    with pytest.raises(InputError) as caught:
        read(path, **keys)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "zero_based", "row"),
    [
        ("1 1:5 3:6\n", "auto", [5, 0, 6]),
        ("1 1:5 3:6\n", False, [5, 0, 6]),
        ("1 1:5 3:6\n", True, [0, 5, 0, 6]),
        ("1 0:5 2:6\n", "auto", [5, 0, 6]),
        ("1 0:5 2:6\n", True, [5, 0, 6]),
        ("1 2:5 4:0\n", True, [0, 0, 5, 0, 0]),  # a zero that is written down makes a column, and no non-zero
    ],
)
def test_svm_files_count_from_0_or_1(tmp_path, text, zero_based, row):
    X = read(write(tmp_path / "a.svm", text), zero_based=zero_based).X
    assert is_canonical(X)
    assert X.toarray().tolist() == [row]
    wider = read(tmp_path / "a.svm", zero_based=zero_based, n_features=9).X
    assert wider.toarray().tolist() == [row + [0] * (9 - len(row))]
    assert is_canonical(wider)


def test_svm_keys_that_will_not_do(tmp_path):
    path = write(tmp_path / "a.svm", "1 1:5\n0 3:6\n1 2:1\n")
    assert read(path, n_features=3).X.shape == (3, 3)
    assert refusal(path, n_features=2) == ": there is a column x2; n_features = 2 ends at x1"
    assert refusal(path, n_features=3, zero_based=True) == ": there is a column x3; n_features = 3 ends at x2"
    write(path, "1 1:5\n0 0:6\n1 2:1\n")
    assert refusal(path, zero_based=False).startswith(", line 2: Invalid index 0")
    assert read(write(path, "1\n0\n"), n_features=4).X.shape == (2, 4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(path="a.csv", zero_based=True), "a.csv: zero_based is for .svm and .libsvm files"),
        (Source(path="a.parquet", zero_based=False), "a.parquet: zero_based is for .svm and .libsvm files"),
        (Source(path="a.npz", n_features=3), "a.npz: n_features is for .svm and .libsvm, and for .parquet"),
        (Source(dataset="iris", n_features=3), "iris: n_features is for .svm and"),
        (Source(synthetic={"n": 3, "d": 2}, zero_based=True), "synthetic: zero_based is for .svm and .libsvm files"),
    ],
)
def test_keys_of_other_sources(source, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load(source)


def test_validation_files_end_earlier_or_are_turned(tmp_path):
    training = read(write(tmp_path / "train.svm", "1 1:1 2:2 5:3\n0 3:4\n"))
    shorter = read(write(tmp_path / "test.svm", "1 1:5 2:6\n"))
    data = prepare(training, targets="binary", validation=shorter)
    assert data.X_validation.toarray().tolist() == [[5, 6, 0, 0, 0]]
    assert is_canonical(data.X_validation)
    with pytest.raises(InputError, match=r"^train.svm: .* the 2 columns of test.svm: it has 5 and has 'x2' too many"):
        prepare(shorter, targets="binary", validation=training)
    # The columns of a table are matched by name.
    table = from_arrays(pd.DataFrame({"x1": [1.0], "x0": [2.0], "x2": [0.0]}), [1])
    turned = prepare(table, targets="binary", validation=shorter, layout="sparse").X_validation
    assert turned.toarray().tolist() == [[6, 5, 0]]
    assert is_canonical(turned)


ZERO, ONE = "1 0:1 1:2\n-1 0:2 1:1\n", "1 1:2\n-1 2:5\n"  # a column 0, and none
COUNTED = 'columns count from 1, as there is no column 0 (zero_based = "auto")'


@pytest.mark.parametrize(
    ("train", "test", "X", "held", "notes"),
    [
        (ZERO, "1 1:2\n", [[1, 2], [2, 1]], [[0, 2]], ()),
        (ONE, "1 0:3\n", [[0, 2, 0], [0, 0, 5]], [[3, 0, 0]], ()),
        (ONE, "1 1:3\n", [[2, 0], [0, 5]], [[3, 0]], (COUNTED,)),
        (ZERO, "1 0:3\n", [[1, 2], [2, 1]], [[3, 0]], ()),
        (ONE, "1 1:3 # 0:1\n", [[2, 0], [0, 5]], [[3, 0]], (COUNTED,)),
        (ONE, "1 1:3 10:0\n0 +00:7\n", [[0, 2, 0], [0, 0, 5]], None, ()),
    ],
)
def test_all_files_of_a_problem_count_alike(tmp_path, train, test, X, held, notes):
    paths = {"path": str(write(tmp_path / "train.svm", train)), "validation": str(write(tmp_path / "test.svm", test))}
    wanted = study(**paths)
    if held is None:
        wanted = study(**paths, n_features=11)
    (data,) = load_data(wanted, None, print)
    assert data.X.toarray()[:, : len(X[0])].tolist() == X
    assert held is None or data.X_validation.toarray().tolist() == held
    assert data.notes == notes
    (turned,) = load_data(study(path=paths["validation"], validation=paths["path"], n_features=11), None, print)
    assert turned.X_validation.toarray()[:, : len(X[0])].tolist() == X


def test_the_same_file_beside_another_one_is_other_data(tmp_path):
    train, zero = write(tmp_path / "train.svm", ONE), write(tmp_path / "zero.svm", "1 0:3\n")
    base = {"loss": "logistic", "path": str(train)}
    problems = [{**base, "name": "alone"}, {**base, "name": "beside", "validation": str(zero)}]
    two = config.Study(name="s", epochs=1, problem=problems, optimizer={"name": "sgd", "lr": 0.1})
    alone, beside = load_data(two, None, print)
    assert alone.X.toarray().tolist() == [[2, 0], [0, 5]]
    assert beside.X.toarray().tolist() == [[0, 2, 0], [0, 0, 5]]


def test_where_columns_count_from_moves_the_validation_loss(tmp_path):
    train, test = write(tmp_path / "train.svm", ZERO), write(tmp_path / "test.svm", "1 1:2\n")
    (data,) = load_data(study(path=str(train), validation=str(test)), None, print)
    margin = data.y_validation * (data.X_validation @ np.array([0.0, 1.0]))
    assert np.log1p(np.exp(-margin)) == pytest.approx(0.126928, abs=1e-6)


def test_a_wider_validation_file_says_which_n_features_would_do(tmp_path):
    train, test = write(tmp_path / "train.svm", "1 1:1\n0 3:4\n"), write(tmp_path / "test.svm", "1 5:5\n")
    keys = {"path": str(train), "validation": str(test)}
    for layout in ("auto", "dense"):
        with pytest.raises(InputError, match=r"it has 5 and has 'x3' too many; n_features = 5 would do for both$"):
            load_data(study(**keys, layout=layout), None, print)
    (data,) = load_data(study(**keys, n_features=5), None, print)
    assert data.X.shape[1] == data.X_validation.shape[1] == 5


@pytest.mark.parametrize("name", ["a9a", "a9a.t", "news20.binary.bz2", "a.svm.gz", "a.svm.xz", "a.LIBSVM.zst"])
def test_svm_files_of_any_name(tmp_path, name):
    text = b"\xef\xbb\xbf# made 0:1 by us\n\n1 qid:1 1:2 3:4 # 0:5\r\n   \n-1 qid:2 2:1\n"
    compress = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress}
    path = tmp_path / name
    if path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(text)
    else:
        path.write_bytes(compress.get(path.suffix, bytes)(text))
    if "svm" not in name.lower():
        assert f"unknown extension {path.suffix!r}; valid: .svm" in refusal(path)
        assert 'or say what it is: format = "csv" or "svm"' in refusal(path)
    dataset = read(path, format="svm")
    assert dataset.X.toarray().tolist() == [[2, 0, 4], [0, 1, 0]]
    assert dataset.y.tolist() == [1, -1]
    assert dataset.notes == (COUNTED,)


@pytest.mark.parametrize(
    ("line", "token"),
    [
        ("one 1:2", "one"),
        ("1,2 1:2", "1,2"),
        ("1 1:2 0.5", "0.5"),
        ("1 1:2 x:5 3:1", "x:5"),
        ("1 1:2 2:five", "2:five"),
        ("1 1:2 2:", "2:"),
        ("1 3:2 2:1", "2:1"),
        ("1 2:2 2:1", "2:1"),
        ("1 -3:2", "-3:2"),
        ("1 1:2 qid:3", "qid:3"),
        (f"1 1:1 {2**40}:1", f"{2**40}:1"),
    ],
)
def test_a_bad_token_is_named_with_its_line(tmp_path, line, token):
    path = write(tmp_path / "a.svm", f"1 1:2\n\n# a comment\n{line}\n1 oops\n")
    message = refusal(path)
    assert message.startswith(", line 4: ")
    assert message.endswith(f"; found {token!r}")


def test_rows_of_svm_files_are_named_by_their_lines(tmp_path):
    path = write(tmp_path / "a.svm", "1 1:2\n\n# a comment\n1 2:nan\n")
    assert refusal(path).startswith(": line 4, column 'x1': found nan")
    write(path, "1 1:2\n\n# a comment\n7 2:1\n")
    with pytest.raises(InputError, match=r"a.svm: line 4 has target 7 "):
        load_data(study(path=str(path)), None, print)


# --- Parquet of lists


def lists(indices, values, kind="list"):
    make = {"list": pa.list_, "large_list": pa.large_list}.get(kind, lambda item: pa.list_(item, 2))
    return {"indices": pa.array(indices, make(pa.int32())), "values": pa.array(values, make(pa.float64()))}


def parquet(path, columns, **keys):
    pq.write_table(pa.table(columns), path, **keys)
    return path


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
def test_parquet_lists(tmp_path, kind):
    columns = lists([[3, 1], [0, 1], [2, 2]], [[5, 6], [7, 0], [8, 9]], kind)
    path = parquet(tmp_path / "a.parquet", {"y": ["no", "yes", "no"], **columns})
    dataset = read(path, target="y")
    assert is_canonical(dataset.X, np.float64)
    assert dataset.X.toarray().tolist() == [[0, 6, 0, 5], [7, 0, 0, 0], [0, 0, 17, 0]]
    assert dataset.y.tolist() == ["no", "yes", "no"]
    assert dataset.features == ("x0", "x1", "x2", "x3")
    assert read(path, target="y", n_features=6).X.shape == (3, 6)
    assert refusal(path, target="y", n_features=3) == ": there is a column x3; n_features = 3 ends at x2"


@settings(max_examples=25, deadline=None)
@given(table=TABLES, row_group=st.integers(1, 4))
def test_parquet_lists_of_any_table(tmp_path_factory, table, row_group):
    X = sp.csr_array(table)
    path = tmp_path_factory.mktemp("lists") / "a.parquet"
    columns = {
        "indices": [X.indices[a:b].tolist() for a, b in zip(X.indptr, X.indptr[1:], strict=False)],
        "values": [X.data[a:b].tolist() for a, b in zip(X.indptr, X.indptr[1:], strict=False)],
    }
    y = np.arange(len(table)) % 2.0
    parquet(path, {**lists(**columns), "y": y}, row_group_size=row_group)
    dataset = read(path, target="y", n_features=table.shape[1])
    np.testing.assert_array_equal(dataset.X.toarray(), table)
    assert dataset.fingerprint == from_arrays(X, y).fingerprint


def test_parquet_lists_from_pandas(tmp_path):
    frame = pd.DataFrame({"indices": [[0], [], [1, 2]], "values": [[1.0], [], [2.0, 3.0]], "y": [0, 1, 0]}, [5, 7, 9])
    frame.to_parquet(tmp_path / "a.parquet")  # its index is a column of the file
    assert read(tmp_path / "a.parquet", target="y").X.toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 2, 3]]
    single = pa.array([[1.5], [], [2.5]], pa.list_(pa.float32()))
    parquet(tmp_path / "a.parquet", {"indices": [[0], [], [1]], "values": single, "y": [0, 1, 0]})
    assert is_canonical(read(tmp_path / "a.parquet", target="y").X, np.float32)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lists([[0], [1, 2]], [[1.0], [2.0]]), ": row 2 has 2 indices and 1 values"),
        (lists([[0], [4, -3]], [[1], [2, 3]]), ": row 2, column 'indices': found -3; an index is at least 0"),
        (lists([[0], None], [[1], []]), ": row 2, column 'indices': there is no list"),
        (lists([[0], []], [None, []]), ": row 1, column 'values': there is no list"),
        (lists([[0], [1, None]], [[1], [2, 3]]), ": row 2, column 'indices': a value is missing"),
        (lists([[], [1, 0]], [[], [2, None]]), ": row 2, column 'values': a value is missing"),
        (lists([[], [1, 0]], [[], [2, np.nan]]), ": row 2, column 'x0': found nan; every feature must be a finite"),
        (lists([[2**31 - 1], []], [[1], []]), ": X has 2,147,483,648 columns; sparse data have at most 2,147,483,647"),
        (lists([[], []], [[], []]), ": X must have rows and columns, (n, d); found shape (2, 0)"),
        ({"indices": [[0.5], []], "values": [[1.0], []]}, ": column 'indices' must hold lists of integers; found list"),
        ({"indices": [[0], []], "values": [["a"], []]}, ": column 'values' must hold lists of numbers; found list"),
        ({"a": [[0], []], "values": [[1.0], []]}, ": the columns a, values hold lists; sparse rows are two columns"),
        ({"a": [1, 2], **lists([[0], []], [[1], []])}, ": a table of lists has no column 'a': its features are in the"),
    ],
)
def test_parquet_lists_that_will_not_do(tmp_path, columns, message):
    path = parquet(tmp_path / "a.parquet", {**columns, "y": [0, 1]})
    assert refusal(path, target="y").startswith(message)


def test_parquet_targets_beside_lists(tmp_path):
    path = parquet(tmp_path / "a.parquet", {**lists([[0], [1]], [[1], [1]]), "late": [0, 1]})
    assert refusal(path) == ": which column is the target? target = 'late', for example"
    assert refusal(path, target="lat").startswith(": there is no column 'lat'; did you mean 'late'")
    assert refusal(path, target="values").startswith(": there is no column 'values'")
    parquet(path, lists([[0], [1]], [[1], [1]]))
    assert refusal(path, target="late") == ": lists alone; there is no column for the target"
    parquet(path, {**lists([], []), "late": pa.array([], pa.int64())})
    assert refusal(path, target="late") == ": columns, but no rows"
    parquet(path, {"a": [1, 2], "late": [0, 1]})
    assert refusal(path, target="late", n_features=3).startswith(": n_features = 3 is for a table of lists")


# --- flights_sparse


def test_flights_sparse_is_the_flights_in_categories():
    flights, sparse = load(Source(dataset="flights")), load(Source(dataset="flights_sparse", target="late"))
    assert is_canonical(sparse.X, np.float64)
    assert sparse.X.shape == (327_346, DATASETS["flights_sparse"].columns)
    np.testing.assert_array_equal(sparse.y, flights.y)
    assert sparse.notes == flights.notes
    assert (sparse.X.data == 1).all()
    assert (np.diff(sparse.X.indptr) == 7).all()  # each arrival has a tail number
    # The columns of one category, in order, and what flights has of the same groups.
    names = np.array(sparse.features)
    category = np.array([name.partition("=")[0] for name in sparse.features])
    assert list(dict.fromkeys(category)) == ["month", "day", "hour", "carrier", "origin", "dest", "tailnum"]
    for name in ("month", "day", "hour"):
        numbers = [int(feature.partition("=")[2]) for feature in names[category == name]]
        assert numbers == sorted(numbers)
    for name in ("carrier", "origin", "dest", "tailnum"):
        assert names[category == name].tolist() == sorted(names[category == name])
    dense = dict(zip(flights.features, flights.X.T, strict=True))
    columns = sparse.X.tocsc()
    for name in ("carrier=WN", "origin=JFK", "dest=ATL"):
        found = columns[:, [sparse.features.index(name)]].toarray()[:, 0]
        np.testing.assert_array_equal(found, dense[name.replace("=", "_")])
    counts = np.diff(columns.indptr)
    assert counts.min() > 0
    assert dict(zip(sparse.features, counts, strict=True))["tailnum=N711MQ"] == 462


def test_flights_sparse_by_the_file():
    from importlib.resources import files

    frame = pd.read_parquet(files("fastgd") / "data" / "flights.parquet")
    rows = frame[frame.arr_delay.notna()].assign(hour=frame.sched_dep_time // 100)
    dataset = load(Source(dataset="flights_sparse"))
    counts = dict(zip(dataset.features, np.bincount(dataset.X.indices), strict=True))
    expected = {
        f"{name}={group}": count
        for name in ("month", "day", "hour", "carrier", "origin", "dest", "tailnum")
        for group, count in rows[name].value_counts().items()
        if count
    }
    assert counts == expected


# --- the study's keys


def study(**problem):
    return config.Study(
        name="s", epochs=1, problem={"loss": "logistic", **problem}, optimizer={"name": "sgd", "lr": 0.1}
    )


def test_a_study_has_the_keys_of_its_files():
    problem = study(path="a.svm", zero_based=True, n_features=10).problem[0]
    assert (problem.zero_based, problem.n_features) == (True, 10)
    assert (study(path="a.svm").problem[0].zero_based, study(path="a.svm").problem[0].n_features) == ("auto", None)
    assert study(path="a.parquet", n_features=10).problem[0].n_features == 10
    for written in (study(path="a.LIBSVM", zero_based=False, n_features=3), study(synthetic={"n": 9, "d": 3})):
        text = written.to_toml()
        assert "exponent" not in text
    sparse = study(synthetic={"n": 9, "d": 3, "nonzeros": 2})
    assert sparse.problem[0].synthetic["exponent"] == 1.0
    assert "condition" not in sparse.to_toml()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"path": "a.svm", "zero_based": "yes"}, "problem.zero_based must be true or false or 'auto', found 'yes'"),
        ({"path": "a.svm", "zero_based": 1}, "problem.zero_based must be true or false or 'auto', found 1"),
        ({"path": "a.svm", "n_features": 0}, "problem.n_features must be at least 1, found 0"),
        ({"path": "a.svm", "n_features": 2**31}, "problem.n_features must be at most 2147483647, found 2147483648"),
        ({"path": "a.csv", "zero_based": True}, "problem.zero_based is for .svm and .libsvm files, found true"),
        ({"zero_based": False}, "problem.zero_based is for .svm and .libsvm files, found false"),
        (
            {"dataset": "iris", "n_features": 3},
            "problem.n_features is for .svm and .libsvm, and for .parquet and .arrow (of",
        ),
        ({"synthetic": {"n": 9, "d": 3, "exponent": 1.0}}, "problem.synthetic: exponent is for sparse features"),
    ],
)
def test_keys_that_a_study_refuses(problem, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        study(**problem)


def test_a_study_loads_its_sparse_files(tmp_path):
    train = write(tmp_path / "train.svm", "1 1:1 2:2\n-1 3:4\n")
    test = write(tmp_path / "test.svm", "1 1:7\n")
    keys = {"path": str(train), "zero_based": True, "n_features": 6, "validation": str(test)}
    events = []
    (data,) = load_data(study(**keys), None, events.append)
    assert data.X.toarray().tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 4, 0, 0]]
    assert data.X_validation.toarray().tolist() == [[0, 7, 0, 0, 0, 0]]
    (data,) = load_data(study(layout="dense", **keys), None, events.append)
    assert data.X.tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 4, 0, 0]]
    (data,) = load_data(study(layout="sparse"), (np.eye(2), [0, 1]), events.append)
    assert data.X.toarray().tolist() == np.eye(2).tolist()


def test_dense_data_do_not_import_scipy_and_no_data_numba():
    script = (
        "import sys, numpy as np; from fastgd.datasets import Source, from_arrays, load, prepare;"
        "prepare(from_arrays(np.eye(2), [0.0, 1.0]), targets='binary', standardize=True);"
        "assert 'scipy.sparse' not in sys.modules;"
        "prepare(load(Source(synthetic={'n': 9, 'd': 3, 'nonzeros': 2})), targets='binary', validation=0.5);"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
