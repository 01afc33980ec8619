"""Write README's tables of peers, between comments that name them, from the figures in results/peers.

A table whose figures are not there stays as it is: they are measured on a quiet machine, by `make peers`.
"""

import re
import textwrap
from pathlib import Path

import pandas as pd

PAGE = Path(__file__).parents[1] / "README.md"
FIGURES = PAGE.parent / "results" / "peers"
# How README calls a contender's form; of several forms that it calls the same, the fastest counts.
NAMES = {
    ("fastgd", ""): "**fastgd**",
    ("JAX split", ""): "JAX, one product for all lanes, lanes split over threads by hand",
    ("JAX", "matrix"): "JAX, one product for all lanes",
    ("JAX", "vmap"): "JAX, `vmap`",
    ("PyTorch", "split"): "PyTorch, TorchScript, lanes split over threads by hand",
    ("PyTorch", ""): "PyTorch, batched by hand",
    ("scikit-learn", ""): "scikit-learn's SGD, one by one",
}
# And the contenders with networks.
COLUMNS = {
    "JAX split": "JAX `vmap`, lanes split by hand",
    "JAX": "JAX `vmap`",
    "PyTorch": "PyTorch, batched by hand",
    "PyTorch modules": "PyTorch, one by one",
}
WIDTH = 128  # of README's lines
LARGEST = ["n", "d", "batch_size", "lanes"]


def page() -> str:
    """Return README with its tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, make in {"linear": linear, "networks": networks}.items():
        block = re.compile(rf"(<!-- peers: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if (place := block.search(text)) is None:
            raise ValueError(f"README has no place for the table {name!r}")
        if (FIGURES / f"{name}.parquet").exists():
            text = f"{text[: place.end(1)]}\n{make()}\n{text[place.start(2) :]}"
    return text


def name_of(contender: str, form: str) -> str:
    """Return how README calls a contender's form."""
    for (who, part), name in NAMES.items():
        if contender == who and part in form:
            return name
    return f"{contender}, {form}"


def linear() -> str:
    """Return the largest grid in sequential order, a row a contender, both types side by side."""
    figures = pd.read_parquet(FIGURES / "linear.parquet")
    grids = figures[(figures["lanes"] > 1) & figures["agrees"]]
    largest = grids[LARGEST].drop_duplicates().sort_values(LARGEST).iloc[-1]
    grids = grids[(grids[LARGEST] == largest).all(axis=1)]
    grids = grids.assign(name=[name_of(*pair) for pair in zip(grids["contender"], grids["form"], strict=True)])
    fastest = grids.sort_values("seconds").groupby(["order", "dtype", "name"], sort=False).first().reset_index()
    seconds = fastest[fastest["order"] == "sequential"].pivot(index="name", columns="dtype", values="seconds")
    seconds = seconds.sort_values("float64")
    own, some = seconds.loc["**fastgd**"], grids[grids["lanes_measured"] < grids["lanes"]]
    notes = {
        name: f" ({of} of {all_} measured, scaled)"
        for name, of, all_ in some[["name", "lanes_measured", "lanes"]].values
    }
    first = figures.iloc[0]
    rounds = f"medians of {grids['rounds'].max()} alternated rounds on {_machine(first)}"
    rows = f"{largest['n']:,} x {largest['d']} rows, b = {largest['batch_size']}"
    lines = [
        *_paragraph(
            f"Times of one epoch over {rows}, logistic regression with momentum, {largest['lanes']} learning rates at "
            f"once; {rounds}, without loading and compiling."
        ),
        "| contender | float64, s | ratio | float32, s | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in seconds.iterrows():
        cells = [f"{_short(row[dtype])} | {_ratio(row[dtype] / own[dtype])}" for dtype in ("float64", "float32")]
        lines.append(f"| {name}{notes.get(name, '')} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_paragraph(_shares(fastest))])


def _shares(fastest: pd.DataFrame) -> str:
    """Return the sentences on the share of the machine's peak, and on shuffled order."""
    own = fastest[fastest["name"] == "**fastgd**"].set_index(["order", "dtype"])
    peers = fastest[fastest["name"] != "**fastgd**"].groupby(["order", "dtype"])["seconds"].min()
    there = {dtype: own.loc[("sequential", dtype)] for dtype in ("float64", "float32")}
    shares = " and ".join(f"{row['share_of_peak']:.0%} ({dtype})".replace("%", " %") for dtype, row in there.items())
    speeds = " and ".join(f"{row['gflops']:.0f} of {row['gflops_peak']:.0f}" for row in there.values())
    said = [f"fastgd ran at {shares} of this machine's multiply-add peak there ({speeds} GFLOP/s)."]
    if ("shuffle", "float64") in own.index:
        mine, theirs = (
            " and ".join(_short(values[("shuffle", dtype)]) for dtype in there) for values in (own["seconds"], peers)
        )
        said.append(f"In shuffled order it took {mine} s, the fastest form of another {theirs} s.")
    return " ".join(said)


def networks() -> str:
    """Return a row a network, with the ratios of the others' times to fastgd's."""
    figures = pd.read_parquet(FIGURES / "networks.parquet")
    figures = figures[figures["agrees"]]
    first, others = figures.iloc[0], [name for name in figures["contender"].unique() if name != "fastgd"]
    order = [name for name in COLUMNS if name in others]
    lines = [
        *_paragraph(
            f"Networks, {first['dtype']} (`python -m benchmarks.peers.networks`), as ratios of the others' times to "
            f"fastgd's, medians of {figures['rounds'].max()} rounds on {_machine(first)}:"
        ),
        f"| job | fastgd, s | of the peak | {' | '.join(COLUMNS[name] for name in order)} |",
        f"| {' | '.join('---' for _ in range(3 + len(order)))} |",
    ]
    for _, own in figures.groupby("job", sort=False):
        one = own[own["contender"] == "fastgd"].sort_values("seconds").iloc[0]
        least = own.groupby("contender")["seconds"].min() / one["seconds"]
        ratios = [_ratio(least[name]) if name in least else "" for name in order]
        lanes = f"{one['lanes']} rates" if one["lanes"] > 1 else "one rate"
        what = ", ".join(part for part in one["description"].split(", ") if not part.startswith("b = "))
        job = f"{what}, b = {one['batch_size']}, {lanes}, {one['n']:,} rows"
        share = f"{one['share_of_peak']:.0%}".replace("%", " %")
        lines.append(f"| {job} | {_short(one['seconds'])} | {share} | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def _paragraph(text: str) -> list[str]:
    return [*textwrap.wrap(text, WIDTH), ""]


def _machine(figure: pd.Series) -> str:
    return f"{figure['cores']} cores of an {re.sub(r'[(](R|TM)[)]', '', figure['cpu'])}"


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.2g}"


def _ratio(value: float) -> str:
    return "1" if value == 1 else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
