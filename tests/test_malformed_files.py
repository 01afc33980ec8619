"""Data files that claim, or unpack to, more than there is: refused before they are read."""

import gzip
import io
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastgd import InputError, Study
from fastgd.common.system import MemoryLimit
from fastgd.datasets import Source, load, load_points, record
from fastgd.datasets.readers import reading
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data


def npy(shape, content=b"\0" * 64):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.fixture
def small_memory(monkeypatch):
    """Of a process that may use 100 kB."""
    monkeypatch.setattr(record, "memory_limits", lambda: [MemoryLimit("the machine's", 100_000, 0)])
    monkeypatch.setattr(reading, "memory", lambda: 100_000)


def test_arrays_whose_header_claims_more_than_there_is(tmp_path):
    (tmp_path / "points.npy").write_bytes(npy("(1000000000000, 2)"))
    with pytest.raises(InputError, match=r"the array is cut: .* take 16,000,000,000,000 bytes, and there are \d+"):
        load_points(tmp_path / "points.npy")
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        for name in ("X.npy", "y.npy"):
            archive.writestr(name, npy("(1000000000000,)"))
    with pytest.raises(
        InputError, match=r"rows\.npz: X is cut: \(1000000000000,\) of float64 take 8,000,000,000,000 b"
    ):
        load(Source(path=str(tmp_path / "rows.npz")))


def test_archives_that_unpack_to_more_than_memory_holds(tmp_path, small_memory):
    file = tmp_path / "rows.npz"
    np.savez_compressed(file, X=np.zeros((10_000, 2)), y=np.zeros(10_000))
    with pytest.raises(InputError, match=r"rows\.npz: X, \(10000, 2\) of float64, take .* more than half of the"):
        load(Source(path=str(file)))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zip"])
def test_text_that_memory_does_not_hold(tmp_path, small_memory, suffix):
    text, file = b"y,x\n" + b"0,1.5\n" * 20_000, tmp_path / f"rows.csv{suffix}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", text)
    file.write_bytes({"": text, ".gz": gzip.compress(text), ".zip": packed.getvalue()}[suffix])
    with pytest.raises(InputError, match=r"rows\.csv.*: [\d,]+ bytes.* take 120 kB as text, more than half of the"):
        load(Source(path=str(file), target="y"))


def test_text_that_unpacks_to_a_thousand_times_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "UNSUSPECTED", 1 << 20)
    file = tmp_path / "rows.svm.gz"
    file.write_bytes(gzip.compress(b"1 1:1\n" * 1_000_000))
    with pytest.raises(InputError, match=r"rows\.svm\.gz: unpacks to more than 200 times its size, .* unpack it first"):
        load(Source(path=str(file)))
    monkeypatch.setattr(reading, "UNSUSPECTED", 1 << 30)
    assert load(Source(path=str(file))).X.shape == (1_000_000, 1)


def test_a_table_of_many_rows_in_few_bytes(tmp_path, small_memory):
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array(np.zeros(50_000)), "y": pa.array(np.zeros(50_000))}), file)
    assert file.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"rows\.parquet: 50,000 rows of 2 columns take .* as a table"):
        load(Source(path=str(file), target="y"))


@pytest.mark.parametrize("suffix", ["svm", "parquet"])
def test_an_index_whose_parameters_memory_does_not_hold(tmp_path, monkeypatch, suffix):
    file = tmp_path / f"rows.{suffix}"
    if suffix == "svm":
        file.write_text("1 1:1\n0 200000000:1\n")
    else:
        pq.write_table(pa.table({"indices": [[0], [199_999_999]], "values": [[1.0], [1.0]], "y": [0.0, 1.0]}), file)
    problem = {"loss": "logistic", "path": str(file)} | ({"target": "y"} if suffix == "parquet" else {})
    study = Study(name="a", epochs=1, problem=problem, optimizer={"name": "sgd", "lr": 0.1})
    data = load_data(study, None, lambda _: None)
    monkeypatch.setattr(record, "memory_limits", lambda: [MemoryLimit("the machine's", 16_000_000_000, 0)])
    with pytest.raises(
        InputError, match=r"the parameters of a few trials, 200,000,000 each, take 12.8 GB as .*fewer f"
    ):
        make_plan(study, data)


def test_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"rows\.csv: is a pipe or a device; data are read from files"):
        load(Source(path=str(tmp_path / "rows.csv"), target="y"))
    (tmp_path / "points.npy").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a pipe or a device"):
        load_points(tmp_path / "points.npy")
