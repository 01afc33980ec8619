"""The metric `effective_lr`: by which rates a cohort's rules multiply gradients, for rare and for frequent features."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.datasets import Data
from fastgd.engine.rows.cohort import Cohort
from fastgd.plan.units.recording import EFFECTIVE_RATES, MOST_RATES_AT_ONCE, RATE_QUANTILES

Array = npt.NDArray[Any]
MOST_RARE_SHARE, LEAST_FREQUENT_SHARE = 0.001, 0.05  # shares of the training rows


def classes_of(data: Data) -> dict[str, Array]:
    """Return the features of each class that has any: rare, medium, frequent.

    A feature that is zero in every training row has had no gradient, and is in no class.
    """
    shares = data.frequencies
    members = {
        "rare": (shares > 0) & (shares < MOST_RARE_SHARE),
        "medium": (shares >= MOST_RARE_SHARE) & (shares <= LEAST_FREQUENT_SHARE),
        "frequent": shares > LEAST_FREQUENT_SHARE,
    }
    return {name: np.flatnonzero(chosen) for name, chosen in members.items() if chosen.any()}


@np.errstate(all="ignore")  # a trial that diverges is data, and so is a rule without eps before its first step
def measure(cohort: Cohort, classes: Mapping[str, Array], poll: Callable[[], None]) -> dict[str, Array]:
    """Return quantiles over the features of each class, (alive,) each; nothing where the rule has no such rate.

    A quantile is the rate of a feature: between two of them, which may be infinite, nothing is interpolated.

    Parameters
    ----------
    cohort : Cohort
        Its state does not change.
    classes : mapping of str to ndarray of int
        The features of each class.
    poll : callable
        Called between groups of lanes.
    """
    rule = cohort.spec.rule.base  # options change the gradient or the iterate, and not the rate
    if not rule.optimizer.has_effective_rate:
        return {}
    lanes = len(cohort.alive)
    hyper = _hyper(cohort)
    memory = cohort.memory()[: rule.numbers]
    slots = cohort.slots()[: rule.slots] if rule.slots else []
    cls: Any = rule.optimizer.cls
    found = {f"{EFFECTIVE_RATES}.{name}.{quantile}": np.empty(lanes) for name in classes for quantile in RATE_QUANTILES}
    step = max(1, MOST_RATES_AT_ONCE // (cohort.d + 1))
    for at in range(0, lanes, step):
        part = slice(at, at + step)
        h = rule.instance({name: hyper[name][part] for name in rule.fields})
        m, s = tuple(memory[:, part]), tuple(slot[:, part].astype(np.float64) for slot in slots)
        rates = np.atleast_2d(cls.effective(h, max(1, cohort.t), m, s))
        for name, features in classes.items():
            own = rates[features] if len(rates) > 1 else rates  # one row: a rate for all parameters
            values = np.quantile(own, list(RATE_QUANTILES.values()), axis=0, method="inverted_cdf")
            for quantile, row in zip(RATE_QUANTILES, values, strict=True):
                found[f"{EFFECTIVE_RATES}.{name}.{quantile}"][part] = row
        poll()
    return found


def _hyper(cohort: Cohort) -> dict[str, Array]:
    """Return the hyper-parameters (alive,) of the last step; before the first step, those that it will have."""
    values = {name: cohort.value_of(name) for name in cohort.spec.rule.fields}
    if cohort.t == 0 and cohort.schedule is not None:
        first = cohort.schedule(0, 1)[0][:, cohort.alive]
        values |= dict(zip(cohort.spec.scheduled, first, strict=True))
    return values
