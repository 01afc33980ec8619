"""What all parts of fastgd share: errors, registries, pickling, numbers as text, parsers, and the system's limits.

Plain values come in and go out. Nothing here knows of studies, data or optimizers, and nothing imports Numba.
"""
