"""Write docs/networks.md: problems with networks, and every activation and start of the registries."""

from pathlib import Path

from fastgd.problems.activations import ACTIVATIONS, DEAD_SLOPE
from fastgd.problems.starts import STARTS
from fastgd.runs.measured.layer_gradients import EXPLODED, FEWEST_VANISHED, VANISHED

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
by themselves, as PyTorch's parameters are. `clip = { layer_norm = 1.0 }` clips by the norm of each layer, weights and
biases together. All other norms and sums, as that of `clip = { norm = 1.0 }`, are over all parameters.

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
"""

SEVERAL = """## Several targets

With `target = ["strength", "slump"]`, the losses of numbers (`squared`, `huber`, and your own) are of several columns
of a table, and the last layer has an output for each. Of arrays, y is (n, targets), and `target` names its columns, as
those of the y of an `.npz` file; a list of one name is that name. Without `network` there is a linear model of each
target, whose `intercept` is false by default as that of any linear model.

```toml
name = "concrete"
epochs = 50
batch_size = 32

[problem]
path = "concrete.csv"
target = ["strength", "slump"]
loss = "squared"
standardize = true
standardize_target = true
network = { hidden = [32] }

[[optimizer]]
name = "adam"
lr = { log = [1e-4, 1e-1], num = 7 }

[record]
metrics = ["r2"]
```

A row's loss is the **mean** over its targets: of `squared` half the mean squared error, as scikit-learn's
`MLPRegressor` has it, and half of PyTorch's `MSELoss`; of `huber` its `HuberLoss`. A target in large units outweighs
the others, unless `standardize_target` brings each to mean 0 and deviation 1. The metric `r2` is the mean of each
target's, as scikit-learn's `r2_score` is, and there is none where a target is constant. `results.model` predicts
(n, targets) in the targets' own units, in the order of `model.targets`. Held-out rows of a file have the same columns.

"""

SEEN = f"""
## What one sees

Three metrics have a column for each layer, the first layer first, as `layer_grad_norm.1`, `layer_grad_norm.2` and so
on; a layer is its weights with its biases. Where a problem has fewer layers, or none, the columns are null.

- `layer_grad_norm`: the norm of each layer's part of the gradient over all training rows, at a checkpoint. It shows
  where gradients vanish or explode on their way back.
- `layer_update_ratio`: how far the last step before a checkpoint moved each layer, relative to the layer's norm before
  that step, weights and biases both times.
- `dead_units`: the share of each hidden layer's units that learn from no training row.

`layer_update_ratio` is of the weights at which gradients are taken, also where a rule reports an average of them; it
holds all that a step does, decay and momentum included. It is NaN at the start, where all of a layer was zero,
and where `max_seconds` ended a trial between two checkpoints. Baselines take no steps, and have none.

A unit is dead where its activation's derivative is {DEAD_SLOPE:g} or less in size at every training row (with
`record.rows`, at those that stand for all of them). That is a `relu` unit that is never active, and a unit that is
saturated throughout: of `tanh` beyond sums of about 4.1, of `sigmoid` beyond 6.9. A unit of `leaky_relu` or `identity`
never is. Where sums are no finite numbers, the share is NaN.

```sh
fastgd plot results/depth --kind layers
```

draws what was recorded of the best trial of each optimizer and network, a line for each layer; `--set 'trials="ID"'`
draws another trial.

Where `layer_grad_norm` is recorded, `reason` tells of each trial, however it ended, with layers and steps:

- **A gradient that vanished**: in {FEWEST_VANISHED} checkpoints in a row, or more, a layer's norm was under
  {VANISHED:g} of the last layer's. The first such span is told, from its first checkpoint to its last.
- **A gradient that exploded**: the first checkpoint at which a layer's norm was not finite, or more than
  {EXPLODED:g} times that of any layer at the start.
"""

TRAINED = """
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
more, `results.model(trial_id, data=(X, y))`. The model itself needs neither any more. [models.md](models.md) tells how
it is trained on all rows, kept in a file, and asked about files of new rows.

## Loss surfaces

`fastgd surface` computes the exact loss of a trained network on a grid about its end point, over all training rows and
with the penalty. Every point of the grid is a lane, so that ten thousand networks are a few passes over the rows.
Linear models of any size have such surfaces, too. `fastgd best DIR --json` has the ids of trials.

```sh
fastgd surface results/depth
fastgd surface results/depth --trial 60b725f10c9c85c70d97 --directions pca --points 101
fastgd surface results/depth --trial 60b725f10c9c85c70d97 --directions between 7de8d3af3a6c50cbb2c8
fastgd plot results/depth --kind contour
fastgd plot results/depth --kind surface --set directions=pca
```

- `random`: x and y count two random directions (`--seed`), normalised by filter, as by [Li et al. (2018)][li]: the
  weights into each unit change by as much as they are long, and biases stay. The grid goes `--span` times that far
  (1).
- `pca`: distances along the two main directions of the trajectory. The axes say how much each explains of the squared
  distances from its end; the grid goes `--span` of its extent beyond it (0.25).
- `between`: with one other trial the line to it, of which x is the share; with two others the plane through all three,
  in distances. The grid goes `--span` of their extent beyond them (0.5).

![Four pictures of the loss about trained networks: random directions, the trajectory's, a line and a plane between
three solutions](pictures/surfaces.png)

*Three networks 64-32-16-10 that learn digits from other starts; `docs/draw_surfaces.py` draws it.*

[li]: https://arxiv.org/abs/1712.09913

The end point is always a point of the grid, and its loss is that of the trial: it is compared with the one that is
stored, and a surface of something else is refused. Without `--trial` it is that of the best one. Numbers have the same
bits for any number of threads.

Trajectories are projected on the plane and stored in these two coordinates, never whole: of some 200 steps the nearest
point, how far from the plane the network was, and its loss there. They come from running the trial again, alone, which
gives the same bits; so do final parameters that `record.parameters` did not keep. The picture says which share of the
trajectory's squared distances from its end lies in the plane: of random directions next to nothing, since they are two
of thousands. `--no-trajectory` leaves all that out.

A surface is stored in `DIR/trial_surfaces` and computed once; its file may be deleted. From Python, also of studies
that were run on arrays, which take these once more, `data=(X, y)`:

```python
made = fastgd.surface(results, directions="pca", points=21)
made.x, made.y, made.loss  # (nx,), (ny,), (nx, ny)
made.info.shares, made.info.captured  # what each direction explains, and what the plane holds
path = made.paths[0]
path.step, path.x, path.y, path.distance, path.loss  # each (k,)
results.trial_surfaces  # all that the folder holds
```

## What networks do not have

Sparse rows are possible: the first layer's products then cost what the entries cost, and each step still updates all of
its weights, which the plan says (`layout = "dense"` makes dense rows of sparse ones). `sparse = "masked"` is refused.
The line searches `best` and `armijo` look at the objective by forward passes over all rows; `exact` needs its
derivative, which is known of linear models alone, as are the estimators `svrg` and `saga`, error surfaces of two
parameters (`[surface]`) and the metric `effective_lr`: these are refused.
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
            SEVERAL,
            SEEN,
            TRAINED,
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
