"""Write the data of the lectures' studies, beside this file, the same numbers every time.

Sparse rows go to .svm files, those of the neuron that is learned point by point to a .csv.
"""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import dump_svmlight_file

HERE = Path(__file__).parent
W, B = 2.0, 2.0  # the neuron of `sparse_feature`: as far in w as in b from the start at zero
RARE = 5  # rows of `rare_feature` that have the rare feature


def sparse_feature() -> tuple[np.ndarray, np.ndarray]:
    """Return 100 rows (x, 1) of a neuron sigmoid(w x + b), x zero in 80 of them, and its values with noise."""
    random = np.random.default_rng(5)
    x = np.where(random.permutation(100) < 20, random.uniform(0.0, 1.0, 100).round(4), 0.0)
    values = 1 / (1 + np.exp(-(W * x + B))) + 0.05 * random.standard_normal(100)
    return np.column_stack([x, np.ones(100)]), np.clip(values, 0, 1).round(4)


def rare_feature() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,000 rows and labels: common features decide, with noise, and in 5 rows a rare one against all others.

    The rare feature is the first one; the rows that have it are labelled 1, though the common features say 0.
    """
    random = np.random.default_rng(10)
    common = (random.random((1000, 5)) < 0.5) * 1.0
    margin = common @ np.array([2.0, -2.0, 1.0, -1.0, 0.5]) - 0.25
    label = (random.random(1000) < 1 / (1 + np.exp(-margin))).astype(float)
    rare = np.zeros(1000)
    chosen = random.choice(np.flatnonzero(margin < -1.5), RARE, replace=False)
    rare[chosen], label[chosen] = 1.0, 1.0
    return np.column_stack([rare, common]), label


def neuron() -> tuple[np.ndarray, np.ndarray]:
    """Return 40 points x and the noisy values of the toy neuron there; (w, b) is that of its minimum, rounded."""
    random = np.random.default_rng(3)
    x = random.uniform(0.0, 4.0, 40).round(3)
    values = 1 / (1 + np.exp(-(1.79 * x - 2.28))) + 0.1 * random.standard_normal(40)
    return x, np.clip(values, 0, 1).round(3)


if __name__ == "__main__":
    np.savetxt(HERE / "neuron.csv", np.column_stack(neuron()), "%.3f", delimiter=",", header="x,y", comments="")
    for make in (sparse_feature, rare_feature):
        X, y = make()
        dump_svmlight_file(csr_array(X), y, str(HERE / f"{make.__name__}.svm"), zero_based=True)
