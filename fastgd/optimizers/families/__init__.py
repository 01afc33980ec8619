"""The update rules, one family a file: each a NamedTuple of hyper-parameters with its rule beside its equation.

What comes in is a parameter, its gradient and what the rule keeps; what goes out is the parameter after the step. A
rule never sees data, lanes or memory, and importing this package registers all of them.
"""

from fastgd.optimizers.families import (  # noqa: F401 (registers)
    adam,
    adam_variants,
    adaptive,
    distance,
    dual_averaging,
    layerwise,
    memory_efficient,
    model_based,
    momentum,
    parameter_free,
    schedule_free,
    sign,
)
