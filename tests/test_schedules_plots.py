"""The picture of schedules: the lines are the values that the kernels got."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cohorts import spread
from small_studies import rows, run
from test_cli import fastgd_cli
from test_plots import inside

from fastgd.plots import plot, sketch
from fastgd.schedules import SCHEDULES, Part, chained

ROOT = Path(__file__).parent.parent
HELD_OUT = {"loss": "logistic", "intercept": True, "validation": 0.3}
CHAIN = {"name": "warmup", "length": 7, "then": {"name": "linear"}}
MANY = [
    {"name": "constant"},
    {"name": "cosine", "final": [0.0, 0.1]},
    {"name": "plateau", "patience": [0, 1]},
    {"name": "one_cycle", "also": {"name": "sutskever"}},
    CHAIN,
]


@pytest.fixture
def drawn(tmp_path):
    """Draw the schedules of a study, run on small data."""

    def draw(schedule, **changes):
        changes = {"problem": HELD_OUT, "epochs": 10, "schedule": schedule} | changes
        results = run(tmp_path / "r", data=rows(), **changes)
        return plot(results, "schedule"), results

    return draw


def values(line):
    """The value of a line that holds until its next point, at each of its points but the last."""
    assert line.get_drawstyle() == "steps-post"
    return line.get_ydata()[:-1]


NUMBERS = {"one": {"name": "cosine"}, "three": MANY[:2], "many": MANY}
BUDGETS = {"epochs": {"epochs": 10}, "steps": {"epochs": None, "steps": 40}}


@pytest.mark.parametrize(("schedule", "budget"), spread(list(product(NUMBERS, BUDGETS)), [("one", "steps")]))
def test_all_is_inside(drawn, schedule, budget):
    inside(drawn(NUMBERS[schedule], **BUDGETS[budget])[0])


def test_up_to_four_share_axes(drawn):
    figure, _ = drawn([{"name": "cosine", "final": 0.1}, {"name": "step", "every": 3}, CHAIN])
    (axes,) = figure.axes
    cosine, step, chain = axes.lines
    np.testing.assert_allclose(values(cosine), chained([Part("cosine", {"final": 0.1})], "last", np.arange(10), 10))
    np.testing.assert_allclose(values(step), 0.5 ** (np.arange(10) // 3))
    i = np.arange(30)  # three steps an epoch
    np.testing.assert_allclose(values(chain), np.where(i < 7, i / 7, 1 - (i - 7) / 22), atol=1e-12)
    np.testing.assert_allclose(chain.get_xdata(), np.append(i, 30) / 3)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["cosine\nfinal 0.1", "step\nevery 3", "warmup > linear\nlength 7"]


def test_more_have_panels_of_their_own(drawn):
    figure, results = drawn(MANY)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["constant", "cosine", "cosine", "plateau", "plateau", "one_cycle", "sutskever", "warmup > linear"]
    recorded = results.trials[results.trials["schedule.patience"] == 0].set_index("trial_id")["lr"]
    curves = results.curves[results.curves["trial_id"].isin(recorded.index)]
    factor = (curves["lr"] / curves["trial_id"].map(recorded)).groupby(curves["epoch"])
    (line,) = figure.axes[3].lines
    np.testing.assert_allclose(line.get_xdata(), sorted(factor.groups))
    np.testing.assert_allclose(line.get_ydata(), factor.median())
    assert len(figure.axes[3].collections) == 1


def test_each_hyper_parameter_has_axes(drawn):
    figure, _ = drawn([{"name": "one_cycle", "also": {"name": "sutskever", "every": 10}}, {"name": "constant"}])
    rate, momentum = figure.axes
    assert rate.get_ylabel() == "factor of the learning rate"
    assert momentum.get_ylabel() == "momentum"
    assert len(rate.lines) == 2
    np.testing.assert_allclose(values(momentum.lines[0])[[0, 10, 29]], [0.5, 0.75, 1 - 1 / 6])


def test_a_sketch_has_every_schedule_and_judges_given_losses():
    losses = np.array([1.0, 0.9, 0.95, 0.8, 0.85, 0.9])
    blocks = [{"name": name, **record.example} for name, record in SCHEDULES.items()]
    figure = sketch(blocks, 5, losses=losses)
    assert len(figure.axes) == len(SCHEDULES)
    inside(figure)
    (axes,) = sketch([{"name": "halve_on_rise"}], 5, losses=losses).axes
    assert values(axes.lines[0]).tolist() == [1, 1, 0.5, 0.5, 0.25]


def test_a_study_that_has_not_run_is_drawn_by_the_command(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text("""
name = "sketch"
epochs = 5
batch_size = 64
problem = { loss = "logistic", dataset = "breast_cancer", validation = 0.2 }
optimizer = { name = "sgd", lr = 0.1 }
schedule = [{ name = "cosine" }, { name = "plateau" }]
""")
    command = [sys.executable, "-m", "fastgd", "plot", str(study), "--kind", "schedule", "-o", str(tmp_path / "a.png")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    study.write_text(study.read_text().replace("plateau", "plato"))
    _, errors = fastgd_cli(*command[3:], code=2)
    assert "there is no schedule 'plato'; did you mean 'plateau'?" in errors
