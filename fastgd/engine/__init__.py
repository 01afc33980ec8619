"""The engine: cohorts of lanes over dense data, advanced by Numba kernels."""
