"""Draw docs/pictures/surfaces.png: the loss about three networks that learn handwritten digits from other starts."""

from pathlib import Path
from tempfile import TemporaryDirectory

import fastgd
from fastgd.plots import plot
from fastgd.plots.style import style

PICTURE = Path(__file__).parent / "pictures" / "surfaces.png"
STUDY = fastgd.Study(
    name="digits",
    epochs=20,
    batch_size=32,
    seed=[0, 1, 2],
    problem={
        "dataset": "digits",
        "loss": "softmax",
        "standardize": True,
        "l2": 1e-4,
        "network": {"hidden": [32, 16], "activation": "tanh"},
    },
    optimizer={"name": "sgd", "lr": 0.1},
    record={"parameters": "all"},
)


def draw(folder: Path) -> None:
    """Run the study in a folder, and draw one of its networks in all directions."""
    results = fastgd.run(STUDY, folder)
    first, *others = results.trials.sort_values("seed")["trial_id"]
    fastgd.surface(results, first, points=101)
    fastgd.surface(results, first, directions="pca", points=101)
    fastgd.surface(results, first, directions="between", others=others[:1], points=101)
    fastgd.surface(results, first, directions="between", others=others, points=101, span=0.25)
    with style():
        plot(results, "contour").savefig(PICTURE, dpi=110, metadata={})  # coarser than `save` has it: a page shows it


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        draw(Path(folder))
