"""Questions to stored results, a module each: rankings, times, comparisons, profiles, budgets, theory.

A `StoredStudy` comes in, a table goes out; `Results` has a method for each of them. Nothing is written, and curves are
read piece by piece.
"""
