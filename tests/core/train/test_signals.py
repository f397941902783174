"""Signals set a flag; what was there before comes back."""

import os
import signal
import subprocess
import sys
import threading

from isthmus.core.train.signals import stop_on_signals


def test_first_signal_sets_the_flag_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as flag:
        assert flag.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_echo_of_the_same_signal_is_not_a_second_one():
    with stop_on_signals() as flag:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.signal == signal.SIGINT


def test_a_late_second_signal_leaves_at_once():
    script = (
        "import os, signal, time\n"
        "from isthmus.core.train import signals\n"
        "signals.ECHO = 0.05\n"
        "with signals.stop_on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.2)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(30)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], timeout=60)
    assert found.returncode == -signal.SIGTERM


def test_other_threads_leave_handlers_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def body() -> None:
        with stop_on_signals() as flag:
            seen.append((flag.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [(None, before)]
