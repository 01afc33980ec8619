"""Two folders of results, trial by trial: whether the new one converges worse than the base.

Two studies come in; pairs of trials, and what became slower or worse beyond a tolerance, go out. Curves are read some
pairs at a time.
"""
