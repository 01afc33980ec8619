"""The kernels of linear models: margins and gradients of dense and sparse rows, and the steps around them.

Rows, tiles of lanes and addresses of kernels come in, and are changed in place. Nothing here allocates, and nothing
depends on other threads.
"""
