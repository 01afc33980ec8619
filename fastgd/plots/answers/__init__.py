"""Pictures of answers: budgets, comparisons, profiles, ranks, times, parallel coordinates.

Results come in, matplotlib figures go out.
"""
