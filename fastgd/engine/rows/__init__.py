"""Cohorts: trials that share a pass over rows, whatever the model is.

A `CohortSpec` with rows comes in; parameters, sums over rows and norms go out. A cohort decides neither when it is
measured nor when it ends.
"""
