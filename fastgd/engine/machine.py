"""What this machine is and can do: for provenance, and as the yardstick of the benchmarks."""

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.common.system import memory, memory_limits
from fastgd.core import cache as the_cache
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.threads import Threads, available_threads, call
from fastgd.core.vectors import aligned, load, register_bits, store
from fastgd.engine.shapes import tile_shape

_ELEMENTS = 1 << 24  # of each array of the bandwidth's measurement, float64: past any cache
_FEW_ELEMENTS = 1 << 22  # where it has to be quick: past the caches of a core, in a tenth of a second
_ROUNDS = 2_000_000


class Machine(NamedTuple):
    """The yardsticks of a machine.

    Attributes
    ----------
    gflops_float64, gflops_float32 : float
        Peak of fused multiply-adds over all threads, in 10^9 operations a second; a multiply-add counts two.
    gbytes : float
        Memory bandwidth of `a = b + s c` over all threads, in 10^9 bytes a second, as STREAM's triad counts them.
    """

    gflops_float64: float
    gflops_float32: float
    gbytes: float


@cache
def cpu_model() -> str:
    """Return the processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@jit
def _multiply_adds(shape, values, rounds):
    w = static(shape, "width")
    x = load(shape, values, 0)
    a, b, c, d, e, f = x, x, x, x, x, x
    g, h, i, j, k, m = x, x, x, x, x, x
    for _ in range(rounds):
        a, b, c, d, e, f = a * x + x, b * x + x, c * x + x, d * x + x, e * x + x, f * x + x
        g, h, i, j, k, m = g * x + x, h * x + x, i * x + x, j * x + x, k * x + x, m * x + x
    store(values, w, ((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + m)))


@jit
def _triad(a, b, c, scale):
    for i in range(a.shape[0]):
        a[i] = b[i] + scale * c[i]


def _fastest(threads: Threads, calls: list[Callable[[], Any]], repeats: int = 5) -> float:
    """Return the seconds of the fastest repeat: where their clocks are fine enough, those that the threads work."""
    fine = time.get_clock_info("thread_time").resolution < 1e-4
    clock, seconds = time.thread_time if fine else time.perf_counter, np.empty((repeats + 1, len(calls)))

    def timed(number: int, worker: int) -> None:
        start = clock()
        calls[worker]()
        seconds[number, worker] = clock() - start

    for number in range(repeats + 1):
        threads.run([partial(timed, number, worker) for worker in range(len(calls))])
    return float(seconds[1:].max(axis=1).min())


def measure(threads: Threads | None = None, elements: int = _ELEMENTS) -> Machine:
    """Measure this machine's multiply-add peak and memory bandwidth: a second, and 400 MB where there are as many."""
    threads = threads or Threads()
    peaks = []
    for dtype in (np.float64, np.float32):
        lanes = register_bits()[0] // 8 // np.dtype(dtype).itemsize
        shape = Static(tile_shape(lanes, np.dtype(dtype).itemsize))
        values = [aligned((2 * lanes,), dtype) for _ in range(threads.count)]
        seconds = _fastest(threads, [call(_multiply_adds, (shape, array, _ROUNDS)) for array in values])
        peaks.append(2.0 * 12 * lanes * _ROUNDS * threads.count / seconds / 1e9)
    left = min(limit.left for limit in memory_limits())
    each = min(elements, left // 100) // threads.count  # a quarter of the memory that is left, at most
    arrays = [np.ones((3, each)) for _ in range(threads.count)]
    seconds = _fastest(threads, [call(_triad, (*triple, 3.0)) for triple in arrays])
    return Machine(peaks[0], peaks[1], 3.0 * 8 * each * threads.count / seconds / 1e9)


@cache
def limits(threads: int | None = None) -> Machine:
    """Return the yardsticks by which costs are estimated: measured once for a machine, then read from the cache.

    Parameters
    ----------
    threads : int, optional
        By default all that the process may use.
    """
    count = threads or available_threads()
    file = _limits_file(count)
    with suppress(OSError, ValueError, TypeError):  # it is not there yet, or damaged
        if file:
            return Machine(*map(float, json.loads(the_cache.verified(file))))
    with Threads(count) as pool:
        found = measure(pool, _FEW_ELEMENTS)
    if file:
        the_cache.write_verified(file, json.dumps(found).encode())
    return found


def _limits_file(count: int) -> Path | None:
    """Where the yardsticks of so many threads are kept: the cache's folder may be shared by machines."""
    name = hashlib.sha256(f"{cpu_model()} {count}".encode()).hexdigest()[:16]
    return the_cache.CACHE / f"limits-{name}.json" if the_cache.CACHE else None


def info() -> dict[str, Any]:
    """Return versions, threads, vector width, cache folder and the measured yardsticks, for `fastgd info`."""
    packages = ("numba", "llvmlite", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn")
    with Threads() as threads:
        machine = measure(threads)
        return {
            "fastgd": importlib.metadata.version("fastgd"),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in packages},
            "cpu": cpu_model(),
            "threads": threads.count,
            "memory_gb": round(memory() / 1e9, 1),
            "simd_bits": register_bits()[0],
            "threading_layer": "threads (kernels release the interpreter's lock)",
            "cache": str(the_cache.CACHE) if the_cache.CACHE else None,
            "bandwidth_gb_per_s": round(machine.gbytes, 1),
            "fma_peak_gflops": {
                "float64": round(machine.gflops_float64, 1),
                "float32": round(machine.gflops_float32, 1),
            },
        }
