"""The kernels of one or two lanes, whose vectors run over features.

Rows and one lane's parameters come in, and its margins, gradients and steps are left in place.
"""
