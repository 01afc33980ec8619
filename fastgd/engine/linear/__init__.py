"""The kernels of linear models: margins and gradients of dense and sparse rows, and the steps around them.

Rows, tiles of lanes and addresses of kernels come in, and the tiles are changed in place. `LinearModel` is the only
name that other rooms need; nothing here decides how many steps are taken.
"""
