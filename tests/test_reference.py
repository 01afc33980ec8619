"""The committed reference studies still come out the same: a regression of convergence would show here."""

from pathlib import Path

import pytest

import fastgd

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"
STUDIES = sorted((ROOT / "studies" / "reference").glob("*.toml"))
ROUNDING = 1e-9  # what other processors and versions may add: 1e-12 was seen, and a wrong rule shows in 1e-3


def test_there_is_a_reference_of_each_engine_and_all_are_small():
    names = [study.stem for study in STUDIES]
    assert names == ["dense", "landscape", "network", "sparse"] == sorted(path.name for path in REFERENCE.iterdir())
    assert sum(file.stat().st_size for file in REFERENCE.rglob("*")) < 500_000


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_comes_out_as_its_reference(study, tmp_path):
    fastgd.run(fastgd.Study.from_toml(study), out=tmp_path / study.stem, threads=2)
    found = fastgd.compare(REFERENCE / study.stem, tmp_path / study.stem, tolerance=ROUNDING)
    assert len(found.pairs) >= 8
    assert found.pairs["by_name"].all(), "trials have other names: results of before are not found again"
    assert found.only_base.empty
    assert found.only_new.empty
    assert (found.pairs["steps"] == found.pairs["base_steps"]).all()
    assert (found.pairs["status"] == found.pairs["base_status"]).all()
    assert found.pairs["curve_difference"].max() < ROUNDING
    assert found.ok, found.worse[["trial_id", "reason", "final_difference"]]
