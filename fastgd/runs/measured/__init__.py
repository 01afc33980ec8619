"""What a checkpoint records beside the losses: metrics, effective rates, gradients and updates of layers.

A cohort's lanes and the engine's sums come in, columns of curves go out. No trial's numbers change by it.
"""
