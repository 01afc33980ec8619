"""Studies that nobody ran: results of a plausible shape, written through the store as the runner writes them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fastgd.store import Columns, Folder, Manifest

# Per optimizer: the rate at which it is fastest, its speed there, and further hyper-parameters.
OPTIMIZERS = {
    "sgd": (0.5, 0.8, {}),
    "momentum": (0.1, 1.6, {"momentum": [0.5, 0.9]}),
    "nesterov": (0.1, 1.8, {"momentum": [0.5, 0.9]}),
    "adagrad": (0.3, 1.2, {}),
    "rmsprop": (0.01, 1.7, {"alpha": [0.9, 0.99]}),
    "adadelta": (1.0, 0.7, {"rho": [0.9, 0.95]}),
    "adam": (0.01, 2.2, {"beta1": [0.8, 0.9], "beta2": [0.99, 0.999]}),
    "amsgrad": (0.01, 2.0, {"beta1": [0.9], "beta2": [0.999]}),
    "adamw": (0.02, 2.1, {"beta1": [0.9], "beta2": [0.999]}),
    "nadam": (0.02, 1.9, {"beta1": [0.9], "beta2": [0.999]}),
}
START, FLOOR = 0.693, 0.38


def manifest(**changes) -> Manifest:
    fields = {
        "name": "sample",
        "study_hash": "5" * 16,
        "fingerprints": {"flights": "f" * 64},
        "fastgd": "0.1.0",
        "packages": {"numba": "0.68.1", "numpy": "2.4.0"},
        "python": "3.11.7",
        "cpu": "A Processor",
        "threads": 2,
        "simd_bits": 512,
        "threading_layer": "omp",
        "started": "2025-01-01T00:00:00+00:00",
    }
    return Manifest(**{**fields, **changes})


def open_folder(
    path: Path, *, hyper=("lr",), schedule_params=(), metrics=(), study_toml='name = "sample"\n', **options
):
    """Open a folder; what is no option of Folder.open changes the manifest. Another `study_hash` is another study."""
    if "study_hash" in options:
        study_toml += f"# {options['study_hash']}\n"
    options["study_hash"] = hashlib.sha256(study_toml.encode()).hexdigest()
    ours = {name: options.pop(name) for name in ("fresh", "allow_mixed") if name in options}
    return Folder.open(
        path,
        manifest=manifest(**options),
        study_toml=study_toml,
        columns=Columns(tuple(hyper), tuple(schedule_params), tuple(metrics)),
        **ours,
    )


# The columns that tell no configuration, whose name is a hash of all that decides its numbers but the seed.
OF_TRIALS = {
    *("trial_id", "seed", "split_seed", "kernel", "status", "reason", "steps", "epochs", "cohort_id", "cohort_lanes"),
    *(f"{when}_{name}" for when in ("final", "best") for name in ("loss", "validation_loss")),
    *(f"{stage}_seconds" for stage in ("compile", "train", "evaluate")),
}


def trials(count: int, prefix: str = "t", **columns) -> pd.DataFrame:
    """Rows of trials with the contract's columns."""
    fields = {
        "trial_id": [f"{prefix}{i:05d}" for i in range(count)],
        "problem": "flights",
        "dataset": "flights",
        "loss": "logistic",
        "n": 1000,
        "d": 3,
        "l2": 1e-4,
        "optimizer": "sgd",
        "variant": "",
        "lr": np.geomspace(1e-3, 1.0, count),
        "schedule": "constant",
        "batch_size": 64,
        "seed": 0,
        "split_seed": 0,
        "fold": None,
        "dtype": "float64",
        "layout": "dense",
        "sparse": "exact",
        "kernel": "tile",
        "status": "completed",
        "reason": "",
        "steps": 160,
        "best_step": 160,
        "epochs": 10.0,
        "final_loss": np.linspace(0.6, 0.4, count),
        "best_loss": np.linspace(0.6, 0.4, count),
        "final_validation_loss": None,
        "best_validation_loss": None,
        "cohort_id": f"cohort-{prefix}00000",
        "cohort_lanes": count,
        "compile_seconds": 0.0,
        "train_seconds": 1.0,
        "evaluate_seconds": 0.1,
    }
    rows = pd.DataFrame({**fields, **columns}, index=range(count))
    return configured(rows)


def configured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return trials with the names of their configurations."""
    told = rows.drop(columns=[*OF_TRIALS, "configuration"], errors="ignore").to_numpy(object)
    return rows.assign(configuration=["/".join(map(str, row)) for row in told])


def block(ids, checkpoint: int, **columns) -> dict:
    """One checkpoint of a cohort, as the engine hands it over."""
    loss = 0.7 * np.exp(-0.1 * checkpoint) + np.arange(len(ids)) * 1e-3
    fields = {
        "trial_id": np.asarray(ids, dtype=object),
        "step": 16 * checkpoint,
        "epoch": float(checkpoint),
        "samples_seen": 1000 * checkpoint,
        "loss": loss,
        "param_norm": np.sqrt(loss),
        "lr": 0.1,
        "train_seconds": 0.01 * checkpoint,
    }
    return {**fields, **columns}


def commit(folder: Folder, rows: pd.DataFrame, checkpoints: int = 3, parameters: bool = False, **columns) -> list[str]:
    """Commit a cohort, and return its trials."""
    ids = rows["trial_id"].tolist()
    with folder.writer() as cohort:
        for checkpoint in range(checkpoints):
            cohort.append("curves", block(ids, checkpoint, **columns))
        if parameters:
            cohort.parameters(ids, np.arange(3.0 * len(ids)).reshape(len(ids), 3))
        cohort.commit(rows)
    return ids


def read(folder, kind):
    return pd.read_parquet(folder / kind).sort_values("trial_id", ignore_index=True, kind="stable")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def in_a_child(code, *arguments, **options):
    """Run code with the samples at hand in a process of its own."""
    program = f"import os, sys\nfrom pathlib import Path\nfrom store_samples import *\n{code}"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        **options,
    )


def write_study(
    path: Path,
    optimizers: list[str],
    *,
    rates: int = 24,
    seeds: int = 3,
    batch_sizes: tuple[int, ...] = (64,),
    epochs: int = 20,
    log_steps: int = 0,
    validation: bool = True,
    problems: tuple[str, ...] = ("flights",),
    top: float = 10.0,
) -> Path:
    """Write the results of optimizers x rates x further hyper-parameters x batch sizes x seeds.

    The loss falls exponentially at a speed that peaks at the optimizer's rate; above 30 times that rate it explodes.
    """
    hyper = dict.fromkeys(["lr", *(name for optimizer in optimizers for name in OPTIMIZERS[optimizer][2])])
    checkpoints = np.arange(epochs + 1.0)
    if log_steps:
        checkpoints = np.r_[0, np.unique(np.geomspace(1, 16 * epochs, log_steps).astype(int))] / 16
    fingerprints = {problem: hashlib.sha256(problem.encode()).hexdigest() for problem in problems}
    everything = []
    with open_folder(path, hyper=tuple(hyper), fingerprints=fingerprints) as folder:
        for problem in problems:
            for optimizer in optimizers:
                for batch_size in batch_sizes:
                    everything += _write_cohort(
                        folder, problem, optimizer, batch_size, rates, seeds, checkpoints, validation, top
                    )
        timings = {"load": 0.5, "plan": 0.01, "compile": 1.5, "train": 3.0, "evaluate": 0.4, "store": 0.2}
        folder.finish(everything, timings=lambda: timings)
    return path


def _write_cohort(folder, problem, optimizer, batch_size, rates, seeds, checkpoints, validation, top):
    best_rate, speed, others = OPTIMIZERS[optimizer]
    lr = np.geomspace(1e-4, top, rates)
    axes = pd.MultiIndex.from_product([lr, *others.values(), range(seeds)], names=["lr", *others, "seed"])
    rows = axes.to_frame(index=False)
    random = np.random.default_rng([len(optimizer), sum(map(ord, optimizer + problem)), batch_size])
    count = len(rows)
    distance = np.log10(rows["lr"].to_numpy() / best_rate)
    for name, values in others.items():
        distance = distance + 0.25 * (rows[name].to_numpy() == values[0]) * (len(values) > 1)
    distance = distance + 0.1 * np.log2(64 / batch_size)
    rate = speed * 10 ** (-0.8 * distance**2) * np.where(distance > 0, 0.6, 1.0)
    diverges = distance > 1.5
    floor = FLOOR + 0.02 / speed + 0.015 * np.clip(distance, 0, None) + 0.002 * random.normal(size=count)
    ids = [hashlib.sha256(f"{problem} {optimizer} {batch_size} {i}".encode()).hexdigest()[:16] for i in range(count)]
    ids = np.array(ids, dtype=object)
    blow_up = 1 + 3 / np.clip(distance, 1, None)
    alive, best, final, steps = np.ones(count, bool), np.full(count, np.inf), np.zeros(count), np.zeros(count, int)
    shift = 0.01 + 0.002 * random.normal(size=count)
    with folder.writer() as cohort:
        for epoch in checkpoints:
            noise = 0.004 * random.normal(size=count) * (epoch > 0) * np.clip(1 + distance, 0, 3)
            loss = floor + (START - floor) * np.exp(-rate * epoch) + noise * np.exp(-0.1 * epoch)
            loss = np.where(diverges, START * np.exp(np.minimum(epoch * epoch / blow_up, 700)), loss)
            loss = np.where(loss > 1e4, np.inf, loss)
            final[alive], steps[alive] = loss[alive], round(epoch * 1000 / batch_size)
            best = np.where(alive, np.minimum(best, loss), best)
            seen = {"loss": loss, "param_norm": np.full(count, np.sqrt(epoch)), "lr": rows["lr"].to_numpy()}
            if validation:
                seen["validation_loss"] = loss + shift
            cohort.append(
                "curves",
                {
                    "trial_id": ids[alive],
                    "step": round(epoch * 1000 / batch_size),
                    "epoch": epoch,
                    "samples_seen": round(epoch * 1000),
                    "train_seconds": 0.1 * epoch,
                    **{name: values[alive] for name, values in seen.items()},
                },
            )
            alive &= np.isfinite(loss)
        # A lane ends at the checkpoint that finds it diverged, whose loss is stored as it is: infinite.
        cohort.commit(
            trials(
                count,
                trial_id=ids,
                problem=problem,
                dataset=problem,
                optimizer=optimizer,
                batch_size=batch_size,
                **rows,
                status=np.where(alive, "completed", "diverged"),
                reason=np.where(alive, "", "loss is not finite"),
                steps=steps,
                epochs=steps * batch_size / 1000,
                final_loss=final,
                best_loss=best,
                final_validation_loss=final + shift if validation else None,
                best_validation_loss=best + shift if validation else None,
            )
        )
    return ids.tolist()
