"""Small sparse tables, and what their canonical form is, for tests."""

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

RNG = np.random.default_rng(0)
FORMATS = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
TABLES = arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 0.0, 0.0, -0.0, 1.0, -2.5, 1e-3, 3e4]),
)


def is_canonical(X, dtype=None):
    assert isinstance(X, sp.csr_array)
    assert (X.indices.dtype, X.indptr.dtype) == (np.int32, np.int64)
    assert X.dtype in ((np.float32, np.float64) if dtype is None else (dtype,))
    assert len(X.data) == len(X.indices) == X.indptr[-1]
    assert X.indptr[0] == 0
    for array in (X.data, X.indices, X.indptr):
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert array.flags.writeable
    fresh = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape)  # knows no flags
    fresh.check_format(full_check=True)
    return fresh.has_canonical_format and (X.data != 0).all()


def random_table(n=60, d=8, density=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 1, size=(n, d)) * (rng.random((n, d)) < density)
