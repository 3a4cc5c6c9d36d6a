"""How a command is killed: in a forked process, at a file event of its own or at a moment of the clock.

A scenario runs in a small world of its own: a work folder that is its current folder and holds its home, its caches
and its temporary files. The libraries are loaded once, so that a kill costs no start of Python.
"""

import contextlib
import ctypes
import hashlib
import os
import random
import re
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# A run that takes longer hangs, which is a failure of its own.
LONGEST_RUN = 300
# A command is killed so many times at most before it may end.
KILLS_IN_A_ROW = 3
# Everything that changes the disk and that Python tells of before it happens.
CHANGES = {
    "open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
}  # fmt: skip
ETAG = '"one"'
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Scenario:
    """One command and what must hold of it.

    `service` opens what outlives the kills, such as a server, and gives it to the functions; `environment` comes from
    it and is set before any library is loaded. `prepare(work, service)` lays the input out; `run(work, service)` is
    the command, in the process that is killed; `begin(work, service)` comes before the first run of each round;
    `result(work, service)` is what must come out the same, as bytes;
    `whole(work, service)` asserts that a killed run left nothing that it must not (half a file under its final name,
    the older result gone). `leftovers` are patterns of names that may be there after a kill and not after the end.
    """

    name: str
    run: Callable[[Path, Any], None]
    result: Callable[[Path, Any], bytes]
    prepare: Callable[[Path, Any], None] = lambda work, service: None
    whole: Callable[[Path, Any], None] = lambda work, service: None
    leftovers: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    service: Callable[[], AbstractContextManager[Any]] = nullcontext
    environment: Callable[[Any], dict[str, str]] = lambda service: {}
    begin: Callable[[Path, Any], None] = lambda work, service: None
    kills_in_a_row: int = KILLS_IN_A_ROW


@dataclass
class Tally:
    """What a scenario survived."""

    name: str
    at_events: int = 0
    at_moments: int = 0
    rounds: int = 0
    events: int = 0  # file events of an undisturbed run
    seconds: float = 0.0  # that it takes
    failures: list[str] = field(default_factory=list)


def script(name: str, *arguments: str) -> None:
    """Runs a command's file as the shell would."""
    sys.argv = [name, *arguments]
    runpy.run_path(str(ROOT / name), run_name="__main__")


def digest_of(folder: Path, *, without: tuple[str, ...] = ()) -> bytes:
    """All files of a folder by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in without:
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.digest()


def torture(scenario: Scenario, seconds: float, seed: int) -> Tally:
    """Kills and restarts one scenario for so long; call it in a process of its own."""
    tally, rng = Tally(scenario.name), random.Random(f"{seed} {scenario.name}")
    with tempfile.TemporaryDirectory(prefix="geograph-kills-") as top, scenario.service() as service:
        os.environ.update(_world(Path(top) / "home") | scenario.environment(service))
        for name in scenario.preload:
            __import__(name)
        base = Path(top) / "base"
        base.mkdir()
        _apart(lambda: scenario.prepare(base, service))
        expected = _undisturbed(scenario, base, Path(top) / "clean", service, tally)
        end = time.monotonic() + seconds
        while not tally.failures and (not tally.rounds or time.monotonic() < end):
            work = Path(top) / "work"
            shutil.copytree(base, work, symlinks=True)
            scenario.begin(work, service)
            _round(scenario, work, service, rng, tally, expected)
            tally.rounds += 1
            shutil.rmtree(work)
    return tally


def _apart(work: Callable[[], None]) -> None:
    """In a process of its own, so that the threads of its libraries do not stand in the way of later ones."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the input could not be laid out")


def _undisturbed(scenario: Scenario, base: Path, work: Path, service: Any, tally: Tally) -> bytes:
    shutil.copytree(base, work, symlinks=True)
    began = time.monotonic()
    status, told = _run(scenario, work, service)
    tally.seconds, tally.events = time.monotonic() - began, _count(work)
    if status != 0:
        raise RuntimeError(f"{scenario.name} fails by itself (status {status}):\n{told}")
    return scenario.result(work, service)


def _round(scenario: Scenario, work: Path, service: Any, rng: random.Random, tally: Tally, expected: bytes) -> None:
    """Some kills, then one run to its end."""
    history = []
    for _ in range(rng.randint(1, scenario.kills_in_a_row)):
        at_event = rng.randint(1, tally.events) if tally.events and rng.random() < 0.6 else None
        moment = None if at_event else rng.uniform(0, tally.seconds)
        status, told = _run(scenario, work, service, at_event, moment)
        history.append(f"killed at {f'file event {at_event}' if at_event else f'{moment:.3f} s'} → {status}")
        if status == -signal.SIGKILL:
            tally.at_events += at_event is not None
            tally.at_moments += at_event is None
        elif status != 0:
            tally.failures.append(f"{'; '.join(history)}: the run itself failed:\n{told}")
            return
        try:
            scenario.whole(work, service)
        except AssertionError as error:
            tally.failures.append(f"{'; '.join(history)}: {error or traceback.format_exc()}")
            return
    status, told = _run(scenario, work, service)
    left = [str(path) for pattern in scenario.leftovers for path in work.glob(pattern)]
    if status != 0:
        tally.failures.append(f"{'; '.join(history)}: then the command fails (status {status}):\n{told}")
    elif scenario.result(work, service) != expected:
        tally.failures.append(f"{'; '.join(history)}: then the result differs from an undisturbed run's")
    elif left:
        tally.failures.append(f"{'; '.join(history)}: then this is left over: {', '.join(left)}")


def _world(home: Path) -> dict[str, str]:
    """Nothing of the user's is read or written."""
    home.mkdir(parents=True)
    return {
        "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false", "MPLCONFIGDIR": str(home / "matplotlib"),
    }  # fmt: skip


def _run(scenario: Scenario, work: Path, service: Any, at_event: int | None = None, moment: float | None = None):
    """(exit status, or minus the signal; what it said on stderr)."""
    log = work.parent / "log"
    pid = os.fork()
    if not pid:
        _child(scenario, work, service, at_event, log)
    stop = threading.Timer(LONGEST_RUN if moment is None else moment, _kill, [pid])
    stop.start()
    _, status = os.waitpid(pid, 0)
    stop.cancel()
    _kill(pid)  # what it started ends with it
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")[-2000:]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _child(scenario: Scenario, work: Path, service: Any, at_event: int | None, log: Path) -> None:
    os.setpgid(0, 0)
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(work)
        tempfile.tempdir = str(work / "tmp")
        os.environ["TMPDIR"] = tempfile.tempdir
        (work / "tmp").mkdir(exist_ok=True)
        _watch(work, at_event)
        scenario.run(work, service)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _watch(work: Path, at_event: int | None) -> None:
    """Counts what changes the disk in the work folder; kills this process before the event of that number."""
    count, own, inside = 0, os.getpid(), str(work)
    kill = ctypes.CDLL(None).kill
    counter = os.open(work.parent / f"{work.name}.events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in CHANGES or os.getpid() != own:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not any(_is_in(inside, path) for path in arguments[:2]):
            return
        count += 1
        if at_event is None:
            os.pwrite(counter, f"{count:>10}".encode(), 0)
        elif count == at_event:
            kill(own, signal.SIGKILL)

    sys.addaudithook(note)


def _is_in(folder: str, path: Any) -> bool:
    try:
        name = os.fspath(path)
    except TypeError:
        return False
    name = os.fsdecode(name)
    return name.startswith(folder) or not name.startswith("/")


def _count(work: Path) -> int:
    return int((work.parent / f"{work.name}.events").read_text() or 0)


class FileHandler(BaseHTTPRequestHandler):
    """One file in ranges, with an ETag; whoever goes away in the middle is no matter."""

    def do_GET(self) -> None:
        content, start = self.server.content, 0
        if wanted := re.match(r"bytes=(\d+)-$", self.headers.get("Range", "")):
            start = int(wanted[1]) if self.headers.get("If-Range", ETAG) == ETAG else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in (("ETag", ETAG), ("Accept-Ranges", "bytes"), ("Content-Length", len(content) - start)):
            self.send_header(name, str(value))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if self.command == "GET":
                self.wfile.write(content[start:])

    do_HEAD = do_GET

    def log_message(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def served(content: bytes, name: str) -> Iterator[str]:
    """An address on loopback that gives this content."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FileHandler)
    server.content = content
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{name}"
    finally:
        server.shutdown()
        server.server_close()
