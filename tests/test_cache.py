"""The kernel cache: what stands in it is what was written, is this user's alone, and keeps nobody waiting for ever."""

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numba
import pytest
from filelock import FileLock

import fastgd
from fastgd.common.folders import private
from fastgd.common.properties import cached_property
from fastgd.core import cache as the_cache
from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit

PACKAGE = Path(fastgd.__file__).parent.parent
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives folders away")


# --- what stands in it ------------------------------------------------------------------------------------------------


def test_a_file_is_what_was_written(tmp_path):
    the_cache.write_verified(tmp_path / "a.kernel", b"machine code")
    assert the_cache.verified(tmp_path / "a.kernel") == b"machine code"
    assert [path.name for path in tmp_path.iterdir()] == ["a.kernel"], "no temporary file stays"
    with pytest.raises(FileNotFoundError):
        the_cache.verified(tmp_path / "b.kernel")


@pytest.mark.parametrize("damage", ["emptied", "cut", "longer", "flipped", "digest flipped", "renamed"])
def test_a_damaged_file_is_set_aside(damage, tmp_path, caplog):
    path = tmp_path / "a.kernel"
    the_cache.write_verified(path, b"machine code")
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    changed = {"emptied": b"", "cut": content[:-1], "longer": content + b"0", "flipped": flipped}
    if damage == "renamed":  # an entry of other types
        path = path.replace(tmp_path / "b.kernel")
    else:
        path.write_bytes(changed.get(damage, bytes([content[0] ^ 1]) + content[1:]))
    assert the_cache.verified(path) == b""
    assert not path.exists()
    assert f"{path} of the kernel cache is damaged" in caplog.text


def test_a_full_disk_costs_the_cache_alone(tmp_path):
    """No file may grow past some bytes, as on a disk that is full: nothing is cached, and everything runs."""
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from fastgd.core import cache as the_cache
from fastgd.common.folders import private
from fastgd.common.properties import cached_property
from fastgd.engine.rows.order import shuffle
import numpy as np
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
order = np.empty(5, np.int32)
shuffle(order, 0, 0)
print(sorted(order.tolist()), sorted(path.name for path in the_cache.CACHE.iterdir()))
"""
    environment = os.environ | {"FASTGD_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4] ['locks']\n", "")


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_a_folder_is_made_for_this_user_alone(tmp_path):
    folder = private(tmp_path / "a" / "kernels")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private(folder) == folder


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_write_to_is_not_used(mode, tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(mode)
    with pytest.raises(PermissionError, match="not this user's alone"):
        private(tmp_path / "kernels")


def test_a_folder_in_whose_place_others_may_put_theirs_is_not_used(tmp_path):
    around = tmp_path / "around"
    around.mkdir()
    around.chmod(0o777)
    with pytest.raises(PermissionError):
        private(around / "kernels")
    around.chmod(0o1777)  # as the temporary folder: everybody moves but their own
    assert private(around / "kernels").is_dir()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "kernels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        private(tmp_path / "kernels")


def cache_of(tmp_path, code="print(the_cache.CACHE)", **environment):
    names = {"PYTHONPATH": str(PACKAGE), "TMPDIR": str(tmp_path), "FASTGD_CACHE_DIR": "/dev/null/none"}
    done = subprocess.run(
        [sys.executable, "-c", f"from fastgd.core import cache as the_cache\n{code}"],
        capture_output=True, text=True, env=os.environ | names | environment, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@needs_root
@pytest.mark.parametrize("foreign", ["fastgd-0", "fastgd-0/kernels-{}"])
def test_the_temporary_folder_of_a_stranger_is_not_used(foreign, tmp_path):
    """Everybody can make folders there, under any name."""
    folder = tmp_path / foreign.format(the_cache.source_hash())
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    assert cache_of(tmp_path) == "None"


def test_the_temporary_folder_is_private(tmp_path):
    found = Path(cache_of(tmp_path))
    assert found.is_relative_to(tmp_path)
    assert [folder.stat().st_mode & 0o777 for folder in (found, found.parent)] == [0o700, 0o700]


# --- who may compile --------------------------------------------------------------------------------------------------


def test_locks_are_taken_in_one_order(monkeypatch, tmp_path):
    """Whoever has a kernel has Numba's lock already, and holds it while the kernels that it calls are compiled."""
    seen, held = [], []

    @contextmanager
    def compiled_once(path):
        held.append(path.name.split("-")[0])
        seen.append((the_cache.global_compiler_lock.is_locked(), tuple(held)))
        yield
        held.pop()

    monkeypatch.setattr(the_cache, "CACHE", tmp_path)
    monkeypatch.setattr(the_cache, "compiled_once", compiled_once)

    @jit
    def inner(x):
        return x + 1

    @jit
    def outer(x):
        return inner(x) * inner(x)

    assert outer(2) == outer(2) == 9
    assert outer(2.0) == 9
    assert seen == 2 * [(True, ("outer",)), (True, ("outer", "inner"))], "once for each combination of types"
    assert not the_cache.global_compiler_lock.is_locked()


def test_nothing_is_locked_for_a_kernel_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(the_cache, "_take_lock", lambda kernel: pytest.fail("a lock was taken"))
    the_cache.write_verified(tmp_path / "a.kernel", b"")
    with the_cache.compiled_once(tmp_path / "a.kernel"):
        pass


def test_no_lock_stays(tmp_path):
    held = []

    def failing():
        with the_cache.compiled_once(tmp_path / "a.kernel"):
            held.extend(sorted(path.name for path in (tmp_path / "locks").iterdir()))
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert held == ["a.json", "a.lock"]
    assert list((tmp_path / "locks").iterdir()) == []
    with the_cache.compiled_once(tmp_path / "a.kernel"):
        assert (tmp_path / "locks" / "a.lock").exists()


def test_where_files_cannot_be_locked_everybody_compiles(tmp_path, monkeypatch):
    monkeypatch.setattr(the_cache, "knows_locks", lambda folder: False)
    with the_cache.compiled_once(tmp_path / "a.kernel"):
        assert list((tmp_path / "locks").iterdir()) == []
    with the_cache.compiled_once(tmp_path / "gone" / "a.kernel"):
        pass


@pytest.fixture
def other_process(tmp_path, monkeypatch):
    """A process that holds two kernels and stands still."""
    monkeypatch.setattr(the_cache, "_told", set())
    monkeypatch.setattr(the_cache, "_standing_still", set())
    code = (
        "import sys\nfrom pathlib import Path\nfrom fastgd.core.cache import compiled_once\n"
        "a, b = (Path(sys.argv[1]) / name for name in ('a.kernel', 'b.kernel'))\n"
        "with compiled_once(a), compiled_once(b):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"FASTGD_CACHE_DIR": str(tmp_path / "own"), "PYTHONPATH": str(PACKAGE)},
    )  # fmt: skip
    with process:
        process.stdout.readline()
        yield process
        process.kill()


def test_another_kernel_is_compiled_meanwhile(other_process, tmp_path, monkeypatch):
    monkeypatch.setattr(the_cache, "_wait", lambda lock, folder: pytest.fail("it waited"))
    lock = the_cache._take_lock(tmp_path / "c.kernel")
    assert lock is not None
    the_cache._give_back(lock)


def test_who_is_waited_for_is_told_and_not_for_ever(other_process, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(the_cache, "TOLD_AFTER", 0.1)
    monkeypatch.setattr(the_cache, "GIVEN_UP_AFTER", 1.0)
    assert the_cache._take_lock(tmp_path / "a.kernel") is None
    waiting, left = (record.getMessage() for record in caplog.records)
    assert waiting.startswith(f"waiting for process {other_process.pid} on ")
    assert "which compiles kernels since" in waiting
    assert str(tmp_path / "locks" / "a.lock") in waiting
    assert left.endswith("no new kernel for 1 s, compiling without it")
    monkeypatch.setattr(the_cache, "GIVEN_UP_AFTER", 1e9)
    assert the_cache._take_lock(tmp_path / "b.kernel") is None, "who stands still is given up once"
    assert len(caplog.records) == 2


def test_a_process_that_goes_on_compiling_is_waited_for(other_process, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(the_cache, "GIVEN_UP_AFTER", 1.0)

    def compile_on():
        for number in range(4):
            time.sleep(0.5)
            the_cache.write_verified(tmp_path / f"{number}.kernel", b"")
        other_process.stdin.close()

    thread = threading.Thread(target=compile_on)
    thread.start()
    lock = the_cache._take_lock(tmp_path / "a.kernel")
    thread.join()
    assert lock is not None
    assert f'"process": {os.getpid()}' in (tmp_path / "locks" / "a.json").read_text()
    the_cache._give_back(lock)
    assert caplog.record_tuples == []


def test_a_process_that_ends_gives_way(other_process, tmp_path, caplog):
    other_process.kill()
    other_process.wait()
    with the_cache.compiled_once(tmp_path / "a.kernel"):
        assert f'"process": {os.getpid()}' in (tmp_path / "locks" / "a.json").read_text()
    assert caplog.record_tuples == []


def test_who_holds_it_may_be_unknown(tmp_path):
    lock = FileLock(tmp_path / "a.lock")
    for text in ("", "[]", '{"process": 1}', "\xff"):
        (tmp_path / "a.json").write_text(text, encoding="latin-1")
        assert the_cache._holder(lock) == ("another process", "")


@pytest.mark.filterwarnings("ignore:os.fork")  # of libraries that other tests have imported
def test_a_fork_waits_for_a_thread_that_compiles():
    """Its lock would stay held in the child for good."""
    child = []

    def fork():
        process = os.fork()
        if not process:
            os._exit(int(the_cache.global_compiler_lock._lock.acquire(timeout=1)))
        child.append(os.waitpid(process, 0)[1])

    with the_cache.global_compiler_lock:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(0.3)
        assert child == []
    thread.join()
    assert os.waitstatus_to_exitcode(child[0]) == 1


def test_messages_reach_the_terminal_by_themselves():
    """Python prints what nobody has asked to handle."""
    assert logging.getLogger("fastgd").level == logging.NOTSET
    assert logging.lastResort.level <= logging.WARNING


def test_a_fork_does_not_keep_what_another_thread_computes():
    """Python 3.11 guards each cached property with a lock of its class, which would stay held in the child."""
    computing, done = threading.Event(), threading.Event()

    class Slow:
        @cached_property
        def value(self):
            computing.set()
            return done.wait(10)

    thread = threading.Thread(target=lambda: Slow().value)
    thread.start()
    computing.wait()
    other = Slow()
    quick = threading.Thread(target=lambda: other.value, daemon=True)
    computing.clear()
    quick.start()
    assert computing.wait(5), "another object's value waits for no lock"
    done.set()
    thread.join()
    quick.join()


# --- kernels that kernels alone call ----------------------------------------------------------------------------------


@jit(inner=True)
def _inner(x):
    return x + 1


@jit
def _outer(x):
    return 2 * _inner(x)


def test_an_inner_kernel_is_called_by_kernels_and_refused_to_python():
    """Nothing would take its arguments from Python, also where it is compiled for their types already."""
    for _ in range(2):
        with pytest.raises(TypeError, match="_inner is an inner kernel: kernels call it, and Python does not"):
            _inner(1)
        assert _outer(1) == 4


def test_an_inner_kernel_has_machine_code_only_where_its_address_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(the_cache, "CACHE", tmp_path)

    def made():
        """Kernels as another process has them, which shares the cache."""

        @jit(inner=True)
        def inner(x):
            return 3 * x + 1

        @jit
        def outer(x):
            return inner(x) - x

        return inner, outer

    def has_machine_code(kernel, kind):
        library = kernel.overloads[(kind,)].library
        library._ensure_finalized()
        return library.codegen._engine.is_symbol_defined(kernel.overloads[(kind,)].fndesc.llvm_func_name)

    (inner, outer), (again, _), (third, _) = made(), made(), made()
    assert outer(2) == 5
    assert not has_machine_code(inner, numba.int64)
    again.compile((numba.int64,))  # from the cache
    assert sum(again.stats.cache_hits.values()) == 1

    @jit
    def other(x):
        return 10 * again(x)

    assert other(1) == 40
    assert not has_machine_code(again, numba.int64)
    kind = (numba.float64,)
    assert address_of(third, kind)
    assert has_machine_code(third, numba.float64)
    again.compile(kind)  # also with what was called by its address, which the cache has with its machine code
    assert sum(again.stats.cache_hits.values()) == 2
    assert other(2.0) == 70.0
