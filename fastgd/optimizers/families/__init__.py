"""The update rules, one family a file: each a NamedTuple of hyper-parameters with its rule beside its equation.

A parameter, its gradient and its slots come in; the parameter and its slots after the step go out. A rule never sees
data, lanes or other trials. Importing this package registers all rules.
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
