"""Files, each really written and read: what they hold, and what is said about what is wrong in them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import dump_svmlight_file

from fastgd.common.errors import InputError
from fastgd.datasets import Source, load

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def read(path, target=None):
    return load(Source(path=str(path), target=target))


def refusal(path, target=None):
    with pytest.raises(InputError) as caught:
        read(path, target)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 4)), elements=FINITE))
def test_a_csv_file_gives_back_every_bit(table, tmp_path):
    columns = [f"c{j}" for j in range(table.shape[1])]
    pd.DataFrame(table, columns=columns).to_csv(tmp_path / "a.csv", index=False)
    dataset = read(tmp_path / "a.csv", columns[-1])
    np.testing.assert_array_equal(dataset.X, table[:, :-1])
    np.testing.assert_array_equal(dataset.y, table[:, -1])


def test_the_same_rows_have_the_same_fingerprint_in_every_format(tmp_path):
    rng = np.random.default_rng(0)
    # Eighths: what writes .svm files keeps 16 digits, and not every float64.
    X, y = rng.integers(-99, 99, (50, 4)) / 8, rng.integers(0, 2, 50).astype(float)
    frame = pd.DataFrame(X, columns=list("abcd")).assign(late=y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame[["late", *"abcd"]].to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.arrow")
    np.savez_compressed(tmp_path / "a.npz", X=X, y=y)
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"), zero_based=False)
    dump_svmlight_file(X, y, str(tmp_path / "a.LIBSVM"), zero_based=True)
    read_back = [
        read(tmp_path / "a.csv", "late"),
        read(tmp_path / "a.parquet", "late"),
        read(tmp_path / "a.arrow", "late"),
        *(read(tmp_path / name) for name in ("a.npz", "a.svm", "a.LIBSVM")),
    ]
    assert len({dataset.fingerprint for dataset in read_back[:4]}) == 1
    # What is sparse is another content: the layout decides how numbers are summed, and what standardisation does.
    assert read_back[4].fingerprint == read_back[5].fingerprint != read_back[0].fingerprint
    assert read_back[0].features == read_back[1].features == read_back[2].features == ("a", "b", "c", "d")
    assert read_back[4].features == ("x0", "x1", "x2", "x3")
    assert [dataset.sparse for dataset in read_back] == [False, False, False, False, True, True]
    assert read_back[0].name == "a.csv"  # and no folder: a trial's identity has no paths


def test_a_parquet_file_keeps_its_types(tmp_path):
    frame = pd.DataFrame(
        {
            "flag": [True, False, True],
            "count": pd.array([1, 2, 3], dtype="Int64"),
            "label": pd.Categorical(["no", "yes", "no"]),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    dataset = read(tmp_path / "a.parquet", "label")
    np.testing.assert_array_equal(dataset.X, [[1, 1], [0, 2], [1, 3]])
    assert dataset.y.tolist() == ["no", "yes", "no"]
    frame[["flag", "count"]].astype(np.float32).to_parquet(tmp_path / "single.parquet")
    assert read(tmp_path / "single.parquet", "flag").X.dtype == np.float32


def test_labels_of_a_csv_file(tmp_path):
    text = write(tmp_path / "a.csv", "x,late\n1,yes\n2,no\n")
    assert read(text, "late").y.tolist() == ["yes", "no"]
    text = write(tmp_path / "a.csv", "x,late\n1,True\n2,False\n")
    assert read(text, "late").y.tolist() == [1.0, 0.0]


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.svm", "1 1:2\n")
    assert load(Source(path="~/a.svm")).X.toarray().tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", ": there is no column 'late'; valid: a, b"),
        ("lat,b\n1,2\n", ": there is no column 'late'; did you mean 'lat'? valid: lat, b"),
        ("a,late\n", ": a header, but no rows"),
        ("", " cannot be read: No columns to parse from file"),
        ("a,late\n1,0\n2,0,5\n", " cannot be read: Expected 2 fields in line 3, saw 3"),
        ("a,late\n1,0,5\n2,0,5\n", ": the rows have more fields than the header"),
        ("a,late\n1,0\n2\n", ": line 3 has no target: found nan"),
        ("a,late\n1,0\n,1\n", ": line 3, column 'a': found nan; every feature must be a finite number"),
        ("a,late\n1,0\n-inf,1\n", ": line 3, column 'a': found -inf; every feature must be a finite number"),
        ("a,late\n1,0\n1,inf\n", ": line 3: the target is inf; it must be finite"),
        ("late\n1\n", ": X must have rows and columns, (n, d); found shape (1, 0)"),
        (
            "a,late\n1,0\n2,1\ntwo,1\n",
            ": column 'a' is not numeric: line 4 holds 'two'; drop the column, or encode it as numbers "
            "(pandas.get_dummies makes one-hot columns)",
        ),
    ],
)
def test_csv_files_that_will_not_do(tmp_path, text, message):
    assert refusal(write(tmp_path / "a.csv", text), "late") == message


def test_a_table_needs_a_target(tmp_path):
    assert refusal(write(tmp_path / "a.csv", "a,b\n1,2\n")) == ": which column is the target? target = 'b', for example"


def test_the_columns_are_not_all_listed(tmp_path):
    header = ",".join(f"feature{j}" for j in range(1000))
    assert len(refusal(write(tmp_path / "a.csv", f"{header}\n"), "late")) < 500


def test_binary_files_with_a_wrong_name(tmp_path):
    for suffix in (".csv", ".parquet", ".npz", ".svm"):
        (tmp_path / f"a{suffix}").write_bytes(b"\xff\xfe\x00\x93 not a table\n" * 10)
        target = "y" if suffix in (".csv", ".parquet") else None
        assert refusal(tmp_path / f"a{suffix}", target)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_truncated_file(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".npz":
        np.savez_compressed(whole, X=np.random.default_rng(0).normal(size=(100, 3)), y=np.zeros(100))
    else:
        pd.DataFrame({"x": np.arange(1000.0), "y": np.zeros(1000)}).to_parquet(whole)
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert refusal(half, "y" if suffix == ".parquet" else None).startswith(" cannot be read: ")


def test_a_damaged_npz_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=(1000, 3)), y=np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    assert refusal(path).startswith(" cannot be read: ")


def test_parquet_columns_that_will_not_do(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"when": pd.to_datetime(["2013-01-01"]), "y": [1]}).to_parquet(path)
    assert refusal(path, "y").startswith(": column 'when' is not numeric: row 1 holds Timestamp('2013-01-01")
    pd.DataFrame({"x": pd.array([1, None], dtype="Int64"), "y": [1, 2]}).to_parquet(path)
    assert refusal(path, "y").startswith(": row 2, column 'x': found nan")
    pd.DataFrame({"x": [None, None], "y": [1, 2]}).to_parquet(path)
    assert refusal(path, "y").startswith(": column 'x' is not numeric: row 1 holds None")
    pd.DataFrame({"x": [1, 2], "y": pd.array([1, None], dtype="Int64")}).to_parquet(path)
    assert refusal(path, "y") == ": row 2 has no target: found nan"


def test_npz_files_that_will_not_do(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.zeros((2, 2)), labels=np.zeros(2))
    assert refusal(path) == ": no array 'y': found X, labels"
    np.savez(path, X=np.zeros((2, 2)), y=np.array(["a", None], dtype=object))
    assert "Object arrays cannot be loaded" in refusal(path)
    np.savez(path, X=np.zeros((2, 2)), y=np.zeros(3))
    assert refusal(path) == ": X has 2 rows and y has 3"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert refusal(path) == ": one array alone; an .npz file must hold the arrays X and y"


GOOD = "1 1:0.5 2:1\n-1 2:3 # a comment\n"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("1 1:abc", "could not convert string to float: b'abc'"),
        ("one 1:2", "could not convert string to float: b'one'"),
        ("1 1:2 0.5", "need more than 1 value to unpack"),
        ("1 3:2 2:1", "should be sorted and unique"),
        ("1 -3:2", "Invalid index -3"),
    ],
)
@pytest.mark.parametrize("line", [1, 2, 7, 11])
def test_svm_files_name_the_bad_line(tmp_path, bad, reason, line):
    lines = (GOOD * 5).splitlines()
    path = write(tmp_path / "a.svm", "\n".join([*lines[: line - 1], bad, *lines[line - 1 :], "also 1:bad"]) + "\n")
    message = refusal(path)
    assert message.startswith(f", line {line}: ")
    assert reason in message


def test_svm_files_that_will_not_do(tmp_path):
    path = tmp_path / "a.svm"
    assert refusal(write(path, GOOD + "1 2:nan\n")).startswith(": line 3, column 'x1': found nan")
    assert refusal(write(path, "nan 1:1\n")) == ": line 1 has no target: found nan"
    assert "X must have rows and columns" in refusal(write(path, ""))
    too_wide = GOOD + f"1 1:1 {2**31}:1\n"
    assert refusal(write(path, too_wide)) == f", line 3: a column is above 2,147,483,647; found '{2**31}:1'"


SAY = '; or say what it is: format = "csv" or "svm", for example'


def test_paths_that_will_not_do(tmp_path):
    assert refusal(tmp_path / "a.csv", "y") == ": there is no such file"
    assert (
        refusal(tmp_path / "a.txt")
        == ": unknown extension '.txt'; valid: .svm, .libsvm, .csv, .parquet, .arrow, .feather, .ipc, .npz" + SAY
    )
    assert (
        refusal(tmp_path / "a")
        == ": unknown extension ''; valid: .svm, .libsvm, .csv, .parquet, .arrow, .feather, .ipc, .npz" + SAY
    )
    (tmp_path / "folder.csv").mkdir()
    assert "Is a directory" in refusal(tmp_path / "folder.csv", "y")
    write(tmp_path / "a.svm", GOOD)
    assert refusal(tmp_path / "a.svm", "y").startswith(
        ": target = 'y' is for .csv, .parquet and .arrow; a .svm file knows"
    )


def test_a_home_folder_that_is_not_there():
    with pytest.raises(InputError, match=r"^~no_such_user/a\.csv: "):
        load(Source(path="~no_such_user/a.csv", target="y"))
