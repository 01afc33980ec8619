"""Data files that are damaged, cut, not what they say, or far larger inside than outside."""

import bz2
import gzip
import io
import lzma
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from campaign.attack import STALL, Attack, Found
from campaign.kept import fault, keep
from fastgd.datasets import Source, load, load_points, prepare

Make = Callable[[np.random.Generator], bytes]
HUGE = 200_000_000


def _rows(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n, d = int(random.integers(1, 40)), int(random.integers(1, 6))
    X = random.standard_normal((n, d)) * 10.0 ** random.integers(-3, 4)
    return X, (random.random(n) < 0.5).astype(float)


def _csv(random: np.random.Generator) -> bytes:
    X, y = _rows(random)
    names = [f"x{j}" for j in range(X.shape[1])] + ["y"]
    odd = [*("nan", "inf", "", "1e999", "x", '"', "1,5", "\x00", "é", "\x1b[31m", "9" * 400, "#", "-"), "\u202e1"]
    lines = [[*map(repr, map(float, row)), repr(float(label))] for row, label in zip(X, y, strict=True)]
    for _ in range(random.integers(3)):
        line = lines[random.integers(len(lines))]
        line[random.integers(len(line))] = odd[random.integers(len(odd))]
    if random.random() < 0.2:
        lines[random.integers(len(lines))] *= int(random.integers(2, 50))
    mark = ",;\t "[random.integers(4)] if random.random() < 0.2 else ","
    encoding = ["utf-8", "utf-16", "latin-1", "utf-8-sig", "utf-32"][random.integers(5) if random.random() < 0.3 else 0]
    return "\n".join(map(mark.join, [names, *lines])).encode(encoding, errors="replace")


def _svm(random: np.random.Generator) -> bytes:
    X, y = _rows(random)
    index = [1, 0, 2, HUGE, 2**31 - 1, 2**31, 2**40, 10**30][random.choice(8, p=[0.3, *[0.1] * 7])]
    lines = [
        f"{label:g} " + " ".join(f"{j + 1}:{v:g}" for j, v in enumerate(row)) for row, label in zip(X, y, strict=True)
    ]
    lines.append(f"1 {index}:1")
    odd = ["1 a:b", "1 2:1 1:1", "1 1:1 1:2", "x 1:1", "1 -1:2", "", "# note", "1 qid:3 1:1", "1 1:nan", "1 1:", "1 :1"]
    if random.random() < 0.4:
        lines.insert(random.integers(len(lines)), odd[random.integers(len(odd))])
    return "\n".join(lines).encode()


def _table(random: np.random.Generator) -> pa.Table:
    X, y = _rows(random)
    if random.random() < 0.4:  # of lists
        high = [5, HUGE, 2**31 - 1, 2**40][random.choice(4, p=[0.7, 0.1, 0.1, 0.1])]
        lists = [sorted({*random.integers(0, 5, 3).tolist(), high}) for _ in y]
        values = [[1.0] * (len(each) + int(random.random() < 0.02)) for each in lists]
        return pa.table({"indices": lists, "values": values, "y": y})
    columns = {f"x{j}": X[:, j] for j in range(X.shape[1])} | {"y": y}
    kinds = [None, "text", True, {"a": 1}, b"\xff", 2**62, [1.0]]
    if random.random() < 0.4:
        columns[f"x{random.integers(9)}"] = [kinds[random.integers(len(kinds))]] * len(y)
    return pa.table(columns)


def _parquet(random: np.random.Generator) -> bytes:
    if random.random() < 0.05:  # a few bytes stand for many rows
        many = pa.array(np.zeros(3_000_000), pa.float64()).dictionary_encode()
        table = pa.table({"x0": many, "y": many})
    else:
        table = _table(random)
    out = io.BytesIO()
    pq.write_table(table, out, compression=["none", "snappy", "zstd"][random.integers(3)])
    return out.getvalue()


def _arrow(random: np.random.Generator) -> bytes:
    table = _table(random)
    if random.random() < 0.3:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(random.standard_normal(3 * len(table))), 3)
        table = pa.table({"x": rows, "y": table["y"]})
    out, new = io.BytesIO(), [pa.ipc.new_file, pa.ipc.new_stream][random.integers(2)]
    options = pa.ipc.IpcWriteOptions(compression=[None, "lz4", "zstd"][random.integers(3)])
    with new(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=int(random.integers(1, 40)))
    return out.getvalue()


def _npy(random: np.random.Generator) -> bytes:
    X, _ = _rows(random)
    kinds = [
        X,
        X.astype("f4"),
        X.astype(complex),
        X.astype("U8"),
        X.astype(object),
        np.full_like(X, np.nan),
        X[0, 0],
        X[:0],
    ]
    out = io.BytesIO()
    np.save(out, kinds[random.integers(len(kinds))], allow_pickle=True)
    return _lie(out.getvalue(), random)


def _lie(array: bytes, random: np.random.Generator) -> bytes:
    """Let an array's header claim another shape."""
    if random.random() < 0.7:
        return array
    end = array.find(b"\n")
    shapes = [b"(1000000000000, 2)", b"(-1, 2)", b"(1000000000,)", b"(" * 200 + b")" * 200, b"(2, 2, 2)", b"9" * 5001]
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': " + shapes[random.integers(len(shapes))] + b", }\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + array[end + 1 :]


def _npz(random: np.random.Generator) -> bytes:
    X, y = _rows(random)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("X", X), ("y", y)):
            inner = io.BytesIO()
            np.save(inner, array)
            archive.writestr(f"{name}.npy", _lie(inner.getvalue(), random))
        if random.random() < 0.1:
            archive.writestr("inner.zip", out.getvalue())
    return out.getvalue()


KINDS: dict[str, Make] = {
    **{".csv": _csv, ".svm": _svm, ".parquet": _parquet, ".arrow": _arrow},
    **{".npz": _npz, ".npy": _npy},
}
PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def _zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.csv", content)
    return out.getvalue()


PACKED[".zip"] = _zipped


def _damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut a file, change some of its bytes, or put others in; mostly at its ends, where formats say what they are."""
    size = len(content)
    at = int(random.integers(size + 1))
    if size > 60 and random.random() < 0.4:
        at = int(random.integers(40)) if random.random() < 0.5 else size - int(random.integers(40))
    match random.integers(6):
        case 0:
            return content[:at]
        case 1:
            return content[at:]
        case 2:
            return content[:at] + random.bytes(int(random.integers(1, 20))) + content[at:]
        case 3:
            return content[:at] + content[at + int(random.integers(1, 20)) :]
        case 4:
            changed = bytearray(content)
            for place in random.integers(0, max(1, size), int(random.integers(1, 6))):
                changed[place : place + 1] = bytes([int(random.integers(256))])
            return bytes(changed)
    return b""


def file(random: np.random.Generator) -> tuple[str, bytes]:
    """Return the suffix and the content of a file that is wrong somewhere."""
    suffix = list(KINDS)[random.integers(len(KINDS))]
    content = KINDS[suffix](random)
    if suffix in (".csv", ".svm") and random.random() < 0.3:
        packed = list(PACKED)[random.integers(len(PACKED))]
        if random.random() < 0.05:
            content += b"0" * 5_000_000
        content = PACKED[packed](content)
        if random.random() < 0.1:
            content = PACKED[packed](content)
        suffix += packed
    if random.random() < 0.6:
        content = _damaged(content, random)
    return suffix, content


def read(path: Path) -> None:
    """Read a data file as a study does, and check that what was read are numbers."""
    if path.suffix == ".npy":
        assert np.isfinite(load_points(path)).all()
        return
    target = "y" if {".csv", ".parquet", ".arrow"} & set(path.suffixes) else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said in passing
        dataset = load(Source(path=str(path), target=target))
        data = prepare(dataset, targets="real")
        values = data.X if isinstance(data.X, np.ndarray) else data.X.data
    assert np.isfinite(values).all()
    assert np.isfinite(data.y).all()
    assert len(data.y) == data.X.shape[0]


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    import sklearn.datasets  # noqa: F401 (the first one takes its time)

    failures = []
    for _ in range(tries):
        suffix, content = file(random)
        path = folder / f"rows{suffix}"
        path.write_bytes(content)
        if found := fault(lambda path=path: read(path)):
            failures.append(f"{found}: {keep(content, 'files', suffix)}")
        path.unlink()
    return Found(tries, failures)


ATTACK = Attack(
    name="malformed files",
    promise=f"numbers, or refused with one message that names the file, within {STALL:.0f} s",
    test="tests/test_malformed_files.py",
    make=make,
    tries=1_000,
    few=60,
    beyond="a changed byte that leaves the file a right one of other numbers",
)
