"""Users' own code: told apart by everything that it is made of, and refused in one message that names the line."""

import gc
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastgd
from fastgd.common.errors import InputError
from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.plan.ids import rule_of
from fastgd.problems import find_landscape, find_loss
from fastgd.user_code.checks import refused_by_compiler
from fastgd.user_code.sources import functions_of, modules_of, reached, source_of

PACKAGE = Path(fastgd.__file__).parent

RULE = """
import math
from typing import NamedTuple

import numpy as np

import fastgd
from fastgd.optimizers import Decay, NonNegative, Rate, Slots, Step, Value
{imports}

{before}
@fastgd.optimizer(slots=("mean",))
class Mine(NamedTuple):
    \"\"\"Momentum of one's own.\"\"\"

    lr: Rate
    beta: Decay = 0.9
    power: NonNegative = 0.5

    def prepare(h, t: int) -> Slots:
        return (h.lr * {factor},)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta * s[0] + (1 - h.beta) * g
        {body}
"""
LINES = [line.partition("h, c")[0] for line in RULE.splitlines()]
GOOD = "return w - c[0] * m, (m,)"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules of a user's; each is imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def rule(body=GOOD, imports="", before="", factor="1"):
    return RULE.format(body=body, imports=imports, before=before, factor=factor)


# --- identity ---------------------------------------------------------------------------------------------------------


def sources_of(module, text, helper, changed, more=()):
    found = []
    for content in (helper, helper, changed):
        for name, other in more:
            module(name, other)
        module("own_constants", content)
        module("own_rule", text)
        found.append(find("own_rule:Mine").source)
    return found


@pytest.mark.parametrize(
    ("imports", "factor"),
    [
        ("from own_constants import FACTOR", "FACTOR"),
        ("import own_constants", "own_constants.FACTOR"),
        ("import own_constants as oc\nF = 2 * oc.FACTOR", "F"),
        ("from own_constants import *", "FACTOR"),
        ("import own_between", "own_between.factor()"),
        ("from own_between import factor", "factor()"),
    ],
)
def test_a_constant_in_another_file_makes_another_rule(module, imports, factor):
    between = "import own_constants\n\ndef factor():\n    return own_constants.FACTOR\n"
    text = rule(imports=imports, factor=factor)
    first, again, edited = sources_of(module, text, "FACTOR = 1.0\n", "FACTOR = 3.0\n", [("own_between", between)])
    assert first == again
    assert first != edited


def test_a_package_of_ones_own_counts_whole(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "rules.py").write_text(rule(imports="from .numbers import FACTOR", factor="FACTOR"))
    found = []
    for factor in ("1.0", "2.0"):
        (tmp_path / "own_package" / "numbers.py").write_text(f"FACTOR = {factor}\n")
        for name in [name for name in sys.modules if name.startswith("own_package")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        found.append(find("own_package.rules:Mine").source)
    assert found[0] != found[1]


@pytest.mark.parametrize("factor", ["FACTOR", "of_default()"])
def test_a_constant_that_no_text_shows_makes_another_rule(module, monkeypatch, factor):
    """Kernels freeze the value, wherever it came from."""
    found, before = [], "def of_default(x=FACTOR):\n    return x\n"
    for value in ("1.0", "1.0", "2.0"):
        monkeypatch.setenv("OWN_FACTOR", value)
        imports = "import os\nFACTOR = float(os.environ['OWN_FACTOR'])"
        module("own_rule", rule(imports=imports, before=before, factor=factor))
        found.append(find("own_rule:Mine").source)
    assert found[0] == found[1] != found[2]


def test_a_constant_that_changes_while_it_is_in_use_is_refused(module):
    """What was compiled keeps its value: neither would its name be new, nor its numbers."""
    helper = "FACTOR = 1.0\n\ndef factor():\n    return FACTOR\n"
    module("own_helper", helper)
    module("own_rule", rule(imports="import own_helper", factor="own_helper.factor()"))
    assert rule_of(Rule.of(find("own_rule:Mine"), {}))[1] == rule_of(Rule.of(find("own_rule:Mine"), {}))[1]
    sys.modules["own_helper"].FACTOR = 3.0
    with pytest.raises(InputError, match="factor reads FACTOR, which has changed since it was"):
        rule_of(Rule.of(find("own_rule:Mine"), {}))
    module("own_rule", rule(imports="import own_helper", factor="2 * own_helper.factor()"))
    with pytest.raises(InputError, match="define factor anew, or reload own_helper"):
        rule_of(Rule.of(find("own_rule:Mine"), {}))
    importlib.reload(sys.modules["own_helper"])
    with pytest.raises(InputError, match=r"prepare reads own_helper\.factor, which has changed"):
        rule_of(Rule.of(find("own_rule:Mine"), {}))
    importlib.reload(sys.modules["own_rule"])
    rule_of(Rule.of(find("own_rule:Mine"), {}))


def test_a_variable_that_is_called_as_a_hyper_parameter_is_none_of_the_rule(module):
    module("own_rule", rule())
    before = rule_of(Rule.of(find("own_rule:Mine"), {}))
    sys.modules["own_rule"].lr = 5.0
    assert rule_of(Rule.of(find("own_rule:Mine"), {})) == before
    assert source_of("own_rule", functions_of(find("own_rule:Mine").cls)) == before[1][0]


def test_a_rule_is_made_of_what_its_class_says_alone(module):
    """What every NamedTuple has is no part of it, whether or not garbage was collected meanwhile."""
    gc.collect()
    module("own_rule", rule())
    assert {function.__name__ for function in functions_of(find("own_rule:Mine").cls)} == {"prepare", "rule"}


@pytest.mark.parametrize("first", ["", None])
def test_functions_of_modules_in_packages_are_reached(tmp_path, monkeypatch, first):
    """As `package.module.function`, also where the package has no file of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    package = f"own_folder_{first is None}"
    (tmp_path / package).mkdir()
    if first is not None:
        (tmp_path / package / "__init__.py").write_text(first)
    (tmp_path / package / "numbers.py").write_text("def factor():\n    return 2.0\n")
    (tmp_path / f"of_{package}.py").write_text(
        rule(imports=f"import {package}.numbers", factor=f"{package}.numbers.factor()")
    )
    found = reached(functions_of(find(f"of_{package}:Mine").cls))
    assert "factor" in {function.__name__ for function in found}


def test_what_is_edited_after_the_import_is_not_what_runs(module):
    """A module is known by its text when it was imported; reloaded, by its text then."""
    module("own_rule", rule())
    imported = find("own_rule:Mine")
    path = Path(sys.modules["own_rule"].__file__)
    path.write_text(rule(factor="2"))
    assert find("own_rule:Mine").source == imported.source
    module("own_rule", rule())
    assert find("own_rule:Mine").source == imported.source
    os.utime(path, (1, 1))
    path.write_text(rule(factor="2"))
    reloaded = importlib.reload(sys.modules["own_rule"])
    assert reloaded.Mine.optimizer.source != imported.source


def test_modules_of_others_do_not_count(module):
    """An installed library has versions, which are not part of a trial."""
    module("own_rule", rule(imports="import scipy.special\nimport statistics", factor="1"))
    one = find("own_rule:Mine").source
    assert modules_of("own_rule") == ["own_rule"]
    assert len(one) == 16


STUDY = """
import json, sys
import fastgd
study = fastgd.Study(
    name="own", epochs=2, batch_size=16, problem={"loss": "own_losses:half_square", "synthetic": {"n": 50, "d": 3}},
    optimizer={"name": "own_rule:Mine", "lr": 0.5},
)
results = fastgd.run(study, "out", fresh=len(sys.argv) > 1)
trials = results.trials[results.trials["in_study"]]
print(json.dumps([trials["trial_id"].tolist(), trials["final_loss"].tolist(), len(results.trials)]))
"""
LOSSES = """
from fastgd.problems import loss
from own_constants import HALF

def slope(z, y):
    return 2 * HALF * (z - y)

@loss(targets="real", derivative=slope)
def half_square(z, y):
    \"\"\"`HALF (z - y)^2`.\"\"\"
    return HALF * (z - y) * (z - y)
"""


@pytest.mark.full
def test_an_edited_helper_gives_new_machine_code_and_new_trials(tmp_path):
    """In other processes, in the same folder and in a fresh one: rules and losses."""
    (tmp_path / "own_rule.py").write_text(rule(imports="from own_constants import FACTOR", factor="FACTOR"))
    (tmp_path / "own_losses.py").write_text(LOSSES)
    found = []
    for factor, half, arguments in ((1.0, 0.5, []), (0.5, 0.5, []), (0.5, 0.25, []), (0.25, 0.25, ["fresh"])):
        (tmp_path / "own_constants.py").write_text(f"FACTOR = {factor}\nHALF = {half}\n")
        done = subprocess.run(
            [sys.executable, "-B", "-c", STUDY, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False,
            env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout))
    ids, losses, counts = zip(*found, strict=True)
    assert len({tuple(each) for each in ids}) == 4
    assert len({tuple(each) for each in losses}) == 4
    assert counts == (1, 2, 3, 1)


def test_the_examples_of_the_docs_are_what_they_say(module):
    page = (PACKAGE.parent / "docs" / "your_own.md").read_text()
    powered, pinball = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module("my_rules", powered)
    module("my_losses", pinball)
    assert find("my_rules:Powered").hyper == {"lr": None, "beta": 0.9, "power": 0.5}
    assert Rule.of(find("my_rules:Powered"), {}).linear_in_rate
    assert find_loss("my_losses:pinball").targets == "real"


# --- without a file ---------------------------------------------------------------------------------------------------


def at_a_prompt(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def test_a_rule_that_is_written_at_a_prompt(tmp_path):
    """Known by its byte code, constants and helpers: the same in every process, another where one of them is."""
    code = rule(before="FACTOR = 2.0\n\ndef doubled(x):\n    return 2 * x\n", factor="doubled(FACTOR)")
    code += "\nfrom fastgd.optimizers import find\nprint(find('__main__:Mine').source)\n"
    texts = (
        code,
        code,
        code.replace("2.0", "3.0"),
        code.replace("2 * x", "3 * x"),
        code.replace("* m, (m,)", "* g, (m,)"),
    )
    found = [at_a_prompt(text, tmp_path) for text in texts]
    assert [error for _, error in found] == [""] * 5
    sources = [output for output, _ in found]
    assert sources[0] == sources[1]
    assert len(set(sources)) == 4


def test_a_rule_that_exec_makes_needs_a_module(tmp_path):
    code = f"""
    import fastgd
    space = {{"__name__": "nowhere"}}
    exec({rule()!r}, space)
    record = space["Mine"].optimizer
    print(record.name, len(record.source))
    try:
        fastgd.optimizers.find(record.name)
    except fastgd.InputError as error:
        print(error)
    """
    output, error = at_a_prompt(code, tmp_path)
    assert error == ""
    assert output.startswith("nowhere:Mine 16\noptimizer 'nowhere:Mine': cannot import the module 'nowhere'")


# --- messages ---------------------------------------------------------------------------------------------------------

MISTAKES = {
    "too few slots": ("return w - c[0] * m, ()", "returns 0 slots where there are 1 (mean)"),
    "too many slots": ("return w - c[0] * m, (m, m)", "returns 2 slots where there are 1 (mean)"),
    "three things": ("return w - c[0] * m, (m,), m", "returns 3 things; it must return (parameter, slots)"),
    "the parameter alone": ("return w - c[0] * m", "returns one value; it must return (parameter, slots)"),
    "nothing": ("m = m", "returns a NoneType; it must return (parameter, slots)"),
    "a list": ("return w - c[0] * m, [m]", "a list; write a tuple"),
    "a list of values": ("return w - c[0] * m, tuple([x for x in (m,)])", "a list; write a tuple, or a loop"),
    "a number": ("return w - c[0] * m, (0.0,)", "returns the number 0.0 for one of the slots"),
    "an import": ("import math; return w - c[0] * m, (m,)", "an import inside a function; import at the top"),
    "a misspelt name": ("return w - c[0] * mm, (m,)", "`mm`: name 'mm' is not defined"),
    "a misspelt field": ("return w - h.rate * m, (m,)", "`h.rate`: 'Mine' object has no attribute 'rate'"),
    "a misspelt function": ("return w - np.srt(m), (m,)", "`np.srt`: module 'numpy' has no attribute 'srt'"),
    "too many quantities": ("return w - c[1] * m, (m,)", "`c[1]`: tuple index out of range"),
    "math": ("return w - math.sqrt(m), (m,)", "`math.sqrt(m)`: a value is no single number"),
    "another function": ("return w - np.sort(m), (m,)", "`np.sort(m)`: np.sort is not available; a kernel has"),
    "clip": ("return w - np.clip(m, -1, 1), (m,)", "write np.minimum(np.maximum(x, low), high)"),
    "a method": ("return w - m.sum(), (m,)", "`m.sum`: a value has no 'sum' in a kernel"),
    "if": ("return (w if m > 0 else g), (m,)", "`m > 0`: lanes differ, so there is no `if`"),
    "and": ("return np.where(m > 0 and g > 0, w, g), (m,)", "lanes differ, so there is no `if`"),
    "max": ("return w - max(m, 0), (m,)", "write np.where(x > 0, a, b), np.maximum or np.minimum"),
    "conditions": ("return np.where((m > 0) & (g > 0), w, g), (m,)", "conditions are not joined with & or |"),
    "a condition turned round": ("return np.where(~(m > 0), w, g), (m,)", "nor turned round with ~"),
    "rounding": ("return w - round(m, 2), (m,)", "`round(m, 2)`: a value is no single number"),
    "an array of values": ("return w - np.array((m, g))[0], (m,)", "`np.array((m, g))`: a value is no single number"),
    "a condition as a number": ("return w - (m > 0) * g, (m,)", "is a condition of np.where, and nothing else"),
    "equality": ("return np.where(m == 0, w, g), (m,)", "`m == 0`: == is not available; write np.abs(x - y) <= 0"),
    "print": ("print('here'); return w - m, (m,)", "print; a kernel prints nothing"),
    "print of a value": ("print(w); return w - m, (m,)", "print; a kernel prints nothing"),
    "text": ("a = str(w); return w - m, (m,)", "`str(w)`: values have no text in a kernel"),
    "an f-string": ("a = f'{w}'; return w - m, (m,)", "an f-string; values have no text in a kernel"),
    "a keyword": ("return w - np.maximum(m, 0, dtype=float), (m,)", "np.maximum takes no keyword arguments"),
    "integer division": ("return w - m // 2, (m,)", "`m // 2`: // is not available; write np.floor(x / y)"),
    "a remainder": ("return w - m % 2, (m,)", "`m % 2`: % is not available; write x - y * np.floor(x / y)"),
    "an array": ("return w - np.ones(3) * m, (m,)", "a value does not go with a ndarray"),
    "random numbers": ("return w - m * np.random.rand(), (m,)", "random numbers; a trial has the same bits"),
    "assert": ("assert h.lr > 0; return w - m, (m,)", "assert; nothing is raised in a kernel"),
}


@pytest.mark.parametrize(("body", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_rule_is_one_message_with_its_line(module, body, message):
    module("own_mistake", rule(body))
    with pytest.raises(InputError) as caught:
        fastgd.Study(
            name="x",
            epochs=1,
            batch_size=8,
            problem={"loss": "logistic"},
            optimizer={"name": "own_mistake:Mine", "lr": 1},
        )
    text = str(caught.value)
    line = LINES.index("    def rule(" if "returns" in message else "        {body}") + 1
    assert "optimizer 'own_mistake:Mine': rule, line" in text
    assert f"line {line} of own_mistake.py" in text
    assert message in text
    assert text.count("\n") <= 1


def test_a_mistake_in_a_helper_is_named_there(module):
    module("own_helper", "import math\n\n\ndef root(x):\n    return math.sqrt(x)\n")
    module("own_mistake", rule("return w - root(m), (m,)", imports="from own_helper import root"))
    with pytest.raises(InputError, match=r"root, line 5 of own_helper\.py, `math\.sqrt\(x\)`"):
        find("own_mistake:Mine")


def test_a_mistake_under_one_choice_alone_is_found(module):
    text = rule("return w - (missing if h.slow else c[0]) * m, (m,)").replace(
        "    power:", "    slow: bool = False\n    power:"
    )
    module("own_mistake", text)
    with pytest.raises(InputError, match="name 'missing' is not defined"):
        find("own_mistake:Mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("return (h.lr * 1,)", "return h.lr"), "prepare, line 21 .*returns one value where a tuple of quantities"),
        (("return (h.lr * 1,)", "return (h.lr,) if t == 1 else ()"), "returns 0 quantities at step 2 and 1 at step 1"),
        (("return (h.lr * 1,)", "return (1.0,)"), "returns the number 1.0 for one of the quantities"),
        (
            ("    def rule(", "    def measure(h, c, w, g, s):\n        return (g,)\n\n    def rule("),
            "measure and conclude",
        ),
        (
            ("    def rule(", "    def start(h, w):\n        return ()\n\n    def rule("),
            "start, line 24 .*returns 0 things",
        ),
        (("def rule(", "def rul("), "has no function rule"),
        (("w: Value, g: Value, s: Slots", "w: Value, s: Slots"), "takes 4 positional arguments but 5 were given"),
        (
            ("    beta: Decay = 0.9", "    beta: Decay = 0.9\n    how: Literal['a', 'b']"),
            "the choice 'how' needs a default",
        ),
    ],
)
def test_other_functions_are_checked_too(module, change, message):
    text = rule().replace(*change).replace("import math\n", "import math\nfrom typing import Literal\n")
    if "how" in change[1]:
        text = text.replace("power: NonNegative = 0.5", "").replace("beta: Decay = 0.9\n", "beta: Decay\n")
    module("own_mistake", text)
    with pytest.raises(InputError, match=message):
        find("own_mistake:Mine")


REPORT = """Failed in nopython mode pipeline (step: nopython frontend)
No implementation of function Function(<function update at 0x7fab1e762660>) found for signature:

 >>> update(static(own_mistake:Mine), Vector(float64 x 8))

    Rejected as the implementation raised a specific error:
      TypingError: Failed in nopython mode pipeline (step: nopython frontend)
    \x1b[1mUnknown attribute 'startswith' of type choice(this)\x1b[0m

    File "own_mistake.py", line 25:
        def rule(h, c, w, g, s):
    During: typing of get attribute at /somewhere/own_mistake.py (25)

File "fastgd/engine/rule_kernels.py", line 106:
def apply_rule(rule, shape, state, hyper, c, feature, count, stride, G, g):
"""


def test_what_the_compiler_says_is_one_message(module):
    module("own_mistake", rule())
    record = find("own_mistake:Mine")
    assert str(refused_by_compiler(Exception(REPORT), find("sgd"), record)).startswith(
        "optimizer 'own_mistake:Mine': line 25 of own_mistake.py: its functions do not compile: "
        "Unknown attribute 'startswith' of type choice(this); a kernel has + - * /"
    )
    assert refused_by_compiler(Exception(REPORT), find("sgd")) is None


LANDSCAPES = {
    "an import": ("import numpy as other; return x[0] * x[1]", "an import inside a function"),
    "a misspelt name": ("return x[0] * xx[1]", "`xx`: name 'xx' is not defined"),
    "math": ("return math.sqrt(x[0])", "`math.sqrt(x[0])`: a value is no single number"),
    "sort": ("return np.sort(x)[0]", "`np.sort(x)`: a point is no array in a kernel"),
    "a sum": ("return np.sum(x * x)", "`x * x`: a point is no array in a kernel"),
    "a generator": ("return sum(x[i] for i in range(2))", "a generator; write a loop that adds up"),
    "if": ("return x[0] if x[0] > 0 else -x[0]", "`x[0] > 0`: lanes differ"),
    "unpacking": ("a, b = x; return a * b", "it cannot be unpacked or looped over"),
    "a slice": ("return x[1:][0]", "`x[1:]`: a point is read by whole numbers"),
    "print": ("print(x); return x[0]", "print; a kernel prints nothing"),
    "two values": ("return x[0], x[1]", "returns no value of the point, but a tuple"),
}


@pytest.mark.parametrize(("body", "message"), LANDSCAPES.values(), ids=LANDSCAPES)
def test_a_mistake_in_a_landscape_is_one_message(module, body, message):
    module("own_ground", f"import math\nimport numpy as np\n\n\ndef f(x):\n    {body}\n")
    with pytest.raises(InputError) as caught:
        find_landscape("own_ground:f")
    text = str(caught.value)
    assert text.startswith("landscape 'own_ground:f': ")
    assert message in text
    if "tuple" not in message:
        assert "f, line 6 of own_ground.py" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@fastgd.optimizer()\nclass Mine:\n    lr: float", "must be a NamedTuple: class Mine"),
        (
            "@fastgd.optimizer()\nclass Mine(NamedTuple):\n    lr: float\n    form: str = 'a'",
            "'form' is text; a choice is",
        ),
    ],
)
def test_a_class_that_is_no_rule_is_one_message(module, text, message):
    module("own_class", f"from typing import NamedTuple\nimport fastgd\n\n\n{text}\n")
    with pytest.raises(InputError, match=message):
        find("own_class:Mine")
