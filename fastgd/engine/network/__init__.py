"""The kernels of layered networks: each number of a lane is in a vector with other lanes', or with its neighbours.

Layers and rows come in, steps are taken, losses and gradients go out. A network knows no study, and no other model.
"""
