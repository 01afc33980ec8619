"""Synthetic data, targets of a true weight vector: Gaussian features of a chosen condition number, or sparse ones."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from fastgd.common.keys import checked
from fastgd.datasets.arrays import build
from fastgd.datasets.csr import MOST_COLUMNS
from fastgd.datasets.record import CSR, DATASETS, Dataset, DatasetRecord, Floats, check_memory
from fastgd.datasets.sources import zipf

VALUES_PER_BLOCK = 1 << 17  # a block stays in the processor's cache
LESS = "a smaller n or d takes less"


class Synthetic(BaseModel):
    """What `synthetic = { ... }` may say; its features are dense, or with `nonzeros` sparse."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n: PositiveInt = Field(description="Rows.")
    d: PositiveInt = Field(description="Columns.")
    condition: float = Field(
        default=1.0,
        ge=1.0,
        allow_inf_nan=False,
        description="The condition number of the features' covariance: its eigenvalues fall geometrically from 1 to "
        "1/condition.",
        json_schema_extra={"goes_with": "no `nonzeros`"},
    )
    nonzeros: PositiveInt | None = Field(default=None, description="Makes sparse rows, each with so many columns.")
    exponent: float = Field(
        default=1.0,
        ge=0.0,
        le=10.0,
        description="Of Zipf's law, by which the columns of sparse rows are drawn: proportional to "
        "(1 + column) ** -exponent.",
        json_schema_extra={"goes_with": "`nonzeros`"},
    )
    noise: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Classification: the probability that a label is flipped, at most 0.5. Regression: the standard "
        "deviation of what is added to targets that have variance 1.",
    )
    seed: NonNegativeInt = Field(default=0, description="Of features, weights and noise.")
    task: Literal["classification", "regression"] = Field(
        default="classification", description="Labels 0 and 1, or numbers."
    )

    @model_validator(mode="after")
    def _noise_flips(self) -> "Synthetic":
        if self.task == "classification" and self.noise > 0.5:
            raise ValueError(f"noise flips labels with this probability, at most 0.5; found {self.noise}")
        return self

    @model_validator(mode="after")
    def _dense_or_sparse(self) -> "Synthetic":
        if self.nonzeros is None:
            if "exponent" in self.model_fields_set:
                raise ValueError("exponent is for sparse features; give nonzeros too")
            return self
        if "condition" in self.model_fields_set:
            raise ValueError("condition is for dense features; leave it out where there is nonzeros")
        if self.nonzeros > self.d:
            raise ValueError(f"nonzeros is at most d = {self.d}: a row's columns are distinct; found {self.nonzeros}")
        if self.d > MOST_COLUMNS:
            raise ValueError(f"d is at most {MOST_COLUMNS:,} for sparse features; found {self.d}")
        return self

    @model_serializer(mode="wrap")
    def _those_that_apply(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the keys of dense or those of sparse features."""
        others = ("nonzeros", "exponent") if self.nonzeros is None else ("condition",)
        return {key: value for key, value in write(self).items() if key not in others}

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> "Synthetic":
        """Return the checked keys, or raise InputError naming the first that is wrong."""
        return checked(cls, "synthetic", keys)

    @property
    def name(self) -> str:
        """A name that differs from that of other synthetic data."""
        keys = self.model_dump(exclude_defaults=True)
        return f"synthetic({', '.join(f'{key}={value}' for key, value in keys.items())})"


def make(spec: Synthetic) -> Dataset:
    """Return the dataset. Its targets are of margins m of variance 1: m > 0, or m itself, with the noise.

    All operations are element-wise: unlike those of a matrix product, their bits do not depend on threads.
    """
    streams = [np.random.Generator(np.random.PCG64(stream)) for stream in np.random.SeedSequence(spec.seed).spawn(3)]
    X, margin = _gaussian(spec, *streams[:2]) if spec.nonzeros is None else _sparse(spec, spec.nonzeros, *streams[:2])
    return build(spec.name, X, _targets(margin, spec, streams[2]))


def _gaussian(spec: Synthetic, shape: np.random.Generator, rows: np.random.Generator) -> tuple[Floats, Floats]:
    """Return X (n, d) = Z S R with Z Gaussian, S the square roots of the eigenvalues, R a rotation; and X w (n,).

    The true weights w have no preferred direction.
    """
    layers = (spec.d - 1).bit_length() + 1
    what = f"{spec.name}: {spec.n:,} rows x {spec.d:,} columns"
    check_memory(8 * (spec.n + layers) * spec.d, what, "dense float64", LESS)
    scale = spec.condition ** (-0.5 * np.linspace(0, 1, spec.d))
    weights = shape.standard_normal(spec.d) * scale
    weights /= np.sqrt(np.sum(weights * weights))
    pairs = [_random_pairs(spec.d, shape) for _ in range(layers)]

    X, margin = np.empty((spec.n, spec.d)), np.empty(spec.n)
    step = max(1, VALUES_PER_BLOCK // spec.d)
    for start in range(0, spec.n, step):
        block = X[start : start + step]
        rows.standard_normal(out=block)
        latent = np.ascontiguousarray(block.T)
        margin[start : start + step] = (latent * weights[:, None]).sum(axis=0)
        latent *= scale[:, None]
        _rotate(latent, pairs)
        block[:] = latent.T
    return X, margin


def _sparse(
    spec: Synthetic, nonzeros: int, shape: np.random.Generator, rows: np.random.Generator
) -> tuple[CSR, Floats]:
    what = f"{spec.name}: {spec.n:,} rows x {nonzeros:,} non-zeros of {spec.d:,} columns"
    check_memory(12 * spec.n * nonzeros + 32 * spec.d, what, "sparse float64", LESS)
    X = zipf.rows(spec.n, spec.d, nonzeros, spec.exponent, rows)
    return X, zipf.margins(X, shape.standard_normal(spec.d))


def _targets(margin: Floats, spec: Synthetic, noise: np.random.Generator) -> Floats:
    if spec.task == "regression":
        margin += spec.noise * noise.standard_normal(spec.n)
        return margin
    flipped = noise.random(spec.n) < spec.noise
    labels: Floats = ((margin > 0) != flipped).astype(np.float64)
    return labels


Pairs = tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.intp]]]


def _random_pairs(d: int, rng: np.random.Generator) -> Pairs:
    """Return two index arrays (d // 2,) that pair the columns at random."""
    order, half = rng.permutation(d), d // 2
    return order[:half], order[half : 2 * half]


def _rotate(latent: Floats, pairs: list[Pairs]) -> None:
    """Rotate the columns of X, the rows of latent (d, b), in place.

    A layer turns each pair of columns by the angle of the 3-4-5 triangle; 1 + log2(d) layers mix every column with
    all others, so that neither standardisation nor a rate per parameter undoes the condition number.
    """
    for i, j in pairs:
        a, b = latent[i], latent[j]
        latent[i] = 0.6 * a - 0.8 * b
        latent[j] = 0.8 * a + 0.6 * b


DATASETS.add(
    DatasetRecord(
        name="synthetic",
        summary="Gaussian features, or with nonzeros sparse ones by Zipf's law: "
        "synthetic = { n, d, condition | nonzeros, exponent, noise, seed, task }",
        task="either",
        rows=None,
        columns=None,
        source="made when it is loaded, by its seed",
        target="y",
        load=None,
    )
)
