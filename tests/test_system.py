"""Surroundings that are not the usual ones: containers, no home folder, no locks, no compiler, closed streams."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import store_samples
from cohorts import in_full

import fastgd
from fastgd import InputError
from fastgd.common import system
from fastgd.datasets import record
from fastgd.datasets.record import check_memory

PACKAGE = Path(fastgd.__file__).parent.parent


def tree(root, files):
    """Write files below a folder that stands for /."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = {
    "proc/self/cgroup": "0::/pod/app\n",
    "proc/self/mountinfo": "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n",
    # without a name space of its own a container sees the whole path, and mounted is its own folder
    "proc/self/mountinfo": (
        "33 30 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:15 - cgroup cgroup rw,cpu,cpuacct\n"
        "34 30 0:30 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
        "35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ),
}
TOP, POD, APP = "sys/fs/cgroup/", "sys/fs/cgroup/pod/", "sys/fs/cgroup/pod/app/"
CPU, MEMORY = "sys/fs/cgroup/cpu,cpuacct/", "sys/fs/cgroup/memory/"


@pytest.fixture
def many(monkeypatch):
    """A machine of 64 processors and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(system, "_physical_memory", lambda: 256 << 30)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, 64),
        (V2, 64),
        (V2 | {APP + "cpu.max": "max 100000\n"}, 64),
        (V2 | {APP + "cpu.max": "400000 100000\n"}, 4),
        (V2 | {APP + "cpu.max": "150000 100000\n"}, 2),
        (V2 | {APP + "cpu.max": "10000 100000\n"}, 1),
        (V2 | {APP + "cpu.max": "max 100000\n", POD + "cpu.max": "100000 50000\n"}, 2),
        (V2 | {APP + "cpu.max": "800000 100000\n", POD + "cpu.max": "300000 100000\n", TOP + "cpu.max": "max 1\n"}, 3),
        (V1, 64),
        (V1 | {CPU + "cpu.cfs_quota_us": "-1\n", CPU + "cpu.cfs_period_us": "100000\n"}, 64),
        (V1 | {CPU + "cpu.cfs_quota_us": "250000\n", CPU + "cpu.cfs_period_us": "100000\n"}, 3),
        (V1 | {CPU + "cpu.cfs_quota_us": "250000\n"}, 3),
        # a path that lies outside of what is mounted: the mount is this process's group
        (V2 | {"proc/self/cgroup": "0::/../elsewhere\n", TOP + "cpu.max": "200000 100000\n"}, 2),
        # lines that a sandbox may write are passed over
        (V2 | {"proc/self/cgroup": "none\n0::/pod/app\n", APP + "cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": "none / none\n35 - cgroup2\n"}, 64),
        ({"proc/self/cgroup": "0::/pod/app\n", APP + "cpu.max": "200000 100000\n"}, 64),
    ],
)
def test_threads_follow_the_quotas_of_all_groups_around(tmp_path, files, processors):
    assert system.processors(tree(tmp_path, files)) == processors


def test_threads_follow_the_affinity_within_a_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4}, raising=False)
    assert system.processors(tree(tmp_path, V2 | {APP + "cpu.max": "800000 100000\n"})) == 2


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 256 << 30),
        (V2 | {APP + "memory.max": "max\n"}, 256 << 30),
        (V2 | {APP + "memory.max": "2147483648\n"}, 2 << 30),
        (V2 | {APP + "memory.max": "max\n", POD + "memory.max": "1073741824\n", TOP + "memory.max": "max\n"}, 1 << 30),
        (V1 | {MEMORY + "memory.limit_in_bytes": "9223372036854771712\n"}, 256 << 30),
        (V1 | {MEMORY + "memory.limit_in_bytes": "536870912\n"}, 1 << 29),
    ],
)
def test_memory_follows_the_limits_of_all_groups_around(tmp_path, files, limit):
    assert system.memory(tree(tmp_path, files)) == limit


@pytest.mark.usefixtures("many")
def test_memory_follows_the_limit_of_the_process(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4 << 30, resource.RLIM_INFINITY))
    assert system.memory(tmp_path) == 4 << 30
    with pytest.raises(
        InputError,
        match=r"^rows take 3 GB as dense, more than half of the limit RLIMIT_AS \(ulimit -v\), 4.29 GB: fewer",
    ):
        check_memory(3 * 10**9, "rows", "dense", "fewer")
    monkeypatch.setattr(record, "memory_limits", lambda: [system.MemoryLimit("the run's", 10**9, 999 * 10**6)])
    with pytest.raises(InputError, match=r"more than the 1 MB that are left of the run's limit \(--memory\), 1 GB$"):
        check_memory(2 * 10**6, "rows", "dense")


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_folders_of_a_file_system_without_locks(tmp_path, monkeypatch, code):
    """One process at a time, all the same; and no file is left that would keep the next one out."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with store_samples.open_folder(tmp_path / "r"):
        with pytest.raises(InputError, match=r"another process writes to .* delete \.lock\.held"):
            store_samples.open_folder(tmp_path / "r")
        assert (tmp_path / "r" / ".lock.held").exists()
    assert not (tmp_path / "r" / ".lock.held").exists()
    with store_samples.open_folder(tmp_path / "r"):
        pass


WITHOUT_LOCKS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
WITHOUT_HOME = """
import os, pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
"""
HOMES = ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "FASTGD_CACHE_DIR", "NUMBA_CACHE_DIR")


def python(code, *arguments, **environment):
    """Run code in a process of its own; names without a value are not in its environment."""
    inherited = {key: value for key, value in os.environ.items() if key not in HOMES or "HOME" not in environment}
    given = {key: str(value) for key, value in environment.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=200,
        env={**inherited, "PYTHONPATH": str(PACKAGE), **given},
    )  # fmt: skip


COMMANDS = """
import json, sys
from fastgd.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        sys.stderr.write(f"exit code {end.code}\\n")
"""


def commands(*arguments, before="", **environment):
    """Run commands one after another in a process of its own, after some code; return exit codes and messages."""
    texts = [[str(part) for part in each] for each in arguments]
    done = python(f"{before}\n{COMMANDS}", json.dumps(texts), **environment)
    assert "Traceback" not in done.stderr, done.stderr
    *parts, _ = re.split(r"exit code (\d+)\n", done.stderr)
    return list(map(int, parts[1::2])), [(text.splitlines() or [""])[-1] for text in parts[::2]]


STUDY = """
name = "small"
epochs = 1
[problem]
loss = "logistic"
synthetic = { n = 40, d = 2 }
[[optimizer]]
name = "sgd"
lr = 0.1
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return store_samples.write_study(tmp_path_factory.mktemp("results") / "sample", ["sgd", "adam"], rates=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "small.toml"
    file.write_text(STUDY)
    return file


def test_the_cache_needs_no_locks(small, tmp_path):
    codes, _ = commands(["run", small, "--out", tmp_path / "r"], before=WITHOUT_LOCKS)
    assert codes == [0]
    assert fastgd.load(tmp_path / "r").trials["status"].tolist() == ["completed"]


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_without_a_home_folder(sample, small, tmp_path):
    """HOME is not set, and the system does not know the user, as in many containers."""
    nowhere = {"before": WITHOUT_HOME, "HOME": None, "TMPDIR": tmp_path}
    cache = python(f"{WITHOUT_HOME}\nfrom fastgd.core import cache; print(cache.CACHE)", HOME=None, TMPDIR=tmp_path)
    assert Path(cache.stdout.strip()).parent.parent == tmp_path, cache.stderr
    file = tmp_path / "path.toml"
    file.write_text(STUDY.replace("synthetic = { n = 40, d = 2 }", 'path = "~/a.csv"\ntarget = "y"'))
    fine = [["list", "optimizers"], ["best", sample], ["run", small, "--dry-run"]]
    fine += [["plot", sample, "-o", tmp_path / "a.png"]]
    wrong = [["run", small, "--out", "~/r"], ["best", "~/r"], ["run", "~/s.toml"], ["run", file]]
    codes, messages = commands(*fine, *wrong, **nowhere)
    assert codes == [0] * 4 + [2] * 4
    assert all('"~" stands for no folder: HOME is not set; write the folder out' in text for text in messages[4:])
    assert "problem.path: ~/a.csv" in messages[-1]


def test_a_home_that_is_named_by_a_tilde(sample, tmp_path, monkeypatch):
    found = python("from fastgd.core import cache; print(cache.CACHE)", HOME=tmp_path, FASTGD_CACHE_DIR="~/kernels")
    assert Path(found.stdout.strip()).parent == tmp_path / "kernels"
    monkeypatch.setenv("HOME", str(sample.parent))
    assert len(fastgd.load("~/sample").trials) == len(fastgd.load(sample).trials)
    from fastgd.runs.runner import folder_of

    assert folder_of(None, "~/sample", None) == sample
    with pytest.raises(InputError, match="\"~a-stranger\" stands for no folder: there is no user 'a-stranger'"):
        fastgd.load("~a-stranger/sample")


def test_a_cache_that_is_a_file_and_no_temporary_folder(tmp_path):
    """Kernels are then compiled in every process."""
    (tmp_path / "file").write_text("")
    code = """
import tempfile
def none():
    raise FileNotFoundError("No usable temporary directory found")
tempfile.gettempdir = none
from fastgd.core import cache
print(cache.CACHE)
"""
    found = python(code, HOME=tmp_path, FASTGD_CACHE_DIR=tmp_path / "file")
    assert found.stdout == "None\n", found.stderr


# --- the compiler -----------------------------------------------------------------------------------------------------


def test_without_the_compiler(sample, small, tmp_path):
    """What needs no compiler works; what does says so before anything is written."""
    fine = [["list", "optimizers"], ["best", sample], ["plot", sample, "-o", tmp_path / "a.png"]]
    wrong = [["run", small, "--out", tmp_path / "r"], ["warmup", small], ["info"]]
    codes, messages = commands(*fine, *wrong, NUMBA_DISABLE_JIT=1)
    assert codes == [0] * 3 + [2] * 3
    assert all(text.startswith("error: fastgd needs Numba's compiler") for text in messages[3:])
    assert not (tmp_path / "r").exists()
    code = """
import numpy, fastgd.optimizers
from fastgd import InputError
try:
    fastgd.optimizers.adam(numpy.zeros(3), lr=0.1).step(numpy.ones(3))
except InputError as error:
    print(error)
"""
    assert "needs Numba's compiler" in python(code, NUMBA_DISABLE_JIT=1).stdout


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        in_full("list optimizers --json | true", 0),
        in_full("list optimizers | true", 0),
        ("best {sample} | true", 0),
        in_full("list losses --json >&-", 0),
        ("best {sample} >&- 2>&-", 0),
        in_full("--version >&-", 0),
    ],
)
def test_output_that_nobody_reads(sample, line, code):
    shell = f"set -o pipefail; {sys.executable} -m fastgd {line.format(sample=sample)}"
    done = subprocess.run(
        ["bash", "-c", shell],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize(
    "arguments", [["list", "losses"], in_full(["list", "losses", "--json"]), in_full(["--version"])]
)
def test_output_to_a_full_disk(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastgd", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: cannot write on standard output: No space left on device\n"


def test_letters_that_the_output_cannot_encode(tmp_path):
    names = store_samples.write_study(tmp_path / "r", ["sgd"], rates=2)
    code = (
        "from fastgd.cli.app import _open_streams as o; o()\n"
        "from fastgd.cli.output.consoles import show; show('été → 1')"
    )
    done = python(code, PYTHONIOENCODING="ascii")
    assert done.stdout == "\\xe9t\\xe9 \\u2192 1\n", done.stderr
    assert commands(["best", names], PYTHONIOENCODING="ascii", TERM="dumb", COLUMNS="1")[0] == [0]
