"""A sink in memory: what a unit found in another process, on its way to this one."""

import numpy as np


class Collected:
    """A sink in memory, which can be pickled; `replay` hands all of it to another sink, in order."""

    def __init__(self):
        self.calls = []

    def append(self, kind, columns, rows=None):
        """Take rows."""
        own = {name: values.copy() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
        self.calls.append(("append", (kind, own, rows)))

    def trials(self, trials):
        """Take the trials of a cohort."""
        self.calls.append(("trials", (trials,)))

    def parameters(self, trial_ids, W):
        """Take final parameters."""
        self.calls.append(("parameters", (list(trial_ids), W.copy())))

    def offer(self, key, scores, ids, read):
        """Take the parameters of all lanes: which are the best is for another process to say."""
        self.calls.append(("offer", (key, scores.copy(), [list(own) for own in ids], read(np.arange(len(scores))))))

    def save(self, name, state, *, cut=False):
        """Save nothing: a process that ends early has no results."""

    def saved(self, name, trial_ids):
        """Return nothing."""

    def carry(self, trial_ids, last_step):
        """Take nothing."""

    def surface(self, number, surface, specification):
        """Take an error surface."""
        self.calls.append(("surface", (number, surface, specification)))

    def replay(self, sink):
        """Hand everything to another sink."""
        for name, arguments in self.calls:
            if name == "offer":
                key, scores, ids, W = arguments
                sink.offer(key, scores, ids, W.__getitem__)
            else:
                getattr(sink, name)(*arguments)
