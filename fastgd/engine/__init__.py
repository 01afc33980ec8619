"""Lanes and what moves them: shapes of tiles, the kernels of rules and losses, what this machine can do.

`rows` has cohorts over data, `linear` and `network` the kernels of the models, `coast` parameters that a batch does
not touch, `swarm` landscapes. Specs and arrays come in, arrays go out. The engine knows of no study, no folder and no
clock.
"""
