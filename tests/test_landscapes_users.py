"""Landscapes of a user: functions and classes by name, differences, and what is wrong with them."""

import importlib
import linecache
import sys

import numpy as np
import pytest
from landscape_functions import valley

from fastgd.common.errors import InputError
from fastgd.problems import find_landscape


def drawn(record, d, count):
    low, high = record.box(d)[:, :1], record.box(d)[:, 1:]
    return low + np.random.default_rng(0).random((d, count)) * (high - low)


MINE = "landscape_functions"


def test_a_users_function_with_its_gradient():
    record = find_landscape(f"{MINE}:valley", gradient=f"{MINE}:valley_gradient")
    assert record.foreign
    assert not record.difference
    assert record.dimension == (2, 1000)
    assert record.summary == "A valley and a wave."
    assert record.instance() == ()
    assert record.minima((), 2).shape == (0, 2)
    assert record.box(2).tolist() == [[-5, 5]] * 2
    X = drawn(record, 2, 20)
    assert np.array_equal(record.values((), X), valley(X))
    assert {helper.__name__ for helper in record.helpers} >= {"valley", "valley_gradient", "half_square"}


def test_differences_are_the_gradient():
    exact = find_landscape(f"{MINE}:valley", gradient=f"{MINE}:valley_gradient")
    record = find_landscape(f"{MINE}:valley")
    assert record.difference
    assert repr(record) != repr(exact)
    X = drawn(record, 2, 50) / 5
    expected = exact.gradients((), X)
    assert record.gradients((), X) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    single = record.gradients((), X.astype("f4"))
    assert single.dtype == np.float32
    assert single == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_function_of_any_dimension():
    record = find_landscape(f"{MINE}:bowl")
    assert record.dimension == (1, 1000)
    X = drawn(record, 30, 4)
    assert record.gradients((), X) == pytest.approx(X, rel=1e-8, abs=1e-8)


def test_a_users_class():
    record = find_landscape(f"{MINE}:Tilted")
    assert record.name == f"{MINE}:Tilted"
    assert record.foreign
    assert record.difference
    assert record.dimension == (2, 2)
    assert record.start(2).tolist() == [0.5, 1.0]
    p = record.instance(a=3.0)
    X = drawn(record, 2, 10)
    assert record.gradients(p, X) == pytest.approx(np.stack([3 * X[0] + 1, X[1]]), rel=1e-9, abs=1e-9)


def test_an_edited_helper_makes_another_landscape(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "landscape_bowl.py").write_text(
        "from landscape_helper import square\n\ndef f(x):\n    return square(x[0])\n"
    )
    sources = []
    for text in ("return a * a", "return 2 * a * a"):
        (tmp_path / "landscape_helper.py").write_text(f"def square(a):\n    {text}\n")
        for module in ("landscape_bowl", "landscape_helper"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        linecache.checkcache()
        sources.append(find_landscape("landscape_bowl:f").source)
    assert sources[0] != sources[1]


def test_the_same_record_is_found_again():
    assert find_landscape(f"{MINE}:valley") is find_landscape(f"{MINE}:valley")
    assert find_landscape(f"{MINE}:Tilted") is find_landscape(f"{MINE}:Tilted")


@pytest.mark.parametrize(
    ("name", "gradient", "message"),
    [
        ("rosenbrok", None, "did you mean 'rosenbrock'"),
        ("beale", f"{MINE}:valley_gradient", "'beale' has a gradient"),
        ("no_such_module:f", None, "cannot import the module 'no_such_module'"),
        (f"{MINE}:valey", None, "no 'valey'; did you mean 'valley'"),
        (f"{MINE}:NUMBER", None, "neither a function nor a NamedTuple decorated"),
        (f"{MINE}:Undecorated", None, "neither a function nor a NamedTuple decorated"),
        (f"{MINE}:valley", f"{MINE}:valley_gradien", "gradient .* did you mean 'valley_gradient'"),
        (f"{MINE}:valley", f"{MINE}:NUMBER", "gradient 'landscape_functions:NUMBER' is not a function"),
        (f"{MINE}:valley", f"{MINE}:bowl", r"must be a function of \(x, g\) that fills g; it is one of \(x\)"),
        (f"{MINE}:valley_gradient", None, r"must be a function of \(x\); it is one of \(x, g\)"),
        (f"{MINE}:valley", f"{MINE}:wrong_gradient", "'landscape_functions:wrong_gradient' is not that of '.*:valley'"),
        (f"{MINE}:branching", None, r"branching, line 40 of .*, `x\[0\] > 0`: lanes differ"),
        (f"{MINE}:of_math", None, r"`math.sin\(x\[0\]\)`: a value is no single number"),
        (f"{MINE}:summed", None, r"`x \* x`: a point is no array in a kernel"),
        (f"{MINE}:Tilted", f"{MINE}:valley_gradient", "write its gradient there"),
        (f"{MINE}:WronglyTilted", None, "'.*:WronglyTilted.gradient' is not that of"),
    ],
)
def test_what_cannot_be_found(name, gradient, message):
    with pytest.raises(InputError, match=message):
        find_landscape(name, gradient)
