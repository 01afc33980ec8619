"""Parameters that a sparse batch does not touch: the steps that they missed, as products of matrices.

What a rule does without a gradient comes in (`fastgd.optimizers.coasting`), and the lanes of a cohort; parameters that
are up to date go out. Only sparse mini-batches use it, and it knows neither rows nor models.
"""
