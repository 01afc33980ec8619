"""Figures of peers as data, and README's tables, which are made of them."""

import runpy
from types import SimpleNamespace

import pandas as pd
import pytest
from doc_blocks import ROOT

from benchmarks.peers import records
from benchmarks.peers.compare import Comparison, Row
from benchmarks.peers.job import Job

LIMITS = SimpleNamespace(gflops_float64=100.0, gflops_float32=200.0, gbytes=30.0)


def comparisons():
    """Two types, two orders, three contenders, of which one is wrong."""
    found = []
    for dtype, order in (
        ("float64", "sequential"),
        ("float32", "sequential"),
        ("float64", "shuffle"),
        ("float32", "shuffle"),
    ):
        job = Job(1_000_000, 100, 64, 64, dtype, order)
        faster = 2.0 if dtype == "float32" else 1.0
        rows = [
            Row("fastgd", "2 threads", [0.4 / faster, 0.41 / faster, 0.5 / faster], 64, 1e-15, 1e-9),
            Row("fastgd", "1 thread", [0.8, 0.8, 0.8], 64, 1e-15, 1e-9),
            Row("JAX split", "matrix, lanes split over threads", [0.6, 0.6, 0.6], 64, 1e-15, 1e-9),
            Row("JAX", "vmap", [0.1, 0.1, 0.1], 64, 0.5, 1e-9),
            Row("scikit-learn", "one by one, b = 1", [16.0, 16.0, 17.0], 4, 1e-3, 5e-2),
        ]
        found.append(Comparison(job, LIMITS, rows, []))
    return found


def test_figures_are_stored_as_parquet_and_as_a_page(tmp_path):
    files = records.store(comparisons(), "linear", tmp_path)
    figures = pd.read_parquet(files[0])
    assert len(figures) == 20
    own = figures[
        (figures["contender"] == "fastgd") & (figures["form"] == "2 threads") & (figures["dtype"] == "float64")
    ]
    assert own["seconds"].tolist() == [0.41] * 2
    assert own["least_seconds"].tolist() == [0.4] * 2
    assert own["ratio"].tolist() == [1.0] * 2
    assert own["share_of_peak"].iloc[0] == pytest.approx(4e-9 * 1e6 * 100 * 64 / 0.41 / 100)
    assert figures.groupby("contender")["agrees"].all().to_dict()["JAX"] is False or not figures["agrees"].all()
    page = files[1].read_text()
    assert "| scikit-learn | one by one, b = 1 | 16.0000 | 39.02 |" in page
    assert "1,000,000 x 100, b = 64, 64 lanes, float32, shuffle" in page


def test_readmes_table_is_made_of_the_figures(tmp_path):
    records.store(comparisons(), "linear", tmp_path)
    made = runpy.run_path(str(ROOT / "docs" / "list_peers.py"))
    made["linear"].__globals__["FIGURES"] = tmp_path
    text = made["linear"]()
    first, last = (" ".join(part.split()) for part in (text.partition("\n|")[0], text.rpartition("|\n")[2]))
    assert "1,000,000 x 100 rows, b = 64" in first
    assert "medians of 3 alternated rounds" in first
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[2] == "| **fastgd** | 0.41 | 1 | 0.20 | 1 |"
    assert table[3].startswith("| JAX, one product for all lanes, lanes split over threads by hand | 0.60 | 1.5 |")
    assert table[4] == "| scikit-learn's SGD, one by one (4 of 64 measured, scaled) | 16.0 | 39 | 16.0 | 78 |"
    assert len(table) == 5, "who reached another loss is no contender"
    assert "In shuffled order it took 0.41 and 0.20 s, the fastest form of another 0.60 and 0.60 s" in last


def test_a_stale_readme_is_seen(tmp_path):
    """With other figures the page is another one, in its place and nowhere else; without any it stays."""
    made = runpy.run_path(str(ROOT / "docs" / "list_peers.py"))
    text = made["PAGE"].read_text(encoding="utf-8")
    made["page"].__globals__["FIGURES"] = tmp_path
    assert made["page"]() == text
    records.store(comparisons(), "linear", tmp_path)
    page = made["page"]()
    assert "| **fastgd** | 0.41 | 1 | 0.20 | 1 |" in page
    for mark in ("<!-- peers: linear -->", "<!-- end of linear -->"):
        assert page.count(mark) == text.count(mark) == 1
    assert page.partition("<!-- peers: linear -->")[0] == text.partition("<!-- peers: linear -->")[0]
    assert page.partition("<!-- end of linear -->")[2] == text.partition("<!-- end of linear -->")[2]


def test_a_readme_without_a_place_is_refused(tmp_path):
    made = runpy.run_path(str(ROOT / "docs" / "list_peers.py"))
    (tmp_path / "README.md").write_text("# nothing\n")
    made["page"].__globals__["PAGE"] = tmp_path / "README.md"
    with pytest.raises(ValueError, match="no place for the table 'linear'"):
        made["page"]()
