"""Attacks on how processes and threads share this machine: forks, a cold cache, machine code that was damaged."""

import shutil
import subprocess
from pathlib import Path

import numpy as np

from campaign.attack import Attack, Found, python

STANDSTILL = 200  # seconds after which a process that stands still is ended

# What processes run: a study on small data, and an optimizer on an array that threads share.
WORK = f"""
import os, sys, threading
import numpy as np
import fastgd
from fastgd import optimizers

X = np.random.default_rng(0).standard_normal((50, 3))
y = (X[:, 0] > 0) * 1.0

def study(folder, rule="sgd"):
    fields = {{"name": "small", "epochs": 2, "batch_size": 16, "problem": {{"loss": "logistic"}}}}
    small = fastgd.Study(**fields, optimizer={{"name": rule, "lr": [0.5, 0.1]}})
    return fastgd.run(small, folder, data=(X, y)).trials["final_loss"].tolist()

def array():
    w = np.zeros(300_000)
    rule = optimizers.adam(w, lr=1e-3, threads=2)
    for _ in range(3):
        rule.step(2 * (w - 1))
    return w[[0, -1]].tolist()

def waited_for(threads):
    for thread in threads:
        thread.join({STANDSTILL})
    return not any(thread.is_alive() for thread in threads)
"""

FORK = f"""
import multiprocessing, signal, traceback

def in_child(work, *arguments):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    signal.alarm({STANDSTILL})
    try:
        assert work(*arguments) == wanted[work]
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

way, out = sys.argv[1:]
if way == "a thread compiles":
    threads = [threading.Thread(target=study, args=(out + "/thread", "adam"), daemon=True)]
    threads[0].start()
    wanted = {{study: study(out + "/parent")}}
    in_child(study, out + "/child")
    assert waited_for(threads)
    sys.exit()
wanted = {{study: study(out + "/parent"), array: array()}}
if way == "it has run":
    in_child(study, out + "/child")
    in_child(array)
if way == "it has a pool":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(study, [f"{{out}}/{{i}}" for i in range(4)]).get({STANDSTILL})
    assert found == [wanted[study]] * 4
assert array() == wanted[array]
"""
WAYS = ("it has run", "it has a pool", "a thread compiles")

COLD = """
out, *names = sys.argv[1:]
work = {"sgd": lambda: study(out + "/sgd"), "adam": lambda: study(out + "/adam", "adam"), "array": array}
ended = {}
threads = [threading.Thread(target=lambda name=name: ended.update({name: work[name]()}), daemon=True) for name in names]
for thread in threads:
    thread.start()
waited_for(threads)
print([ended.get(name) for name in names], flush=True)
os._exit(len(ended) != len(names))
"""

KERNELS = """
print(study(sys.argv[1]), array())
"""


def _fails(done: subprocess.CompletedProcess, what: str) -> list[str]:
    """Return the failure of a process, if there is one."""
    return [] if done.returncode == 0 else [f"{what}: exit code {done.returncode}, {done.stderr.strip()[-300:]}"]


def fork(random: np.random.Generator, tries: int, folder: Path) -> Found:
    failures = []
    for index in range(tries):
        way, out = WAYS[index % len(WAYS)], folder / str(index)
        cache = {"FASTGD_CACHE_DIR": str(out / "cache")} if way == "a thread compiles" else {}
        done = python("-c", WORK + FORK, way, str(out), cwd=folder, timeout=3 * STANDSTILL, **cache)
        failures += _fails(done, f"a fork where {way}")
    return Found(tries, failures)


def start_cold(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Let threads compile, with nothing in the cache: studies, and steps of an array, whose kernels compile late."""
    failures = []
    for index in range(tries):
        names = ["sgd", *random.permutation(["adam", "array"])[: 1 + index % 2]]
        cache = str(folder / f"cache-{index}")
        done = python(
            "-c", WORK + COLD, str(folder / str(index)), *names, cwd=folder, timeout=600, FASTGD_CACHE_DIR=cache
        )
        failures += _fails(done, f"a cold start by threads that run {names}")
    return Found(tries, failures)


def damage_kernels(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Damage files of a cache that a process then works with: ten at a time."""
    cache, failures = folder / "cache", []
    whole = python("-c", WORK + KERNELS, str(folder / "whole"), cwd=folder, FASTGD_CACHE_DIR=str(cache))
    kept, made = folder / "kept", 0
    shutil.copytree(cache, kept)
    while made < tries:
        shutil.rmtree(cache)
        shutil.copytree(kept, cache)
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        chosen = [files[number] for number in random.choice(len(files), min(10, len(files)), replace=False)]
        contents = [path.read_bytes() for path in files]
        told = [f"{path.name}: {_damage(random, path, contents)}" for path in chosen]
        made += len(told)
        done = python("-c", WORK + KERNELS, str(folder / str(made)), cwd=folder, FASTGD_CACHE_DIR=str(cache))
        failures += _fails(done, f"damaged kernels ({', '.join(told)})")
        if done.stdout != whole.stdout:
            failures.append(f"damaged kernels ({', '.join(told)}): {done.stdout} instead of {whole.stdout}")
        if (folder / "run by a pickle").exists():
            failures.append("a file that fastgd did not write was unpickled")
    return Found(made, failures)


def _damage(random: np.random.Generator, path: Path, contents: list[bytes]) -> str:
    content, way = bytearray(path.read_bytes()), random.integers(6)
    if way == 0:
        path.write_bytes(b"")
        return "emptied"
    if way == 1:
        path.write_bytes(content[: random.integers(len(content) + 1)])
        return "truncated"
    if way == 2:
        path.write_bytes(contents[random.integers(len(contents))])
        return "another one's content"
    if way == 3:
        path.unlink()
        path.mkdir()
        return "a folder"
    if way == 4:  # a pickle that makes a file, were it loaded
        path.write_bytes(b"cos\nmkdir\n(S'run by a pickle'\ntR.")
        return "a stranger's pickle"
    for bit in random.integers(8 * max(1, len(content)), size=1 + random.integers(3)):
        if content:
            content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return "flipped bits"


FORKS = Attack(
    "forks",
    "children of a fork run studies and step arrays, also where a thread of the parent compiles",
    "tests/test_cache.py",
    fork,
    tries=12,
    few=1,
    beyond="a fork waits until other threads have compiled what they are at",
)
COLD_STARTS = Attack(
    "cold starts",
    "threads that compile at once do not wait for each other for ever",
    "tests/test_cache.py",
    start_cold,
    tries=6,
    few=1,
)
DAMAGED_KERNELS = Attack(
    "damaged kernels",
    "machine code that is not what was written is never run: it is set aside and compiled anew",
    "tests/test_cache.py",
    damage_kernels,
    tries=300,
    few=10,
    beyond="who can write to the cache as its user can run anything anyway",
)
