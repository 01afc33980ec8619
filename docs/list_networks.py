"""Write docs/networks.md: problems with networks, and every activation and start of the registries."""

from pathlib import Path

from fastgd.problems.activations import ACTIVATIONS
from fastgd.problems.starts import STARTS

PAGE = Path(__file__).with_name("networks.md")
HEAD = """# Networks

A problem over data has a linear model, unless it has a `network`: layers of units between the features and the
output, of which every trial trains its own. `make docs` writes this page.

```toml
name = "depth"
epochs = 20
batch_size = 32
seed = [0, 1]

[[problem]]
name = "one hidden layer"
dataset = "breast_cancer"
loss = "logistic"
standardize = true
network = { hidden = [16], activation = "tanh" }

[[problem]]
name = "two hidden layers"
dataset = "breast_cancer"
loss = "logistic"
standardize = true
network = { hidden = [16, 8], activation = "tanh" }

[[optimizer]]
name = "adam"
lr = { log = [1e-4, 1e-1], num = 7 }
```

Trials are lanes of one matrix here too: all learning rates of a network pass over the rows together, a vector of
lanes at a time. Every update rule, option and schedule works on networks as it does on linear models, and so do
curves, results, pictures, interruptions and promises: a trial has the same bits for any number of threads, alone or
among others, resumed or not. `fastgd run STUDY.toml --dry-run` says what the lanes take.

## Layers

`hidden` lists the units of each hidden layer, from none to three. The last layer has no activation: the loss is taken
of its sums. So `hidden = []` is the linear model, to rounding. Several problems compare several networks.

Every layer has biases, which no penalty and no decay touches; `intercept = false` leaves them out of all layers. The
penalty `l2` is half the square of all weights.

Rules that look at layers (`lars`, `lamb`, `novograd`, `stable_adamw`) see the weights of each layer, and its biases,
by themselves, as PyTorch's parameters are. All other norms and sums, as those of `clip`, are over all parameters.

"""
OF_STARTS = """
## Starts

`init` says where the weights of each layer start; by default as the table above has it, and without hidden layers at
zeros. Biases start at zero. What is drawn depends on the seed, the layer and the place alone: all trials of a seed
start alike, and no version of a library changes where. Where all weights were zero, the units of a hidden layer would
stay alike for ever: `"zeros"` is refused there. The gallery shows what starts do to
[gradients by depth](gallery.md#13-gradients-by-depth), and [He's against Glorot's](gallery.md#13-he-against-glorot).

| `init` | weights |
| --- | --- |
"""
CLASSES = """
## Classes

`loss = "softmax"` takes all labels of a target, numbers or texts, as classes: the last layer has an output for each,
and a row's loss is the logarithm of the sum of all `e^z` less its own class's z. Without `network` it is multinomial
logistic regression, whose `intercept` is false by default as that of any linear model. The metrics `accuracy` and
`top_5`, and `validation_accuracy` and `validation_top_5`, count the rows whose class has the largest output, or one
of the five largest; of equal outputs the first counts as larger, as it does for predictions.

```toml
name = "digits"
epochs = 20
batch_size = 32

[problem]
dataset = "digits"
loss = "softmax"
standardize = true
validation = 0.2
network = { hidden = [64] }

[[optimizer]]
name = "sgd"
lr = { log = [1e-2, 1e0], num = 5 }

[record]
metrics = ["accuracy", "validation_accuracy"]
```

## What one sees

The metric `layer_grad_norm` is the norm of each layer's part of the gradient over all training rows, as curves in the
columns `layer_grad_norm.1`, `layer_grad_norm.2` and so on, the first layer first: where gradients vanish or explode on
their way back, and when.

## Using a trained model

With `record.parameters = "best"` or `"all"`, results hold what trials trained, and `results.model` returns it, for
linear models and networks alike:

```python
from sklearn.datasets import load_breast_cancer

import fastgd

study = fastgd.Study.from_toml("depth.toml", set=["record.parameters=best"])
results = fastgd.run(study)
model = results.model(results.best()["trial_id"][0])

X, y = load_breast_cancer(return_X_y=True)
(model.predict(X) == y).mean()  # rows as the data have them: the model standardises them as the study says
model.predict_proba(X[:3])  # of logistic and softmax; margins(X) is what the last layer gives
[(layer.name, layer.weights.shape, layer.activation) for layer in model.layers]
```

`predict` gives labels as the data have them, or numbers. `model.to_torch()` is the same model as a
`torch.nn.Sequential` in float64, from raw rows to margins, where PyTorch is installed.

Results hold parameters, and no data: means, deviations, labels and names come from the data, which `results.model`
loads again as the study says, and refuses where they have changed. A study that was run on arrays takes them once
more, `results.model(trial_id, data=(X, y))`. The model itself needs neither any more; pickle keeps it.

## What networks do not have

Rows are dense (`layout = "dense"` makes dense ones of sparse ones). The line searches `best` and `armijo` look at the
objective by forward passes over all rows; `exact` needs its derivative, which is known of linear models alone, as are
the estimators `svrg` and `saga`, error surfaces and the metric `effective_lr`: these are refused.
"""


def page() -> str:
    """Return the page."""
    activations = [
        f"| `{record.name}` | {record.summary} | `{record.start}` |\n".replace("|z|", "abs(z)")
        for record in ACTIVATIONS.values()
    ]
    starts = [f"| `{record.name}` | {record.summary} |\n" for record in STARTS.values()]
    return "".join(
        [
            HEAD,
            "| activation | of a sum z | weights start as |\n| --- | --- | --- |\n",
            *activations,
            OF_STARTS,
            *starts,
            "| `{ normal = s }` | normal with deviation s |\n",
            CLASSES,
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
