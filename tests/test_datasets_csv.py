"""Text tables: the keys of `csv`, what the header gives away, and the lines that messages name."""

import bz2
import gzip
import lzma
import re
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgd.common.errors import InputError
from fastgd.datasets import Csv, Source, load, prepare
from fastgd.runs.data.loading import load_data
from fastgd.study.config import Study


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, target="y", **csv):
    return load(Source(path=str(path), target=target, csv=csv or None))


def refusal(path, target="y", **csv):
    with pytest.raises(InputError) as caught:
        read(path, target, **csv)
    return str(caught.value).removeprefix(str(path))


# --- what the header gives away


@pytest.mark.parametrize("text", ["y,x,y\n1,2,3\n", "y,y,x\n1,2,3\n", "y,x,y,y.1\n1,2,3,4\n", '"y",x,y\n1,2,3\n'])
def test_two_columns_of_one_name_are_refused(tmp_path, text):
    count = "2 columns 'y'; each needs a name of its own"
    assert refusal(write(tmp_path / "a.csv", text)) == f": there are {count}"


@pytest.mark.parametrize("text", ["y,x, y\n1,2,3\n", "x ,x,y\n1,2,3\n"])
def test_two_columns_of_one_name_but_for_spaces_are_refused(tmp_path, text):
    assert " but for spaces; each needs a name of its own" in refusal(write(tmp_path / "a.csv", text))


def test_columns_without_names_are_named_by_their_places(tmp_path):
    path = write(tmp_path / "a.csv", "1,2,3\n4,-9,6\n")
    assert read(path, "2", header=False, usecols=["0", "2"]).X.tolist() == [[1], [4]]
    assert refusal(path, "2", header=False, na_values={"1": -9}).startswith(": line 2, column '1': found nan")


def test_marks_within_numbers_that_are_quoted(tmp_path):
    path = write(tmp_path / "a.csv", 'x,y\n"1,500",2\n')
    assert read(path, thousands=",").X.tolist() == [[1500]]
    assert read(path, decimal=",").X.tolist() == [[1.5]]


@pytest.mark.parametrize("field", ["1.5", "01.02.2020", "1000.000", "1.000,5.0", "1.000.00", ".500", "1..000"])
def test_marks_that_do_not_stand_between_thousands_are_refused(tmp_path, field):
    path = write(tmp_path / "a.csv", f"x;y;d\n1.000;0;1\n\n{field};1;1.2.2020\n")
    keys = {"sep": ";", "decimal": ",", "thousands": "."}
    assert refusal(path, usecols=["x", "y"], **keys).startswith(f": line 4 holds {field!r}, where '.' does not stand")
    for good, value in (("-1.000.000,5", -1000000.5), ("12.34.567", 1234567), ("1.000e3", 1e6), ("999,5", 999.5)):
        write(path, f"x;y;d\n1.000;0;1\n{good};1;1.2.2020\n")
        assert read(path, usecols=["x", "y"], **keys).X.tolist() == [[1000], [value]]


def test_spaces_in_quotes_do_not_separate(tmp_path):
    path = write(tmp_path / "a.csv", '"my x" y\n1 "no way"\n2 yes\n\n3 ""\n')
    assert refusal(path, sep=r"\s+") == ": line 5 has no target: found nan"
    write(path, '"my x" y\n1 "no way"\n2 yes\n')
    dataset = read(path, sep=r"\s+")
    assert (dataset.features, dataset.y.tolist()) == (("my x",), ["no way", "yes"])


def test_one_word_among_many_numbers_is_named_with_its_line(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"1,{i}.5\n" for i in range(40)) + "\n1,oops\n1,no\n")
    with pytest.raises(InputError, match=r"^a.csv: line 43 has target 'oops', which is no number"):
        prepare(read(path), targets="real")


def test_a_separator_that_is_no_ascii(tmp_path):
    assert read(write(tmp_path / "a.csv", "x§y\n1§2\n"), sep="§").X.tolist() == [[1]]


def test_a_compressed_file_whose_name_does_not_say_so(tmp_path):
    path = write(tmp_path / "a.csv", gzip.compress(b"x,y\n1,2\n"))
    assert refusal(path).endswith('a.csv.gz; or, for a text table, csv = { compression = "gzip" }')
    assert read(path, compression="gzip").X.tolist() == [[1]]


def test_a_column_that_is_not_read_may_stand_twice(tmp_path):
    path = write(tmp_path / "a.csv", "x,x,y\n1,2,3\n")
    assert "2 columns 'x'" in refusal(path)
    rest = read(path, usecols=[1, 2])
    assert (rest.X.tolist(), rest.features) == ([[2]], ("x",))
    assert read(write(path, "y,x,y\n1,2,3\n"), usecols=[1, 2]).y.tolist() == [3]
    write(path, "x,x,y\n1,2,3\n")
    assert "2 columns 'x'" in refusal(path, usecols=["x", "y"])


@pytest.mark.parametrize(
    ("text", "target"), [("1,2,3\n4,5,6\n", "3"), ("1,1,0\n4,5,6\n", "0"), ("5.1,3.5,setosa\n4,5,setosa\n", "setosa")]
)
def test_a_first_row_of_data_is_no_header(tmp_path, text, target):
    path = write(tmp_path / "a.csv", text)
    message = refusal(path, target)
    assert message.startswith(": the first line is read as the header, and its names are numbers: ")
    assert "csv = { header = false } says that there is no header" in message
    dataset = read(path, "2", header=False)
    assert dataset.X.shape == (2, 2)
    assert dataset.features == ("0", "1")
    assert read(path, "2", header=None).fingerprint == dataset.fingerprint  # as pandas writes it
    named = read(path, "c", names=["a", "b", "c"])
    assert (named.features, named.fingerprint) == (("a", "b"), dataset.fingerprint)


@pytest.mark.parametrize(
    ("text", "target", "csv"),
    [
        ("1,5;2,5;3\n1,0;2,0;3\n", "3", {"sep": ";", "decimal": ","}),
        ("1.5;1,5;a,b\n1,0;2,0;3\n", "a,b", {"sep": ";", "decimal": ","}),
        ("1 000;2 000;0\n1 001;2 000;1\n", "0", {"sep": ";", "thousands": " "}),
        ("NA,2.5,0\n1.5,2.5,1\n", "0", {}),
        ("-inf,2.5,yes\n1.5,2.5,no\n", "yes", {}),
    ],
)
def test_a_first_row_is_data_also_in_the_notation_of_its_file(tmp_path, text, target, csv):
    assert "csv = { header = false }" in refusal(write(tmp_path / "a.csv", text), target, **csv)


def test_names_that_are_numbers_can_be_names(tmp_path):
    pd.DataFrame(np.eye(3)).to_csv(tmp_path / "a.csv", index=False)
    assert "names are numbers: 0, 1, 2;" in refusal(tmp_path / "a.csv", "2")
    assert read(tmp_path / "a.csv", "2", header=0).X.tolist() == [[1, 0], [0, 1], [0, 0]]
    pd.DataFrame(np.eye(3)).assign(y=1).to_csv(tmp_path / "a.csv", index=False)
    assert read(tmp_path / "a.csv").features == ("0", "1", "2")


def test_the_index_that_pandas_writes_is_no_feature(tmp_path):
    pd.DataFrame({"x": [1.5, 2.5], "y": [0, 1]}).to_csv(tmp_path / "a.csv")
    assert refusal(tmp_path / "a.csv").startswith(": column 1 has no name, as the index has that pandas writes")
    assert read(tmp_path / "a.csv", usecols=["x", "y"]).X.tolist() == [[1.5], [2.5]]
    pd.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "a.csv", index=False)
    assert refusal(tmp_path / "a.csv").startswith(": column 1 has no name, as the index has that pandas writes")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a;b;y\n1,5;2,5;0\n", 'is it separated by ";"? csv = { sep = ";" }'),
        ("a\tb\ty\n1\t2\t0\n", 'is it separated by "\\t"? csv = { sep = "\\t" }'),
        ("a b y\n1 2 0\n", 'is it separated by ";" or a tab? csv = { sep = ";" } or { sep = "\\t" }'),
    ],
)
@pytest.mark.parametrize("target", ["y", None])
def test_one_column_alone_hints_at_the_separator(tmp_path, text, hint, target):
    message = refusal(write(tmp_path / "a.csv", text), target)
    assert message.endswith(f"; one column alone: {hint}")
    assert repr(text.partition("\n")[0]) in message or target is not None


# --- the keys


@pytest.mark.parametrize(
    ("text", "csv"),
    [
        ("a;b;y\n1,5;2;0\n1.003,25;-4;1\n", {"sep": ";", "decimal": ",", "thousands": "."}),
        ("a\tb\ty\n1.5\t2\t0\n1003.25\t-4\t1\n", {"sep": "\t"}),
        ("  a b   y\n1.5  2 0\n1003.25\t-4 1\n", {"sep": r"\s+"}),
        ('"a" "b" y\n1.5 "2" 0\n1003.25 -4 1\n', {"sep": r"\s+"}),
        ("a||b||y\n1.5||2||0\n1003.25||-4||1\n", {"sep": r"\|\|"}),
        ("1.5,2,0\n1003.25,-4,1\n", {"names": ["a", "b", "y"]}),
        ("p,q,r\n1.5,2,0\n1003.25,-4,1\n", {"names": ["a", "b", "y"], "header": 0}),
        ("1.5,2,zero,0\n1003.25,-4,one,1\n", {"names": ["a", "b", "y"], "usecols": [0, 1, 3]}),
        ("1.5,2,zero,0\n1003.25,-4,one,1\n", {"names": ["a", "b", "c", "y"], "usecols": ["a", "b", "y"]}),
        ("of 2020\n\nmade by us\na,b,y\n1.5,2,0\n1003.25,-4,1\n", {"header": 2}),
        ("of 2020\nmade, by, us, all\na,b,y\n1.5,2,0\n1003.25,-4,1\n", {"skiprows": 2}),
        ("a,b,y\nm,s,-\n1.5,2,0\n1003.25,-4,1\n", {"skiprows": [1]}),
        ("id,a,b,y\nu,1.5,2,0\nv,1003.25,-4,1\n", {"usecols": ["a", "b", "y"]}),
        ("\ufeffa,b,y\n1.5,2,0\n1003.25,-4,1\n", {}),
        ("\ufeff1.5,2,0\n1003.25,-4,1\n", {"names": ["a", "b", "y"]}),
        ("\ufeffa||b||y\n1.5||2||0\n1003.25||-4||1\n", {"sep": r"\|\|"}),
        ("a,b,y\n1.5,2,0\n1003.25,-4,1\n".encode("utf-16"), {"encoding": "utf-16"}),
        (gzip.compress(b"a,b,y\n1.5,2,0\n1003.25,-4,1\n", mtime=0), {"compression": "gzip"}),
        ("a,b,y\n1.5,2,0,\n1003.25,-4,1,\n", {}),  # what ends lines separates nothing
    ],
)
def test_every_key_reads_the_same_table(tmp_path, text, csv):
    dataset = read(write(tmp_path / "a.csv", text), **csv)
    assert dataset.X.tolist() == [[1.5, 2], [1003.25, -4]]
    assert dataset.y.tolist() == [0, 1]
    assert dataset.features == ("a", "b")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip", ".zst"])
def test_compressed_files(tmp_path, suffix):
    path, text = tmp_path / f"a.csv{suffix}", b"x,y\n1.5,0\n2.5,\n"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", text)
    elif suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(text)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(text))
    assert refusal(path) == ": line 3 has no target: found nan"
    path.write_bytes(b"x,y\n1.5,0\n" * 20)
    assert " cannot be read: " in refusal(path)


def test_an_archive_of_two_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "x,y\n1,2\n")
        archive.writestr("b.csv", "x,y\n1,2\n")
    assert refusal(tmp_path / "a.csv.zip") == ": an archive must hold one file; found a.csv, b.csv"


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ({"decmal": ";"}, "csv.decmal is no key; did you mean 'decimal'?"),
        ({"sep": ""}, "csv.sep: must be a text of at least one character; found ''"),
        ({"sep": "(("}, "csv: sep = '((' is no regular expression"),
        ({"decimal": ",", "thousands": ","}, "csv: decimal and thousands must differ"),
        ({"thousands": ",,"}, "csv.thousands: must be one character; found ',,'"),
        (
            {"header": True},
            "csv.header: must be the line of the names, from 0, or false: the file has none; found True",
        ),
        ({"header": -1}, "csv.header: must be the line of the names"),
        ({"names": ["a", "a"]}, "csv: names has 'a' twice"),
        ({"usecols": ["a", 1]}, "csv.usecols: must be a list of names, or of places from 0; found ['a', 1]"),
        ({"encoding": "utf-99"}, "csv: there is no encoding 'utf-99'"),
        ({"encoding": "base64"}, "csv: there is no encoding 'base64'"),
        ({"compression": "rar"}, "csv.compression: Input should be 'infer'"),
        (
            {"na_values": [[1]]},
            "csv.na_values: must be a text, a number, a list of these, or a table of them by column",
        ),
        ({"names": ["a", "y"]}, ": csv.names has 2 names, and the file 3 columns"),
        ({"names": ["a", "b", "c", "y"]}, ": csv.names has 4 names, and the file 3 columns"),
        ({"header": 7}, ": there is no line 7 for the header"),
        ({"usecols": ["q", "y"]}, " cannot be read: Usecols do not match columns"),
        ({"na_values": {"a": 1}}, ": line 2, column 'a': found nan; every feature must be a finite number"),
        (
            {"names": ["p", "q", "y"], "header": 0, "na_values": {"a": 1}},
            ": csv.na_values has a column 'a'; valid: p, q",
        ),
        ({"na_values": {"A": 1}}, ": csv.na_values has a column 'A'; valid: a, b, y"),
    ],
)
def test_keys_that_will_not_do(tmp_path, csv, message):
    assert refusal(write(tmp_path / "a.csv", "a,b,y\n1,2,0\n3,4,1\n"), **csv).startswith(message)


def test_text_in_another_encoding(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,é\n2,è\n".encode("latin-1"))
    assert refusal(path).startswith(" cannot be read: it is no text in utf-8 (invalid continuation byte); csv = { enc")
    assert read(path, encoding="latin-1").y.tolist() == ["é", "è"]


def test_numbers_in_another_notation(tmp_path):
    path = write(tmp_path / "a.csv", "x;y\n1,5;0\n2,5;1\n")
    message = refusal(path, sep=";")
    assert message.startswith(": column 'x' is not numeric: line 2 holds '1,5'; ")
    assert message.endswith('csv = { decimal = "," } or { thousands = "," } says what the comma is')


@pytest.mark.parametrize("header", ["a,b,y", "a,y"])
def test_rows_longer_than_the_header_are_refused_where_columns_are_chosen(tmp_path, header):
    text = f"{header}\n" + "1,2,3\n" * (header == "a,b,y") + "1,5,2,3\n"
    assert refusal(write(tmp_path / "a.csv", text), usecols=["a", "y"]) == ": the rows have more fields than the header"


# --- lines


@pytest.mark.parametrize(
    ("text", "csv", "line"),
    [
        ("x,y\n1,0\n\n\n,1\n", {}, 5),
        ("x,y\n1,0\n   \n,1\n", {}, 4),
        ("\n\nx,y\n1,0\n,1\n", {}, 5),
        ('x,y,s\n1,0,"two\nlines"\n,1,z\n', {"usecols": ["x", "y"]}, 4),
        ('x,y,s\n1,0,z\n,1,"two\nlines"\n', {"usecols": ["x", "y"]}, 3),
        ("# made\nx,y\n1,0\n,1\n", {"skiprows": 1}, 4),
        ("x,y\nm,-\n1,0\n,1\n", {"skiprows": [1]}, 4),
        ("1,0\n\n,1\n", {"names": ["x", "y"]}, 3),
        ("x||y\n1||0\n\nnan||1\n", {"sep": r"\|\|"}, 4),
        ("x y\n1 0\n\nnan  1\n", {"sep": r"\s+"}, 4),
    ],
)
def test_messages_name_the_line_of_the_file(tmp_path, text, csv, line):
    assert refusal(write(tmp_path / "a.csv", text), **csv).startswith(f": line {line}, column 'x': found nan")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.sampled_from(["1,0", "", "  ", "2,1"]), max_size=12), skip=st.integers(0, 3))
def test_the_line_of_any_file(tmp_path, rows, skip):
    lines = [*(["..."] * skip), "x,y", *rows, "oops,1", *rows]
    path = write(tmp_path / "a.csv", "\n".join(lines) + "\n")
    assert f"line {lines.index('oops,1') + 1} holds 'oops'" in refusal(path, skiprows=skip)


def test_targets_that_a_loss_refuses_name_the_line(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n\n1,0\n2,7\n")
    with pytest.raises(InputError, match=r"a.csv: line 4 has target 7 "):
        load_data(study(path=str(path), target="y"), None, print)


# --- the study


def study(**problem):
    return Study(name="s", epochs=1, problem={"loss": "logistic", **problem}, optimizer={"name": "sgd", "lr": 0.1})


def test_a_study_reads_both_its_files_by_the_same_keys(tmp_path):
    write(tmp_path / "train.txt", "a;b;y\n1,5;2;0\n2,5;3;1\n")
    write(tmp_path / "test.txt", "b;a;y\n9;1,5;0\n")
    keys = {"path": str(tmp_path / "train.txt"), "target": "y", "format": "csv"}
    wanted = study(**keys, validation=str(tmp_path / "test.txt"), csv={"sep": ";", "decimal": ","})
    (data,) = load_data(wanted, None, lambda event: None)
    assert data.X.tolist() == [[1.5, 2], [2.5, 3]]
    assert data.X_validation.tolist() == [[1.5, 9]]
    (tmp_path / "study.toml").write_text(wanted.to_toml())
    assert Study.from_toml(tmp_path / "study.toml") == wanted
    assert study(**keys, csv=Csv(sep=";")).to_toml() == study(**keys, csv={"sep": ";", "skiprows": 0}).to_toml()


def test_a_header_that_is_not_there_survives_the_file(tmp_path):
    written = study(path="a.csv", target="0", csv={"header": None})
    (tmp_path / "study.toml").write_text(written.to_toml())
    assert "header = false" in written.to_toml()
    assert Study.from_toml(tmp_path / "study.toml") == written


def test_a_study_without_the_keys_is_what_it_was():
    text = study(path="a.csv", target="y").to_toml()
    assert "csv]" not in text
    assert "format" not in text


def test_problems_that_read_a_file_differently_do_not_share_it(tmp_path):
    path = write(tmp_path / "a.csv", "x;y\n1.500;0\n2.500;1\n")
    base = {"loss": "logistic", "path": str(path), "target": "y"}
    two = Study(
        name="s",
        epochs=1,
        problem=[
            {**base, "name": "point", "csv": {"sep": ";"}},
            {**base, "name": "thousands", "csv": {"sep": ";", "thousands": ".", "decimal": ","}},
        ],
        optimizer={"name": "sgd", "lr": 0.1},
    )
    first, second = load_data(two, None, lambda event: None)
    assert first.X.tolist() == [[1.5], [2.5]]
    assert second.X.tolist() == [[1500], [2500]]


def test_held_out_rows_that_are_read_differently_are_not_shared(tmp_path):
    pixels = [f"pixel_{j // 8}_{j % 8}" for j in range(64)]
    path = write(tmp_path / "held.csv", ";".join([*pixels, "target"]) + "\n" + "1.000;" * 64 + "3\n")
    base = {"loss": "logistic", "dataset": "digits", "positive": 3, "validation": str(path), "target": "target"}
    problems = [
        {**base, "name": "point", "csv": {"sep": ";"}},
        {**base, "name": "thousands", "csv": {"sep": ";", "thousands": ".", "decimal": ","}},
    ]
    two = Study(name="s", epochs=1, problem=problems, optimizer={"name": "sgd", "lr": 0.1})
    first, second = load_data(two, None, lambda event: None)
    assert (first.X_validation == 1).all()
    assert (second.X_validation == 1000).all()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"path": "a.csv", "csv": {"decmal": ","}}, "problem.csv.decmal is not a known key; did you mean 'decimal'?"),
        ({"path": "a.csv", "csv": ";"}, "problem.csv must be a table, found ';'"),
        (
            {"path": "a.csv", "csv": {"sep": None}},
            "problem.csv.sep: must be a text of at least one character; found None",
        ),
        ({"path": "a.csv", "csv": {"encoding": "utf-99"}}, "problem.csv: there is no encoding 'utf-99'"),
        ({"path": "a.svm", "csv": {"sep": ";"}}, "problem.csv is for .csv files, found { sep = ';' }"),
        ({"dataset": "iris", "csv": {"sep": ";"}}, "problem.csv is for .csv files"),
        ({"dataset": "iris", "format": "csv"}, "problem.format is for files, found 'csv'"),
        (
            {"path": "a", "format": "tsv"},
            "problem.format must be 'svm' or 'csv' or 'parquet' or 'arrow' or 'npz', found 'tsv'",
        ),
    ],
)
def test_keys_that_a_study_refuses(problem, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        study(**problem)


def test_a_field_of_any_length(tmp_path):
    path = write(tmp_path / "a.csv", f"x,y\n{'x' * 200_000},1\n")
    assert refusal(path).startswith(" cannot be read: field larger than field limit")


def test_files_of_two_formats(tmp_path):
    table, sparse = write(tmp_path / "a.csv", "x0,x1,y\n1,2,0\n3,4,1\n"), write(tmp_path / "a.svm", "1 0:5\n")
    for path, held_out in ((table, sparse), (sparse, table)):
        keys = {"path": str(path), "validation": str(held_out), "n_features": 2, "layout": "dense"}
        (data,) = load_data(study(**keys, target="y", zero_based=True), None, lambda event: None)
        found = [data.X.tolist(), data.X_validation.tolist()]
        assert sorted(found, key=len) == [[[5, 0]], [[1, 2], [3, 4]]]
    with pytest.raises(InputError, match=r"a.svm: target = 'y' is for .csv, .parquet and .arrow"):
        load_data(study(path=str(sparse), target="y"), None, lambda event: None)


def test_keys_may_be_for_the_second_file_alone(tmp_path):
    write(tmp_path / "held.csv", "mean radius;target\n1;0\n")
    problem = {"dataset": "breast_cancer", "validation": str(tmp_path / "held.csv"), "csv": {"sep": ";"}}
    with pytest.raises(InputError, match=r"held.csv: validation data must have the 30 columns"):
        load_data(study(**problem, target="target"), None, lambda event: None)
