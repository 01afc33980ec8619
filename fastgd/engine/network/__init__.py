"""The kernels of layered networks: each number of a lane, a weight or a unit of a row, is in a vector with others'.

Layers and rows come in, steps are taken, losses and gradients go out. A network knows no study, and no other model.
"""
