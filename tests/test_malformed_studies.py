"""Studies that are wrong, or far too large: one message that names the key, before anything of that size is made."""

import contextlib
import tomllib

import numpy as np
import pytest
from campaign.malformed_studies import GOOD, WEIRD, _at, _places, plan
from hypothesis import given
from hypothesis import strategies as st

from fastgd import InputError, Study
from fastgd.common.parsing import MOST_DOTS, from_json, from_toml
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data
from fastgd.study.values import MOST_LEVELS

DATA = {"loss": "logistic", "synthetic": {"n": 60, "d": 3}}
LANDSCAPE = {"landscape": "himmelblau"}
LR = {"name": "sgd", "lr": 0.1}
GRID = {"log": [1e-3, 1], "num": 100_000}


def study(**fields):
    return Study(**{"name": "a", "epochs": 2, "problem": DATA, "optimizer": LR} | fields)


def valley(**fields):
    return Study(**{"name": "a", "steps": 5, "problem": LANDSCAPE, "optimizer": LR} | fields)


# fields of a study over data, and what the message says
TOO_LARGE = [
    ({"optimizer": {"name": "sgd", "lr": {"log": [1, 10], "num": 10**9}}}, "optimizer.lr.num must be .* to 100,000"),
    ({"epochs": 10**12}, "record.every = 'epoch' makes a checkpoint of each of the 1,000,000,000,000 epochs"),
    ({"record": {"every": {"log": 10**12}}}, "record.every must be 'epoch', 'end' or .* from 2 to 1,000,000, found"),
    ({"record": {"every": {"log": 1e12}}}, "record.every must be 'epoch', 'end' or"),
    (
        {"optimizer": {"name": "sgd", "lr": GRID}, "seed": [1, 2, 3]},
        r"make 300,000 trials, 100,000 \(optimizers, .* 200,",
    ),
    ({"seed": list(range(20_001)), "batch_size": 4}, "make 20,001 cohorts, .*; the most are 20,000"),
    (
        {"schedule": {"name": "cosine", "final": {"linear": [0.0, 1.0], "num": 5001}}},
        "schedule must be at most 5,000 comb",
    ),
    ({"optimizer": [LR] * 5001}, "optimizer must be at most 5,000 tables, found 5,001"),
    ({"problem": [DATA] * 5001}, "problem must be at most 5,000 tables, found 5,001"),
    ({"epochs": 2**63}, "epochs must be a whole number of at most 64 bits, found one of 64"),
    ({"epochs": 16**5001}, "epochs must be a whole number of at most 64 bits, found one of 20,005"),
    ({"name": "a" * 300}, "name must be .* at most 200 of them"),
    ({"surface": {"low": -1.0, "high": 1.0, "num": 10**12}}, "surface.num makes more than"),
]


@pytest.mark.parametrize(("fields", "message"), TOO_LARGE, ids=[row[1][:30] for row in TOO_LARGE])
def test_what_is_too_large_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        study(**fields)


@pytest.mark.parametrize("starts", [{"uniform": 10**12}, {"normal": 2**26 + 1}, {"sobol": 2**40}])
def test_more_starts_than_there_may_be(starts):
    with pytest.raises(InputError, match=r"starts\.\w+ must be at most 67108864"):
        valley(starts=starts)


def test_more_trials_on_landscapes_than_there_may_be():
    assert valley(starts={"uniform": 2**26}).starts.uniform == 2**26
    with pytest.raises(
        InputError, match=r"make 536,870,912 trials, 8 \(optimizers, schedules\) x .* 67,108,864 \(starts\)"
    ):
        valley(starts={"uniform": 2**26}, optimizer={"name": "sgd", "lr": {"log": [1e-3, 1], "num": 8}})
    with pytest.raises(InputError, match="10,000,000,000 trials"):
        valley(starts={"grid": 100_000})
    with pytest.raises(InputError, match="makes a checkpoint of each of the 1,000,000 steps"):
        valley(steps=1_000_000, record={"every": "epoch"})


def test_steps_and_checkpoints_that_the_data_make():
    long = study(epochs=2**53, batch_size=1, record={"every": {"log": 9}})
    with pytest.raises(InputError, match=r"epochs = 9,007,199,254,740,992 are .* the most are 2\^53"):
        make_plan(long, load_data(long, None, lambda _: None))
    many = study(epochs=None, steps=10**9)
    with pytest.raises(InputError, match=r"steps = 1,000,000,000 make 1,000,000,001 checkpoints of a trial; the most"):
        make_plan(many, load_data(many, None, lambda _: None))


def test_many_checkpoints_are_shared():
    """Cohorts share them, and each is what it is with few of them."""
    found = study(epochs=300_000, seed=[0, 1], batch_size=30)
    first, second = make_plan(found, load_data(found, None, lambda _: None)).units
    assert first.checkpoints is second.checkpoints
    np.testing.assert_array_equal(first.checkpoints, np.arange(0, 600_001, 2))


def test_rates_within_rates():
    search = {"kind": "best", "rates": [0.1, [1]]}
    with pytest.raises(InputError, match=r"optimizer\.line_search\.rates\.0 must be a number, found \[1\]"):
        study(optimizer={**LR, "line_search": search}, batch_size="full")
    with pytest.raises(InputError, match="stands twice in the list"):
        study(optimizer={**LR, "line_search": {"kind": "best", "rates": [0.1, 0.1]}}, batch_size="full")


def test_nesting():
    def chain(levels):
        block = {"name": "constant"}
        for _ in range(levels):
            block = {"name": "constant", "length": 1, "then": block}
        return block

    assert study(schedule=chain(30)).to_toml()
    with pytest.raises(InputError, match=f"schedule has more than {MOST_LEVELS} tables and lists within each other"):
        study(schedule=chain(100))
    with pytest.raises(InputError, match="nested too deeply"):
        study(schedule=chain(5000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("x = " + "9" * 5001, "a whole number of 5,001 digits"),
        (".".join("a" * 3000) + " = 1", f"a key of more than {MOST_DOTS} parts"),
    ],
)
def test_texts_that_parsers_stumble_over(tmp_path, text, message):
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        Study.from_toml(file)
    file.write_text("name = 'a'")
    with pytest.raises(InputError, match=r"--set|study\.toml"):
        Study.from_toml(file, set=[text.replace(" ", "")])


def test_a_file_that_is_no_study(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"#" * 4_000_001)
    with pytest.raises(InputError, match="larger than 4,000,000 bytes"):
        Study.from_toml(tmp_path / "study.toml")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists), st.data())
def test_any_value_anywhere_is_taken_or_refused(value, data):
    fields = Study(**data.draw(st.sampled_from(GOOD))).model_dump(exclude_none=True)
    path = data.draw(st.sampled_from(list(_places(fields))))
    _at(fields, path[:-1])[path[-1]] = data.draw(st.sampled_from(WEIRD)) if value is None else value
    with contextlib.suppress(InputError):
        Study(**fields)


@given(st.text() | st.binary().map(lambda data: data.decode(errors="surrogateescape")))
def test_any_text_is_parsed_or_a_value_error(text):
    for parse in (from_toml, from_json):
        with contextlib.suppress(ValueError):
            parse(text)


def test_what_is_parsed_is_what_parsers_make():
    text = 'a = 1\n[b]\nc = "x.y.z"\n'
    assert from_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_the_studies_that_are_damaged_are_good(number, tmp_path):
    (tmp_path / "study.toml").write_text(Study(**GOOD[number]).to_toml())
    plan(tmp_path / "study.toml")
