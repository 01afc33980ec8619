"""What all tests share."""

import gc
import os
import signal
from zlib import crc32

import pytest
from hypothesis import settings

# The same examples in every run: a failure in CI is a failure at the desk. Kernels compile on their first example.
settings.register_profile("fastgd", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("fastgd")

# Tests share a cache that fills up: a second process that compiles beside each run would take its turn from the others.
os.environ.setdefault("FASTGD_COMPILE_AHEAD", "0")

# Shells start what runs in the background with Ctrl-C ignored, and so would all that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_stay():
    """What a test leaves of its signals' handlers, later ones that interrupt themselves would die of."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# Compiling makes millions of objects that last: collections at the usual numbers would take a tenth of its time.
gc.set_threshold(200_000, 20, 20)

# The files that take longest begin, so that no worker is left alone with one at the end; files that stand side by side
# here compile different kernels, so that two workers that begin them do not wait for each other.
FIRST = (
    "test_rules",
    "test_sparse",
    "test_corpus",
    "test_sparse_rules",
    "test_options",
    "test_zero_rates",
    "test_estimators",
    "test_store_crash",
    "test_jit",
    "test_engine_bits",
    "test_optimizers",
    "test_memory",
    "test_measure",
    "test_campaign",
    "test_costs",
    "test_signals",
)
PLACES = {name: place for place, name in enumerate(FIRST)}


def pytest_addoption(parser):
    about = "run the K-th of N parts (counted round and round) of the tests that are marked `full`, and all others"
    parser.addoption("--part", metavar="K/N", default="0/1", help=about)


def pytest_collection_modifyitems(config, items):
    number, parts = map(int, config.getoption("part").split("/"))
    # by a hash of their names, which other tests do not change
    left_out = {
        item for item in items if item.get_closest_marker("full") and (crc32(item.nodeid.encode()) - number) % parts
    }
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: PLACES.get(item.path.stem, len(FIRST)))
