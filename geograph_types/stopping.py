"""How a command ends when it is told to stop: soon, with one true sentence, and nothing left over.

Ctrl-C, SIGTERM and SIGHUP become an exception in the main thread, so that every `with` and `finally` does its work.
Where that thread cannot hear (a long call into a library, a read that never returns), another one ends the program.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from geograph_types.files import remove_temporaries

# Exit statuses as shells give them, 128 and the signal's number.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143} | ({signal.SIGHUP: 129} if hasattr(signal, "SIGHUP") else {})
WORDS = {130: "Ctrl-C", 143: "SIGTERM", 129: "SIGHUP, as a closed terminal sends it"}

# Seconds that an ordinary end may take before the program is ended from outside its main thread.
PATIENCE = 0.8


class Stopped(KeyboardInterrupt):
    """The command was told to stop; `status` is what it exits with."""

    def __init__(self, status: int):
        super().__init__(f"stopped by {WORDS[status]}")
        self.status = status


_kept: Callable[[], str] | None = None
_listening = False
_said = threading.Lock()


def when_stopped(kept: Callable[[], str] | None) -> None:
    """Sets what a stopped command says beyond "stopped": what is kept, and how to go on. None: nothing.

    `kept` is called when it happens, perhaps by another thread: it must only read.
    """
    global _kept
    _kept = kept


def say_stopped(status: int) -> None:
    """The one sentence, once however often it is asked for."""
    if not _said.acquire(blocking=False):
        return
    more = ""
    with contextlib.suppress(Exception):  # a sentence is no reason to hang on
        more = f"; {_kept()}" if _kept else ""
    with contextlib.suppress(OSError, ValueError):  # a terminal that has gone away
        start = "\n" if sys.stderr.isatty() else ""
        print(f"{start}{Path(sys.argv[0]).name}: stopped by {WORDS[status]}{more}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stoppable(patience: float = PATIENCE) -> Iterator[None]:
    """Within it the signals raise `Stopped`; what then takes longer than `patience` seconds is cut off.

    A signal that the program was started to ignore (`nohup`, a job in the background) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _listening
    heard = [number for number in STATUS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, _raise) for number in heard}
    unraisable, sys.unraisablehook = sys.unraisablehook, _hear_again
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _listening = True
    waking = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, patience), name="geograph-stop", daemon=True).start()
    try:
        yield
    finally:
        _listening = False
        sys.unraisablehook = unraisable
        signal.set_wakeup_fd(waking)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)  # ends the watcher, unless a signal has set it counting


def _raise(number: int, frame: FrameType | None) -> None:
    for other in STATUS:  # once is enough: a second one would cut into the cleaning up
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(STATUS[signal.Signals(number)])


def _hear_again(lost: Any) -> None:
    """Where a signal came while Python was in a `__del__`, its exception is lost there: it is raised once more."""
    if not isinstance(lost.exc_value, Stopped):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.status - 128
    signal.signal(number, _raise)
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def _watch(reading: int, patience: float) -> None:
    while heard := os.read(reading, 1):
        if heard[0] in tuple(STATUS):
            time.sleep(patience)
            end(STATUS[signal.Signals(heard[0])], sentence=True)
    os.close(reading)


def end(status: int, sentence: bool = False) -> NoReturn:
    """Ends the program now, whatever its threads wait for, and its worker processes; removes its temporary files."""
    if sentence:
        say_stopped(status)
    _kill_workers()
    remove_temporaries()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _kill_workers() -> None:
    if multiprocessing := sys.modules.get("multiprocessing"):  # whoever has workers has imported it
        for process in multiprocessing.active_children():
            process.kill()


def leave(status: int) -> NoReturn:
    """Exits; who was stopped, or has a thread that waits for what may never come, without waiting for anything."""
    others = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if others or status in WORDS:  # taking large libraries down may take a second
        with contextlib.suppress(Exception):
            _kill_workers()
            atexit._run_exitfuncs()  # what Python itself calls first: folders of `tempfile`, logs
        end(status)
    sys.exit(status)


def _in_child() -> None:
    """Forked workers hear nothing of this: their parent ends them."""
    if not _listening:
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in STATUS:
        if number != signal.SIGINT and signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
