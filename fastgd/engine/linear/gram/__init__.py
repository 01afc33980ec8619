"""The kernels of the squared loss that step by what is sufficient of a batch, `X'X`.

Rows and tiles come in, gradients `A w - c` go to the rule. No row is passed twice where a batch is all of them.
"""
