"""What importing costs: reading results and studies never imports Numba, and `import fastgd` next to nothing."""

import json
import subprocess
import sys

import pytest

import fastgd

HEAVY = ("numba", "llvmlite", "sklearn", "scipy", "matplotlib", "pyarrow", "pandas", "torch")

# What a run over dense rows does not need.
UNUSED = (
    *("scipy.sparse", "scipy.spatial", "scipy.stats", "scipy.special", "scipy.linalg", "scipy.optimize"),
    *("sklearn", "matplotlib", "torch"),
)


def imported(code, names=HEAVY):
    """Which of some packages a fresh process has imported after running code."""
    show = f"import sys, json; print(json.dumps([name for name in {names!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy():
    assert imported("import fastgd; fastgd.__version__; dir(fastgd)") == set()


def test_importing_the_package_is_quick():
    """In processor time, which other processes do not change."""
    code = "import time; start = time.process_time(); import fastgd; print(time.process_time() - start)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


def test_modules_that_never_import_numba():
    """None of them does, else a process that imports them all would have it."""
    modules = (
        "analysis",
        "plots",
        "reports",
        "store",
        "store.folder",
        "optimizers",
        "schedules",
        "problems",
        "datasets",
    )
    code = "\n".join(f"import fastgd.{module}" for module in (*modules, "study.config"))
    assert not imported(code) & {"numba", "llvmlite", "matplotlib", "sklearn", "torch"}


def test_a_run_over_dense_rows_imports_little(tmp_path):
    code = f"""
from pathlib import Path
import numpy as np, fastgd
study = fastgd.Study(
    name="dense", epochs=1, batch_size=8, problem={{"loss": "logistic"}}, optimizer={{"name": "sgd", "lr": 0.1}}
)
X = np.random.default_rng(0).normal(size=(40, 3))
fastgd.run(study, Path({str(tmp_path / "r")!r}), data=(X, X[:, 0] > 0))"""
    assert imported(code, UNUSED) == set()


def test_a_run_over_bundled_data_imports_little(tmp_path):
    code = f"""
from pathlib import Path
import fastgd
problem, optimizer = {{"loss": "logistic", "dataset": "breast_cancer"}}, {{"name": "sgd", "lr": 0.1}}
study = fastgd.Study(name="bundled", epochs=1, batch_size=32, problem=problem, optimizer=optimizer)
fastgd.run(study, Path({str(tmp_path / "r")!r}))"""
    assert imported(code, UNUSED) == set()


def test_what_the_command_line_imports(results):
    """`fastgd best` needs pandas and Arrow, and nothing that computes."""
    code = f"""
import sys
from fastgd.cli import main
sys.argv = ["fastgd", "best", {str(results)!r}]
try:
    main()
except SystemExit:
    pass"""
    unused = (*UNUSED, "numba", "llvmlite", "scipy", "fastgd.engine", "fastgd.optimizers", "fastgd.study.config")
    assert imported(code, unused) == set()


def test_numbas_products_of_matrices_work_beside_kernels(tmp_path):
    """Numba is not asked for a BLAS when kernels are loaded, and finds it when someone needs it."""
    code = """
import sys
from fastgd.engine.rows.order import shuffle
import numpy as np
shuffle(np.empty(8, np.int32), 0, 0)
assert "numba.np.arraymath" in sys.modules and "scipy.linalg" not in sys.modules
import numba
from numba.np import arraymath, linalg
assert arraymath._HAVE_BLAS and linalg.ensure_blas.__name__ == "ensure_blas"
A = np.arange(6.0).reshape(2, 3)
assert (numba.njit(lambda A, B: A @ B)(A, A.T.copy()) == A @ A.T).all()
"""
    assert imported(code, ("scipy.linalg",)) == {"scipy.linalg"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    from small_studies import run

    folder = tmp_path_factory.mktemp("imports") / "r"
    run(folder, record={"parameters": "all"})
    return folder


def test_results_reload_without_numba(results):
    """Everything that results can be asked, and a plot of them."""
    code = f"""
import fastgd
from fastgd.plots import plot
results = fastgd.load({str(results)!r})
assert len(results.best()) == 4
assert len(results.curves) == results.curves_dataset.count_rows() == 16
results.trials, results.timings, results.manifest, results.study
results.parameters(results.trials["trial_id"][0])
plot(results, "curves")
"""
    assert not imported(code) & {"numba", "llvmlite", "sklearn", "torch"}


def test_a_study_is_read_without_numba(results):
    code = f"""
import fastgd
study = fastgd.Study.from_toml({str(results / "study.toml")!r})
assert study.optimizer[0].name == "momentum"
fastgd.Study(name="x", epochs=1, problem={{"loss": "logistic"}}, optimizer={{"name": "adam", "lr": 0.1}}).to_toml()
"""
    assert not imported(code) & {"numba", "llvmlite", "sklearn", "matplotlib", "torch"}


def test_running_imports_neither_plots_nor_witnesses(results):
    assert not imported("import fastgd; fastgd.run") & {"matplotlib", "torch", "sklearn"}


def test_modules_are_there_without_an_import_of_their_own():
    code = """
import fastgd
assert fastgd.optimizers.OPTIMIZERS["adam"].slots == fastgd.optimizers.find("adam").slots
fastgd.schedules.SCHEDULES["cosine"], fastgd.problems.LOSSES["logistic"], fastgd.datasets.DATASETS["flights"]
fastgd.plots.PLOTS["curves"], fastgd.analysis.load
assert {"optimizers", "plots", "schedules", "problems", "datasets", "analysis"} <= set(dir(fastgd))
"""
    assert not imported(code) & {"numba", "llvmlite", "matplotlib", "sklearn", "torch"}


def test_every_public_name_is_there():
    for name in fastgd.__all__:
        assert getattr(fastgd, name) is not None
        assert name in dir(fastgd)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fastgd.nonsense  # noqa: B018
