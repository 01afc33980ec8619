"""The committed reference study still comes out the same: a regression of convergence would show here."""

from pathlib import Path

import numpy as np

import fastgd

ROOT = Path(__file__).parent.parent
STABLE = 0.1  # rates above it bounce, and amplify the rounding of another processor's kernels


def test_the_first_study_comes_out_as_the_reference(tmp_path):
    reference = fastgd.load(ROOT / "results" / "reference" / "first")
    results = fastgd.run(fastgd.Study.from_toml(ROOT / "studies" / "first.toml"), out=tmp_path / "first")
    assert set(results.trials["trial_id"]) == set(reference.trials["trial_id"])
    stable = reference.trials.loc[reference.trials["lr"] <= STABLE, "trial_id"]
    assert len(stable) >= 5
    found, wanted = (r.curves.set_index(["trial_id", "step"]).sort_index().loc[stable] for r in (results, reference))
    for metric in ("loss", "validation_loss", "param_norm", "lr"):
        np.testing.assert_allclose(found[metric], wanted[metric], rtol=1e-9, err_msg=metric)
