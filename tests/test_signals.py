"""Signals to the command line, in real processes."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from campaign.attack import PACKAGE
from campaign.signals import HEEDS_SIGNALS, SOON, STUDY, end, start, when
from cohorts import in_full, spread

import fastgd

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(STUDY)
    return path


@pytest.mark.parametrize(("number", "code"), spread(CODES, CODES[:1]))
def test_what_is_done_is_kept_and_said(study, tmp_path, number, code):
    process = start(study, "run", str(study), "--out", str(tmp_path / "r"))
    when(process, "epoch")
    said, spent = end(process, number, None, 0)
    assert process.returncode == code, said
    assert spent < SOON
    assert "the same command (without --fresh) runs the others" in said
    assert "Traceback" not in said
    fastgd.load(tmp_path / "r")


PAIRS = [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize(
    ("first", "second", "moment"),
    spread(
        [(*pair, moment) for pair in PAIRS for moment in ("loading", "compiling")],
        [(*PAIRS[0], "loading"), (*PAIRS[1], "compiling")],
    ),
)
def test_a_second_signal_ends_at_once_with_the_first_ones_code(study, tmp_path, first, second, moment):
    process = start(study, "run", str(study), "--out", str(tmp_path / "r"))
    when(process, moment)
    said, spent = end(process, first, second, 0.05)  # those that wait together are delivered by their number
    assert process.returncode == 128 + first, said
    assert spent < SOON


def test_a_second_signal_ends_while_c_code_runs_in_the_main_thread():
    """The first one is not even seen by Python there."""
    code = (
        f"{HEEDS_SIGNALS}import hashlib\nfrom fastgd.cli import signals\n"
        "with signals.handled():\n    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=PACKAGE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            time.sleep(0.2)
            process.send_signal(number)
        assert process.wait(timeout=SOON) == 143
        assert time.monotonic() - start < SOON
    finally:
        process.kill()  # else it would go on for an hour
        process.communicate()


def test_an_interruption_that_python_ignores_is_raised_again():
    """As in a finalizer, or a callback of C code."""
    code = (
        f"{HEEDS_SIGNALS}import time\nfrom fastgd.cli import signals\n"
        "class Slow:\n    def __del__(self):\n        print('ready', flush=True)\n        time.sleep(2)\n"
        "try:\n    with signals.handled():\n        Slow()\n        while True: time.sleep(0.01)\n"
        "except KeyboardInterrupt:\n    print('interrupted', signals.code())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, cwd=PACKAGE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("interrupted 143\n", "")


@pytest.mark.parametrize("again", ["", "raise RuntimeError('of a callback') from None"])
def test_an_interruption_that_c_code_renames_is_one(again):
    """Pydantic's serializers raise an error of their own, which has the interruption as its cause."""
    code = (
        f"{HEEDS_SIGNALS}import os, signal, sys\nfrom pydantic import BaseModel, model_serializer\n"
        "from fastgd.cli import app\n"
        "class Model(BaseModel):\n    @model_serializer\n    def stop(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "@app.app.command()\ndef probe():\n"
        f"    try: Model().model_dump()\n    except Exception as error: {again or 'raise'}\n"
        "sys.argv = ['fastgd', 'probe']\napp.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE)
    assert ("Traceback" in done.stderr) == bool(again)  # an error of the program's own is told as such
    assert ("interrupted: " in done.stderr) != bool(again)
    assert done.returncode == (1 if again else 143)


def test_a_signal_that_is_ignored_stays_ignored(study, tmp_path):
    code = (
        "from signal import SIG_IGN, SIGHUP, getsignal; from fastgd.cli import signals\n"
        "with signals.handled(): print(getsignal(SIGHUP) == SIG_IGN)"
    )
    command = f"nohup {sys.executable} -c '{code}'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=PACKAGE, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("command", [["tune", "{}"], in_full(["warmup", "{}"]), in_full(["demo", "--out", "demo"])])
def test_every_command_that_runs(study, command):
    process = start(study, *(word.format(study) for word in command))
    when(process, "ing ")  # loading, compiling
    said, _ = end(process, signal.SIGTERM, None, 0)
    assert process.returncode == 143, said
    assert "interrupted: " in said
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore:os.fork")  # of libraries that other tests have imported
def test_a_terminal_that_is_closed_ends_a_run_in_peace(study, tmp_path):
    """The hang-up comes with a terminal that takes no words any more."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.environ["PYTHONPATH"] = str(PACKAGE)
        command = [sys.executable, "-m", "fastgd", "run", str(study), "--out", str(tmp_path / "r")]
        os.execv(sys.executable, command)
    said = b""
    while b"alive" not in said:
        said += os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    fastgd.load(tmp_path / "r")


def test_a_terminal_may_refuse_words_before_its_signal_comes():
    code = (
        "import errno, os, signal, threading\nfrom fastgd.cli import app\n"
        "def closed():\n    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()\n"
        "    raise OSError(errno.EIO, 'closed')\n"
        "app.app = closed\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\napp.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, timeout=60)
    assert ended.returncode == 129, ended.stderr


def test_the_library_installs_no_handlers():
    code = (
        "import signal, fastgd\nbefore = [signal.getsignal(n) for n in (2, 15, 1)]\n"
        "fastgd.run, fastgd.tune, fastgd.Study\nassert before == [signal.getsignal(n) for n in (2, 15, 1)]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, check=True)


def test_signals_to_forked_children_are_not_this_process_own():
    """A pool of a user's module ends its workers by SIGTERM."""
    code = (
        "import os, signal, time\nfrom fastgd.cli import signals\n"
        "def child():\n    pid = os.fork()\n    if not pid:\n        signal.pause()\n    return pid\n"
        "with signals.handled():\n    children = [child(), child()]\n    time.sleep(0.3)\n"
        "    for pid in children:\n        os.kill(pid, signal.SIGTERM)\n        os.waitpid(pid, 0)\n"
        "    time.sleep(0.3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, timeout=60)
    assert ended.returncode == 0
