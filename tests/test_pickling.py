"""What units of work hold goes to other processes by name: light, and with the same numbers there."""

import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context

import numpy as np
import pytest

from fastgd.common.errors import InputError
from fastgd.datasets import DATASETS
from fastgd.optimizers import BASELINES, OPTIMIZERS, find
from fastgd.optimizers.coasting import Coast, prove_coasting
from fastgd.optimizers.estimators import ESTIMATORS, Estimator
from fastgd.optimizers.line_search import LINE_SEARCHES
from fastgd.optimizers.options import OPTIONS
from fastgd.optimizers.record import Optimizer
from fastgd.optimizers.rule import Round, Rule
from fastgd.problems import LANDSCAPES, MEASURES, Landscape, Loss, find_landscape, find_loss
from fastgd.schedules import SCHEDULES

BUILT_IN = [
    *chain(*(registry.values() for registry in (OPTIMIZERS, BASELINES, OPTIONS, LINE_SEARCHES, ESTIMATORS, SCHEDULES))),
    *chain(LANDSCAPES.values(), MEASURES, DATASETS.values()),
]
BYTES = 300  # a name, and where it is found

MODULE = '''
from typing import NamedTuple
import numpy as np
from fastgd import optimizer
from fastgd.problems import landscape, loss

FACTOR = 3.0

@optimizer(slots=("sum",))
class Mine(NamedTuple):
    """A rule."""
    lr: float
    def rule(h, c, w, g, s):
        return w - FACTOR * h.lr * g, (s[0] + g,)

@loss(targets="real", derivative=lambda z, y: FACTOR * (z - y))
def half(z, y):
    return FACTOR * (z - y) * (z - y) / 2

@landscape(domain=(-1.0, 1.0))
class Bowl(NamedTuple):
    """A bowl."""
    a: float = 2.0
    def value(p, x):
        return p.a * x[0] * x[0]

def bowl(x):
    return FACTOR * x[0] * x[0]

def slope(x, g):
    g[0] = 2 * FACTOR * x[0]
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The name of a user's module."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "pickled_users_module.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "pickled_users_module"


@pytest.fixture(scope="module")
def users(mine):
    """Each kind of record that users write."""
    return [
        find(f"{mine}:Mine"),
        find_loss(f"{mine}:half"),
        find_landscape(f"{mine}:Bowl"),
        find_landscape(f"{mine}:bowl"),
        find_landscape(f"{mine}:bowl", f"{mine}:slope"),
    ]


def rules():
    """Rules of all kinds: with choices, with options, a round of one, and how one coasts."""
    adam = Rule.of(OPTIMIZERS["adam"], {"eps_inside": True})
    clipped = Rule.of(OPTIMIZERS["momentum"], {}, {"clip": "norm", "averaging": "ema"})
    coast = prove_coasting(Rule.of(OPTIMIZERS["momentum"], {}), np.array([[0.1, 0.9, 0.0, 0.0]]), np.zeros(1))
    assert isinstance(coast, Coast)
    return [adam, clipped, Round(clipped, 0), coast]


def told(value):
    """What a value is, and numbers that its functions compute."""
    if isinstance(value, Coast):
        return repr(value), value.step(value.rule.example(), (1.0,), 0.0, (0.5, 0.25))
    if isinstance(value, Round):
        return repr(value), value.sums, value.measure(value.rule.example(), (), 0.5, 0.3, (0.25,) * value.rule.slots, 0)
    if isinstance(value, Optimizer) and not value.baseline:
        value = Rule.of(value, {})
    if isinstance(value, Rule):
        h, slots = value.example(), (0.25,) * value.slots
        c, m = value.functions.prepare(h, 2, value.memory)
        return repr(value), (c, m, value.functions.readout(h, 0.5, slots), value.counts)
    if isinstance(value, Loss):
        return repr(value), value.value(0.3, 1.0), value.derivative(0.3, 1.0)
    if isinstance(value, Landscape):
        at = np.full((value.dimension[0], 1), 0.3)
        return (
            repr(value),
            value.values(value.instance(), at).tobytes(),
            value.gradients(value.instance(), at).tobytes(),
        )
    return value if isinstance(value, Estimator) else (value.name, value.cls.__qualname__)


def test_a_built_in_record_is_pickled_by_its_name_alone():
    for record in BUILT_IN:
        pickled = pickle.dumps(record)
        assert pickle.loads(pickled) is record, record.name
        assert len(pickled) < BYTES, record.name


def test_a_rule_is_light_after_its_use_too():
    for rule in rules():
        told(rule)
        pickled = pickle.dumps(rule)
        assert len(pickled) < 3 * BYTES
        assert repr(pickle.loads(pickled)) == repr(rule)


def test_another_process_computes_the_same(users):
    sent = [record for record in BUILT_IN if record not in DATASETS.values()] + users + rules()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for value, answer in zip(sent, pool.map(told, sent, chunksize=len(sent)), strict=True):
            np.testing.assert_equal(answer, told(value))
        assert pool.submit(pickle.dumps, users).result() == pickle.dumps(users)


def test_a_users_module_that_was_edited_meanwhile_is_refused(users, tmp_path):
    (tmp_path / "pickled_users_module.py").write_text(MODULE.replace("FACTOR = 3.0", "FACTOR = 4.0"))
    (tmp_path / "records.pickle").write_bytes(pickle.dumps(users[0]))
    code = "import pickle; pickle.load(open('records.pickle', 'rb'))"
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"{InputError.__name__}: 'pickled_users_module:Mine' is not the same in two processes" in child.stderr


def test_what_a_script_defines_goes_to_the_processes_that_it_starts(tmp_path):
    script = f"""{MODULE}
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def name_of(record):
    return record.name

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print(*pool.map(name_of, [Mine.optimizer, half.loss, Bowl.landscape]))
"""
    (tmp_path / "script.py").write_text(script)
    child = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.stdout.split() == ["__main__:Mine", "__main__:half", "__main__:Bowl"], child.stderr
