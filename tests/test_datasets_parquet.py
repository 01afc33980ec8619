"""Parquet: folders whose parts must have the same columns, partitions, and the index that pandas stores."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastgd.common.errors import InputError
from fastgd.datasets import Source, load, prepare


def read(path, target="y", **keys):
    return load(Source(path=str(path), target=target, **keys))


def refusal(path, target="y", **keys):
    with pytest.raises(InputError) as caught:
        read(path, target, **keys)
    return str(caught.value).replace(f"{path.parent}/", "")


def part(path, frame, **keys):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(frame).to_parquet(path, **keys)


ROWS = {"x": [1.0, 2.0], "y": [0, 1]}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({**ROWS, "z": [1, 2]}, "d.parquet/b: there is a column 'z' that d.parquet/a does not have; parts must"),
        ({"y": [0, 1]}, "d.parquet/a: there is a column 'x' that d.parquet/b does not have"),
        ({**ROWS, "x": [1, 2]}, "d.parquet/b: column 'x' holds int64, and in d.parquet/a double"),
        ({**ROWS, "x": ["1", "2"]}, "d.parquet/b: column 'x' holds "),
        ({**ROWS, "y": [True, False]}, "d.parquet/b: column 'y' holds bool, and in d.parquet/a int64"),
        ({**ROWS, "x": np.float32([1, 2])}, "d.parquet/b: column 'x' holds float, and in d.parquet/a double"),
    ],
)
def test_parts_that_differ_are_refused(tmp_path, second, message):
    folder = tmp_path / "d.parquet"
    part(folder / "a", ROWS)
    part(folder / "b", second)
    assert refusal(folder).startswith(message)


def test_parts_of_the_same_columns_in_any_order(tmp_path):
    folder = tmp_path / "d.parquet"
    part(folder / "b" / "2.parquet", {"y": [1], "x": [4.0]})
    part(folder / "b" / "1.parquet", pd.DataFrame({"x": [3.0], "y": [0]}, index=[9]))  # an index is no column
    part(folder / "a.parquet", ROWS)
    (folder / "_SUCCESS").touch()
    (folder / ".crc").write_text("no table")
    assert read(folder).X.tolist() == [[1], [2], [3], [4]]
    (folder / "README").write_text("no table")
    assert refusal(folder).startswith("d.parquet/README cannot be read: ")


def test_a_folder_without_parts(tmp_path):
    (tmp_path / "d.parquet").mkdir()
    assert refusal(tmp_path / "d.parquet") == "d.parquet: the folder holds no files"


def test_columns_of_one_name(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2]), pa.array([0])], names=["x", "x", "y"]), path)
    assert refusal(path) == "a.parquet: there are 2 columns 'x'; each needs a name of its own"


def test_partitions_are_numbers_or_refused_by_name(tmp_path):
    folder = tmp_path / "d.parquet"
    part(folder / "fold=1" / "a.parquet", ROWS)
    part(folder / "fold=2" / "a.parquet", ROWS)
    dataset = read(folder)
    assert dataset.features == ("x", "fold")
    assert dataset.X.tolist() == [[1, 1], [2, 1], [1, 2], [2, 2]]
    assert dataset.notes == ("columns that are made of the names of folders: 'fold'",)
    assert read(folder, "fold").y.tolist() == [1, 1, 2, 2]
    alone = read(folder / "fold=2" / "a.parquet")  # the folders that a file lies in are none of its columns
    assert (alone.features, alone.notes) == (("x",), ())
    assert read(folder / "fold=2", format="parquet").features == ("x",)
    part(folder / "fold=b" / "a.parquet", ROWS)
    assert refusal(folder).startswith("d.parquet: column 'fold' is not numeric: row 1 of fold=b/a.parquet holds 'b'")
    assert read(folder, "fold").y.tolist() == ["1", "1", "2", "2", "b", "b"]
    part(folder / "rest" / "a.parquet", ROWS)
    assert refusal(folder).startswith("d.parquet/rest/a.parquet: its folders name no column, and those of ")


def test_partitions_that_are_columns_too(tmp_path):
    part(tmp_path / "d.parquet" / "x=1" / "a.parquet", ROWS)
    assert (
        refusal(tmp_path / "d.parquet") == "d.parquet: there is a column 'x' in the files, and folders name another one"
    )


def test_partitions_of_lists(tmp_path):
    part(tmp_path / "d.parquet" / "fold=1" / "a.parquet", {"indices": [[0]], "values": [[1.0]], "y": [1]})
    assert refusal(tmp_path / "d.parquet").startswith("d.parquet: a table of lists has no column 'fold'")


@pytest.mark.parametrize("columns", [ROWS, {"indices": [[0], [1]], "values": [[1.0], [2.0]], "y": [0, 1]}])
@pytest.mark.parametrize("names", [["id"], [None], ["id", None]])
def test_a_stored_index_is_no_feature_of_either_reader(tmp_path, columns, names):
    index = pd.MultiIndex.from_arrays([[7, 8]] * len(names), names=names)
    part(tmp_path / "plain.parquet", columns, index=False)
    part(tmp_path / "index.parquet", pd.DataFrame(columns, index=index))
    dataset, plain = read(tmp_path / "index.parquet"), read(tmp_path / "plain.parquet")
    assert dataset.fingerprint == plain.fingerprint
    assert dataset.features == plain.features
    assert dataset.notes == (("the index that pandas stored is no feature: 'id'",) if "id" in names else ())
    if "id" in names:
        assert refusal(tmp_path / "index.parquet", "id").startswith(
            "index.parquet: column 'id' is the index that pandas stored; reset_index()"
        )
    note = prepare(plain, targets="binary", validation=dataset).notes
    assert note == (("index.parquet: the index that pandas stored is no feature: 'id'",) if "id" in names else ())


def test_values_as_they_stand(tmp_path):
    path = tmp_path / "a.parquet"
    decimals = pa.array([Decimal("1.5"), Decimal("2.25")])
    pq.write_table(pa.table({"d": decimals, "u": pa.array([1, 2], pa.uint8()), "y": ["no", "yes"]}), path)
    assert read(path).X.tolist() == [[1.5, 1], [2.25, 2]]
    pq.write_table(pa.table({"b": pa.array([True, None]), "y": [0, 1]}), path)
    assert refusal(path).startswith("a.parquet: column 'b' is not numeric: row 2 holds None")
    pq.write_table(pa.table({"b": pa.array([1, None]), "y": [0, 1]}), path)
    assert refusal(path).startswith("a.parquet: row 2, column 'b': found nan")
    pq.write_table(pa.table({"b": [1, 2], "y": pa.array([True, None])}), path)
    assert refusal(path) == "a.parquet: row 2 has no target: found None"
    pq.write_table(pa.table({"b": pa.array(["u", "v"]).dictionary_encode(), "y": [0, 1]}), path)
    assert refusal(path).startswith("a.parquet: column 'b' is categorical, and not numeric: row 1 holds 'u'")
    pq.write_table(pa.table({"y": [0, 1]}), path)
    assert refusal(path).startswith("a.parquet: X must have rows and columns")


def test_names_of_folders_that_are_quoted_or_stand_twice(tmp_path):
    part(tmp_path / "d.parquet" / "my%20fold=3" / "a", ROWS)
    assert read(tmp_path / "d.parquet").features == ("x", "my fold")
    part(tmp_path / "e.parquet" / "fold=1" / "fold=2" / "a", ROWS)
    assert "2 columns 'fold'" in refusal(tmp_path / "e.parquet")


def test_names_that_differ_by_spaces(tmp_path):
    part(tmp_path / "a.parquet", {" y": [0.0, 1.0], **ROWS})
    assert "2 columns 'y' but for spaces" in refusal(tmp_path / "a.parquet")


def test_decimals_that_float64_would_round(tmp_path):
    part(tmp_path / "a.parquet", {"x": [1.0, 2.0], "y": [Decimal(2**53 + 1), Decimal(1)]})
    assert refusal(tmp_path / "a.parquet").startswith("a.parquet: row 1: the target is 9007199254740993; ")


def test_a_table_whose_features_are_all_in_its_index(tmp_path):
    part(tmp_path / "a.parquet", pd.DataFrame(ROWS).set_index("x"))
    assert refusal(tmp_path / "a.parquet").endswith(
        "found shape (2, 0); the index that pandas stored is no feature: 'x'"
    )


@pytest.mark.parametrize("values", [["1", "1700000000000"], ["0.5", "2"], ["-1e-3", ".25"]])
def test_partitions_that_are_numbers_of_any_size(tmp_path, values):
    for value in values:
        part(tmp_path / "d.parquet" / f"t={value}" / "a.parquet", ROWS)
    assert sorted({row[1] for row in read(tmp_path / "d.parquet").X.tolist()}) == sorted(map(float, values))
    part(tmp_path / "d.parquet" / "t=__HIVE_DEFAULT_PARTITION__" / "a.parquet", ROWS)
    assert "column 't': found nan" in refusal(tmp_path / "d.parquet")
    assert "has no target: found nan" in refusal(tmp_path / "d.parquet", "t")
